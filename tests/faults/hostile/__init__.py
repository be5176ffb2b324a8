"""Hostile bytes at a real writer's sockets and in its spool directory, beside good workers.

The writer goes on under the same pid; memory, threads and descriptors stay bounded; what good
workers record is complete, in order, and acked in time; nobody's numbers are moved unseen.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults import checker
from faults.checker import Noted
from faults.hostile import spools
from faults.hostile.peers import FLOOD, Peers, RemotePeers, Thief, Vitals
from faults.results import Row
from hansard import AuditLog, requester, wire
from hansard_writer.running_writer import RunningWriter, start
from support import query, run_worker, wait_until
from tcp_peers import Site

TITLE = "Hostile bytes"
FULL = 200_000

WORKERS = 2
RSS_BYTES_MAX = 160 << 20  # SQLite's page cache alone may take 64 MiB
ACK_S_MAX = 15.0  # of a sync event of a good worker, on a machine that does much else
LETTERS_MAX = 2_000
LETTER_BYTES_MAX = 16 << 20

# Of all that is sent, in thousandths; the rest are frames.
REQUESTS, DEAF, RAW, SPOOLS = 250, 30, 10, 10
GOOD_SPOOLS_SHARE = 10  # one of so many
FLOODS = THEFTS_EVERY = 20_000

GOOD_WORKER = """
import json, sys, threading, time
from hansard import AuditLog

directory, name = sys.argv[1:]
stopping = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
noted, slowest, n = [], 0.0, 0
with AuditLog(directory, on_full="block", ack_timeout=60, close_timeout=60) as log:
    while not stopping.wait(0.01):
        for sync in (False,) * 9 + (True,):
            n += 1
            began = time.monotonic()
            entry = log.record("good", {"w": name, "n": n}, sync=sync)
            noted.append([n, entry.key[0].hex(), entry.key[1]])
        assert entry.status == "committed", entry
        slowest = max(slowest, time.monotonic() - began)
    assert log.flush(60)
    figures = log.statistics()
print(json.dumps({"noted": noted, "slowest": slowest, "figures": figures}))
"""


def run(
    size: int | None = None,
    *,
    seed: int = 1,
    say: Callable[[str], None] = print,
    from_afar: bool = False,
) -> list[Row]:
    """About ``size`` hostile messages, connections and files; ``from_afar`` over tcp, with a key
    that may record."""
    total = FULL if size is None else size
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="hansard-hostile-") as place:
        directory = Path(place) / "log"
        words = Path(place) / "stderr"
        with _stderr_into(words):  # a damaged spool is a line each
            site = Site(directory) if from_afar else None
            if site:
                site.allow("nobody")
            writer = start(
                directory,
                dead_letters_max=LETTERS_MAX,
                dead_letters_bytes_max=LETTER_BYTES_MAX,
                tcp=site and site.address,
            )
        try:
            with _good_workers(directory) as workers:
                campaign = _Campaign(directory, site, writer, chance, total, say)
                campaign.run()
                good = [_heard(worker) for worker in workers]
            return campaign.check(good)
        except AssertionError as error:
            last_words = words.read_text()[-2_000:]
            raise AssertionError(f"seed {seed}, size {total}: {error}\n{last_words}") from error
        finally:
            writer.stop()


class _Campaign:
    """One run: what was sent, and what must be in the log because of the good among it."""

    def __init__(
        self,
        directory: Path,
        site: Site | None,
        writer: RunningWriter,
        chance: random.Random,
        total: int,
        say: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._site = site
        self._writer = writer
        self._chance = chance
        self._total = total
        self._say = say
        self._vitals = Vitals(writer.pid)
        self._noted: list[Noted] = []
        self.counts = dict.fromkeys(("frames", "requests", "deaf", "raw", "spools", "thefts"), 0)
        self._seconds = 0.0
        self._threads = (0, 0)
        self._files = (0, 0)

    def run(self) -> None:
        """Send all of it."""
        vitals = self._vitals
        recording = "SELECT count(DISTINCT producer) FROM entries WHERE producer > 0"
        wait_until(lambda: query(self._directory, recording) == [(WORKERS,)], "good workers record")
        threads, files = vitals.threads, vitals.open_files
        with AuditLog(self._directory, ack_timeout=60) as victim:
            with self._peers() as peers:
                began = time.monotonic()
                self._send_all(peers, victim)
                peers.settle()
                self._seconds = time.monotonic() - began
                self._threads = threads, vitals.threads
            self._await_spools()
        wait_until(lambda: vitals.open_files <= files, "descriptors are as many as before")
        self._files = files, vitals.open_files

    def _peers(self) -> Peers:
        if self._site:
            return RemotePeers(self._site, self._chance)
        return Peers(self._directory, self._chance)

    def _send_all(self, peers: Peers, victim: AuditLog) -> None:
        chance, counts = self._chance, self.counts
        thief = Thief(peers)
        for number in range(self._total):
            kind = chance.randrange(1_000)
            if kind < REQUESTS:
                peers.request()
                counts["requests"] += 1
            elif (kind := kind - REQUESTS) < DEAF:
                peers.request_and_never_read()
                counts["deaf"] += 1
            elif (kind := kind - DEAF) < RAW:
                peers.connect_raw()
                counts["raw"] += 1
            elif kind - RAW < SPOOLS:
                self._place_spool(peers)
                counts["spools"] += 1
            else:
                peers.push()
                counts["frames"] += 1
            if number % THEFTS_EVERY == THEFTS_EVERY // 10:
                self._steal(thief, victim)
                counts["raw"] += peers.flood()
                counts["requests"] += peers.burst()
                peers.push_too_much()
            if number % 10_000 == 9_999:
                self._say(f"  {number + 1:,}: {self._vitals.rss_peak_bytes >> 20} MiB at most")

    def _place_spool(self, peers: Peers) -> None:
        ids = [chain.producer_id for chain in peers.known()]
        content: bytes | bytearray
        if self._chance.randrange(GOOD_SPOOLS_SHARE) == 0:
            content, noted = spools.good(self._chance, f"dead {len(self._noted)}")
            self._noted += noted
        else:
            content = spools.bad(self._chance, ids)
        spools.place(self._directory / "spool", content)

    def _steal(self, thief: Thief, victim: AuditLog) -> None:
        """Each way once. The victim goes on, and where its numbers were moved, as somebody else."""
        if self._site:
            self._record(victim)
            stolen = victim._producer.producer_id
            thief.try_all(stolen)
            self._record(victim)
            assert victim._producer.producer_id == stolen, "nothing was moved"
            self.counts["thefts"] += 1
            return
        for theft, is_renamed in (
            (lambda stolen: thief.forge(stolen, knows_crc=False), False),
            (lambda stolen: thief.forge(stolen, knows_crc=True), True),
            (thief.skip, True),
        ):
            self._record(victim)
            stolen = victim._producer.producer_id
            theft(stolen)
            self._record(victim)
            assert (victim._producer.producer_id != stolen) is is_renamed, "a stolen id"
            self.counts["thefts"] += 1

    def _record(self, victim: AuditLog) -> None:
        number = 1 + sum(each.worker == "victim" for each in self._noted)
        entry = victim.record("good", {"w": "victim", "n": number}, sync=True)
        if entry.status != "committed":
            assert victim.flush(60), "the victim goes on"
        assert entry.key is not None
        found = victim.lookup(entry.key) if entry.status == "unknown" else entry
        self._noted.append(Noted("victim", number, *(found.key or entry.key)))

    def _await_spools(self) -> None:
        """Every spool of the dead is entered, set aside as damaged, or another log's."""
        spool = self._directory / "spool"

        def is_done() -> bool:
            left = len(list(spool.glob("*.spool")))
            figures = self._stats()
            return left <= figures["spools_of_other_logs"] + WORKERS + 1

        wait_until(is_done, "all spools of the dead are looked at", timeout=300)

    def _stats(self) -> dict[str, Any]:
        _, figures = requester.ask(self._directory, wire.pack_stats_request(), 60)
        assert isinstance(figures, dict)
        return figures

    def check(self, good: list[dict[str, Any]]) -> list[Row]:
        """What came of it, once the good workers are done."""
        writer, directory, counts = self._writer, self._directory, self.counts
        assert writer.process.poll() is None, "the writer ended"
        figures = self._stats()
        assert figures["pid"] == writer.pid, "another writer serves"
        peak = self._vitals.rss_peak_bytes
        assert writer.stop() == 0, "the writer ended badly"
        for index, said in enumerate(good):
            self._noted += [
                Noted(f"good {index}", number, bytes.fromhex(hash_), seq)
                for number, hash_, seq in said["noted"]
            ]
            assert said["figures"]["dead_lettered"] == 0, said["figures"]
        found = checker.account(directory, self._noted)
        assert found.entered == found.recorded, found
        letters, size = query(
            directory,
            "SELECT count(*), sum(length(frame)) FROM dead_letters WHERE replayed_as IS NULL",
        )[0]
        slowest = max(said["slowest"] for said in good)
        threads_before, threads = self._threads
        assert letters <= LETTERS_MAX, letters
        assert size <= LETTER_BYTES_MAX, size
        assert peak <= RSS_BYTES_MAX, f"{peak >> 20} MiB"
        assert threads == threads_before, self._threads
        assert slowest <= ACK_S_MAX, slowest
        rate = sum(counts.values()) / self._seconds
        self._say(f"  {rate:,.0f} a second; {figures}")
        return [
            Row(
                "hostile frames",
                "random and mutated: wrong version, counts, parts, lengths, nesting; truncated; "
                "others' ids; parts of 1 MiB; two million objects in 2 MiB",
                counts["frames"],
                f"no crash; {rate:,.0f} messages of all kinds a second; at most {letters:,} dead "
                f"letters kept, {figures['dead_letters_not_kept']:,} counted; "
                f"{found.recorded:,} good events beside all entered, once and in order, a sync "
                f"one within {slowest:.1f} s",
            ),
            Row(
                "hostile requests",
                "the same at the other socket; no envelope; waits by the thousand; bursts of 1 MiB",
                counts["requests"],
                f"the writer's memory stays below {_rounded_up(peak)} MiB, its threads are as "
                "many as before",
            ),
            Row(
                "questions whose answers nobody reads",
                "a DEALER that asks for figures and never reads",
                counts["deaf"],
                "answers beyond a few are thrown away",
            ),
            Row(
                "connections that speak no ZeroMQ, stop half-way, or flood",
                f"raw bytes on the unix sockets; {FLOOD} connections at once",
                counts["raw"],
                f"{self._files[1]} descriptors afterwards, {self._files[0]} before",
            ),
            Row(
                "spool files of any bytes",
                "garbage, mutated, truncated, lies under good CRCs, beside good ones",
                counts["spools"],
                f"{figures['spools_damaged']:,} set aside, the others entered as far as they go",
            ),
            Row(
                "stolen producer ids",
                "a frame with and without the right CRC; a hello that runs ahead",
                counts["thefts"],
                "the victim notices by the CRC and goes on under a new id; its events are "
                "complete and once",
            ),
        ]


def _rounded_up(peak: int) -> int:
    return -(-(peak >> 20) // 10) * 10


@contextlib.contextmanager
def _stderr_into(path: Path) -> Iterator[None]:
    """Within, what is started says its errors into a file."""
    sys.stderr.flush()
    before = os.dup(2)
    with path.open("wb") as words:
        os.dup2(words.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextlib.contextmanager
def _good_workers(directory: Path) -> Iterator[list["subprocess.Popen[str]"]]:
    workers = [run_worker(GOOD_WORKER, directory, f"good {index}") for index in range(WORKERS)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe:
                    pipe.close()


def _heard(worker: "subprocess.Popen[str]") -> dict[str, Any]:
    out, _ = worker.communicate("", timeout=120)
    assert worker.returncode == 0, f"a good worker ended with {worker.returncode}"
    said: dict[str, Any] = json.loads(out)
    return said
