"""All lines of all data sets, recorded by four processes: each is in the log exactly once."""

import gzip
import random
import subprocess
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from acceptance.conftest import MortalWriter
from support import assert_log_is_sound, count_entries, query, run_worker, wait_until

DATA = Path(__file__).parent.parent / "data"
WORKERS = 4
WRITER_KILLS = 10
WORKER_KILLS = {3: 1, 7: 2}  # in which round of killing which worker dies too
BLOCK = 40  # lines that a worker records before and after the writer is frozen

# Records as many lines of its share as each line of stdin says, and writes the number of each
# event that record() has returned for to a file that survives the worker.
WORKER = """
import os, sys
import orjson
from hansard import AuditLog

directory, share, notes, name, position = sys.argv[1:]
position = int(position)
lines = open(share, "rb").read().split(b"\\n")
note = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
log = AuditLog(directory, mask_fields=["-*"])  # the lines as they are, tokens and all
for count in sys.stdin:
    for line in lines[position:position + int(count)]:
        event_type, text = line.split(b"\\t", 1)
        task = f"{name}:{position}"
        entry = log.record(event_type.decode(), orjson.Fragment(text), task_id=task)
        producer_hash, number = entry.key
        os.write(note, f"{task} {producer_hash.hex()} {number}\\n".encode())
        position += 1
    print(log.statistics()["waiting"], flush=True)
print(log.close(20), flush=True)
"""


class Line(NamedTuple):
    """One line of a data set, and the event type it is recorded under."""

    event_type: str
    text: str


def read_data_sets() -> list[Line]:
    """All lines of all data sets, in order."""
    lines = []
    for path in sorted(DATA.glob("*.jsonl.gz")):
        event_type = path.name.removesuffix(".jsonl.gz")
        content = gzip.decompress(path.read_bytes()).decode()
        lines += [Line(event_type, text) for text in content.split("\n") if text]
    return lines


class Worker:
    """A worker process with its share of the lines; it can be killed, and another goes on."""

    def __init__(self, directory: Path, home: Path, index: int, share: list[Line]) -> None:
        self.directory, self.index, self.share = directory, index, share
        self.share_path, self.notes_path = home / f"share-{index}", home / f"notes-{index}"
        self.share_path.write_text("\n".join(f"{line.event_type}\t{line.text}" for line in share))
        self.notes_path.touch()
        self.granted = 0
        self.lives = 0
        self.start()

    def start(self) -> None:
        """Begin where the last life's notes end."""
        self.granted = len(self.notes())
        self.process: subprocess.Popen[str] = run_worker(
            WORKER,
            self.directory,
            self.share_path,
            self.notes_path,
            f"{self.index}.{self.lives}",
            self.granted,
        )
        self.lives += 1

    def grant(self, count: int) -> None:
        """Let it record this many lines more."""
        assert self.process.stdin is not None
        self.granted = min(self.granted + count, len(self.share))
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()

    def waiting(self) -> int:
        """How many events were uncommitted when it had recorded what it was granted."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def notes(self) -> list[tuple[str, str, int]]:
        """Task, producer hash and number of each event that record() has returned for."""
        words = [line.split() for line in self.notes_path.read_text().splitlines()]
        return [(task, producer_hash, int(number)) for task, producer_hash, number in words]

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate()

    def finish(self) -> None:
        """Nothing more to record: it must close with nothing left, and end with 0."""
        left, _ = self.process.communicate(timeout=60)
        assert left.split()[-1] == "0"
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """All lines of all data sets."""
    lines = read_data_sets()
    assert len({line.event_type for line in lines}) == 4
    return lines


@pytest.fixture
def workers(directory: Path, tmp_path: Path, lines: list[Line]) -> list[Worker]:
    """Four worker processes, each with every fourth line."""
    return [Worker(directory, tmp_path, index, lines[index::WORKERS]) for index in range(WORKERS)]


def entries_by_task(directory: Path) -> dict[str, tuple[str, str, str, int]]:
    """Each entry's type, payload, producer hash and number by its task, which is unique."""
    rows = query(
        directory,
        "SELECT task_id, event_type, payload, lower(hex(producer_hash)), producer_seq"
        " FROM entries JOIN producers ON producers.id = producer",
    )
    doubled = [task for task, count in Counter(row[0] for row in rows).items() if count > 1]
    assert not doubled, "recorded once, entered twice"
    return {row[0]: row[1:] for row in rows}


def assert_payloads_are_the_lines(directory: Path, workers: list[Worker]) -> None:
    """Every entry's type and payload are its line's own."""
    for task, (event_type, payload, _, _) in entries_by_task(directory).items():
        name, position = task.split(":")
        line = workers[int(name.split(".")[0])].share[int(position)]
        assert (event_type, payload) == line, f"task {task} was changed on its way"


def assert_order_is_kept(directory: Path) -> None:
    """Within each producer, entries stand in the order in which they were recorded."""
    positions = defaultdict(list)
    for producer, task in query(directory, "SELECT producer, task_id FROM entries ORDER BY seq"):
        positions[producer].append(int(task.split(":")[1]))
    for recorded in positions.values():
        assert recorded == list(range(recorded[0], recorded[0] + len(recorded)))


def test_all_lines_of_all_data_sets_are_entered_as_they_are(
    directory: Path, mortal_writer: MortalWriter, workers: list[Worker], lines: list[Line]
) -> None:
    mortal_writer.start()
    for worker in workers:
        worker.grant(len(worker.share))
    for worker in workers:
        worker.finish()
    assert count_entries(directory) == len(lines)
    assert_log_is_sound(directory)
    assert_payloads_are_the_lines(directory, workers)
    assert_order_is_kept(directory)
    assert Counter(
        dict(query(directory, "SELECT event_type, count(*) FROM entries GROUP BY 1"))
    ) == Counter(line.event_type for line in lines)


def test_nothing_is_lost_or_doubled_when_writers_and_workers_are_killed(
    directory: Path, mortal_writer: MortalWriter, workers: list[Worker]
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    mortal_writer.start()
    for kill in range(WRITER_KILLS):
        for worker in workers:
            worker.grant(BLOCK)
        threading.Event().wait(chance.uniform(0, 0.02))  # freeze it anywhere in its work
        mortal_writer.freeze()
        for worker in workers:
            worker.grant(BLOCK)
        for worker in workers:
            worker.waiting()
            assert worker.waiting() > 0, "the kill must come while frames are unacked"
        recorded = sum(len(worker.notes()) for worker in workers)
        assert count_entries(directory) < recorded, "the kill must come before the commit"
        if kill in WORKER_KILLS:
            kill_while_it_records(workers[WORKER_KILLS[kill]], chance)
        mortal_writer.kill()
        mortal_writer.start()
    for worker in workers:
        worker.grant(len(worker.share))
        worker.finish()
    wait_until(lambda: not list((directory / "spool").iterdir()), "all spools are entered")
    assert mortal_writer.end() == 0

    assert_log_is_sound(directory)
    assert_payloads_are_the_lines(directory, workers)
    assert_order_is_kept(directory)
    entered = entries_by_task(directory)
    noted = [note for worker in workers for note in worker.notes()]
    lost = [task for task, *key in noted if [*entered.get(task, ())[2:]] != key]
    assert not lost, f"record() had returned for them: {lost}"
    unheard = set(entered) - {task for task, *_ in noted}
    assert len(unheard) <= len(WORKER_KILLS), "at most one a killed worker, in the middle of record"
    lines_entered = Counter(task.split(".")[0] + task[task.index(":") :] for task in entered)
    assert len(lines_entered) == sum(len(worker.share) for worker in workers)


def kill_while_it_records(worker: Worker, chance: random.Random) -> None:
    """SIGKILL somewhere within a block, and start another that goes on."""
    before, enough = len(worker.notes()), chance.randrange(1, BLOCK // 2)
    worker.grant(BLOCK)
    wait_until(lambda: len(worker.notes()) >= before + enough, "the worker is at it")
    worker.kill()
    worker.start()
