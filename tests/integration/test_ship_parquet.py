"""A log shipped to a directory of Parquet files: what is there afterwards, whatever happened."""

import errno
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frames import event
from hansard.errors import ConfigError
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.verifying.entry_rows import HASHED, PRODUCER, SEQ, is_redacted
from hansard_writer.shipping import delivery
from hansard_writer.shipping.delivery import Delivery, Observer
from hansard_writer.shipping.far_end import Head, Page
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.parquet import (
    far_end,
    log_files,
    opener,
    parquet_far_end,
    storage,
)
from hansard_writer.shipping.parquet.columns import FLAG_DIFFERS, ORIGIN_DIFFERS
from hansard_writer.shipping.target import TargetRefused, TargetTaken, TargetUnavailable
from hansard_writer.shipping.targets import TargetOptions
from hansard_writer.shipping.verifying.verification import verify_far
from provable import signing_key
from support import query
from verifiable import SignedLog

SECRET = "the-secret-that-was-redacted"
NEVER = 1e9
NEVER_FULL = 1_000_000
BATCH = 40

KILLS_ITSELF = """
# Ships to copies of a directory, each in a process that is really killed, before another call that
# changes files.
import os, shutil, signal, sys
from functools import partial
from pathlib import Path
from hansard_writer.shipping import delivery
from hansard_writer.shipping.delivery import Delivery, Observer
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.parquet import opener
from hansard_writer.shipping.targets import TargetOptions

log, original, to, rows, batch, every = sys.argv[1:]
delivery.LogSource = partial(LogSource, entries_max=int(batch))

def dies_before(number):
    seen = 0
    def counted(function):
        def count(*arguments, **named):
            nonlocal seen
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)
        return count
    for name in ("replace", "fsync", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))

for number in range(1, 10_000, int(every)):
    copy = Path(to) / str(number)
    shutil.copytree(original, copy)
    pid = os.fork()
    if not pid:
        dies_before(number)
        open_ = opener(str(copy), TargetOptions(rows_per_file=int(rows), file_age_s=1e9))
        Delivery(Path(log), str(copy), open_, Observer()).run(once=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    print(number)
"""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LogSource", partial(LogSource, entries_max=BATCH))


@pytest.fixture
def log(directory: Path) -> Iterator[SignedLog]:
    log = SignedLog(directory)
    log.enter(*(event(f'{{"n":{number},"text":"{SECRET}"}}') for number in range(300)))
    log.seal()
    yield log
    log.close()


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far"


def ship(log: SignedLog, far: Path, rows: int = 100, age_s: float = NEVER) -> int:
    open_ = opener(str(far), TargetOptions(rows_per_file=rows, file_age_s=age_s))
    return Delivery(log.directory, str(far), open_, Observer()).run(once=True).entries


class Kept:
    """What is at the far end, read as verification reads it."""

    def __init__(self, log: SignedLog, far: Path) -> None:
        end = far_end(str(far))
        head = end.head(log.origin)
        assert head is not None
        self.head: Head = head
        self.notes = list(end.notes(log.origin))
        self.pages: list[Page] = list(end.pages(log.origin))
        self.report = verify_far(end, [log.key.verifier_key], origins=[log.origin]).logs[0].report
        end.close()

    @property
    def rows(self) -> list[Any]:
        """With the producer's hash for the producer."""
        return [
            (row[SEQ], page.owners[row[PRODUCER]], *row[PRODUCER + 1 :])
            for page in self.pages
            for row in page.rows
        ]


def in_the_log(log: SignedLog) -> list[Any]:
    rows = query(
        log.directory,
        "SELECT seq, producer_hash, producer_seq, e.created_at, event_type, level, actor, task_id,"
        " payload_hash, CAST(salt || payload AS BLOB) FROM entries AS e"
        " JOIN producers AS p ON p.id = e.producer ORDER BY seq",
    )
    return [tuple(row) for row in rows]


def assert_is_all_there(log: SignedLog, far: Path) -> Kept:
    kept = Kept(log, far)
    assert kept.rows == in_the_log(log)
    assert kept.report is not None
    assert kept.report.is_good, kept.report
    assert kept.report.covered == kept.report.size == log.store.size
    return kept


def ranges(far: Path, folder: str = "entries") -> list[tuple[int, int]]:
    names = sorted(path.name for path in far.glob(f"{folder}/*/*.parquet"))
    return [(int(name[:20]), int(name[21:41])) for name in names]


def everything_in(far: Path) -> bytes:
    """All that a reader of the files could find, decompressed."""
    found = []
    for path in far.rglob("*"):
        if path.suffix in (".parquet", ".pending"):
            with pq.ParquetFile(path) as file:
                found += [str(row).encode() for row in file.read(["payload", "salt"]).to_pylist()]
            found.append(path.read_bytes())
        elif path.is_file():
            found.append(path.read_bytes())
    return b"".join(found)


def waiting(log: SignedLog, far: Path, *, ranges_of: int, batches: int) -> tuple[Any, Edge]:
    """A target that has got so many batches, and its edge."""
    target = opener(str(far), TargetOptions(rows_per_file=ranges_of, file_age_s=NEVER))()
    return target, append_all(log, target, target.edge(log.origin), batches)


def append_all(log: SignedLog, target: Any, edge: Edge, batches: int = 1_000) -> Edge:
    source = LogSource(log.directory, entries_max=BATCH)
    try:
        while batches and (batch := source.next(edge.size)):
            checked = batch.checked(edge)
            target.append(batch, checked)
            edge, batches = checked.edge, batches - 1
    finally:
        source.close()
    return edge


def abandon(target: Any) -> None:
    """As the kernel does with one that was killed."""
    for files in target._logs.values():
        os.close(files._holding._descriptor)


# --- what is there ---


def test_every_entry_is_there_once_and_verifies(log: SignedLog, far: Path) -> None:
    assert ship(log, far) == 300
    assert ranges(far) == [(1, 80), (81, 160), (161, 240), (241, 300)]
    assert ranges(far, "staging") == []
    assert_is_all_there(log, far)


def test_shipping_goes_on_from_what_is_there(log: SignedLog, far: Path) -> None:
    ship(log, far)
    log.enter(count=30)
    log.seal()
    assert ship(log, far) == 30
    assert ship(log, far) == 0
    assert_is_all_there(log, far)


def test_a_batch_that_is_larger_than_a_file_becomes_several(log: SignedLog, far: Path) -> None:
    ship(log, far, rows=15)
    assert ranges(far)[:4] == [(1, 15), (16, 30), (31, 40), (41, 55)]
    assert_is_all_there(log, far)
    log.enter(count=3)
    log.seal()
    ship(log, far, rows=15)
    assert_is_all_there(log, far)


def test_what_waits_is_verified_too_and_put_away_when_it_is_old(log: SignedLog, far: Path) -> None:
    target, _ = waiting(log, far, ranges_of=NEVER_FULL, batches=5)
    assert (ranges(far), len(ranges(far, "staging"))) == ([], 5)
    assert Kept(log, far).rows == in_the_log(log)[:200]
    assert Kept(log, far).report.is_good  # type: ignore[union-attr]
    target.put_away_due()  # type: ignore[attr-defined]
    assert ranges(far) == []
    target._options = target._logs[log.origin]._options = TargetOptions(file_age_s=0)  # type: ignore[attr-defined]
    target.put_away_due()  # type: ignore[attr-defined]
    assert (ranges(far), ranges(far, "staging")) == ([(1, 200)], [])
    target.close()
    ship(log, far)
    assert_is_all_there(log, far)


def test_all_kinds_of_entries_come_back_as_they_were(log: SignedLog, far: Path) -> None:
    texts = [
        '{"text":"\\u0000 \\ud83d\\ude00 ü"}',
        '{"b":1.0,"a":1e400,"a":12345678901234567890123}',
        json.dumps({"large": "x" * ((1 << 20) - 200)}),
        None,
        "{}",
    ]
    log.enter(*(event(text) for text in texts))
    log.redacted(2)
    log.seal()
    ship(log, far)
    kept = assert_is_all_there(log, far)
    assert [row[HASHED] and row[HASHED][16:].decode() for row in kept.rows[300:305]] == texts
    assert is_redacted(kept.rows[1])


def test_the_checkpoint_beside_a_range_is_the_note_as_it_was_signed(
    log: SignedLog, far: Path
) -> None:
    ship(log, far)
    (path,) = far.glob("checkpoints/*/*.checkpoint")
    assert path.name == f"{300:020}.checkpoint"
    assert path.read_text() == (log.directory / "checkpoint").read_text()


def test_a_rotated_key_is_vouched_for(log: SignedLog, far: Path) -> None:
    old, new = log.key, log.rotate(seed=7)
    log.seal(old, new)
    log.publish(new)
    log.enter(count=100)
    log.seal()
    ship(log, far)
    assert len(list(far.glob("checkpoints/*/*"))) >= 2
    assert verify_far(far_end(str(far)), [old.verifier_key]).is_good
    assert_is_all_there(log, far)


def test_several_logs_are_one_table(log: SignedLog, far: Path, tmp_path: Path) -> None:
    other = SignedLog(tmp_path / "other")
    other.enter(count=50)
    other.seal()
    ship(log, far)
    ship(other, far)
    assert_is_all_there(log, far)
    report = verify_far(far_end(str(far)), [log.key.verifier_key, other.key.verifier_key])
    assert [each.is_good for each in report.logs] == [True, True]
    assert {path.name.rpartition(".")[2] for path in far.glob("entries/*/*")} == {"parquet"}
    other.close()


# --- redactions and prunes ---


def test_a_redaction_follows_into_ranges_and_what_waits(log: SignedLog, far: Path) -> None:
    waiting(log, far, ranges_of=100, batches=2)[0].close()
    target, edge = waiting(log, far, ranges_of=NEVER_FULL, batches=2)
    assert (len(ranges(far)), len(ranges(far, "staging"))) == (1, 2)
    assert everything_in(far).count(SECRET.encode()) > 100
    log.redacted(1, 155)
    log.seal()
    append_all(log, target, edge)
    held = everything_in(far)
    assert not any(f'{{"n":{n},"text":"{SECRET}"'.encode() in held for n in range(155)), (
        "a redacted payload is still there"
    )
    assert f'{{"n":155,"text":"{SECRET}"'.encode() in held
    target.close()
    assert_is_all_there(log, far)


def test_what_was_redacted_before_it_was_shipped_has_no_file_written_again(
    log: SignedLog, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.redacted(1, 150)
    log.seal()
    with monkeypatch.context() as patch:
        patch.setattr(log_files, "rewritten", None)
        ship(log, far)
    assert_is_all_there(log, far)


def test_a_prune_removes_files_and_cuts_the_one_that_it_ends_in(log: SignedLog, far: Path) -> None:
    ship(log, far)
    log.pruned(200)
    ship(log, far)
    assert ranges(far) == [(201, 240), (241, 300), (301, 301)]
    kept = assert_is_all_there(log, far)
    assert kept.head.begun.size == 200
    assert kept.report is not None
    assert (kept.report.pruned, kept.report.entries) == (200, 101)


def test_a_prune_may_end_in_what_waits(log: SignedLog, far: Path) -> None:
    waiting(log, far, ranges_of=100, batches=2)[0].close()
    target, edge = waiting(log, far, ranges_of=NEVER_FULL, batches=6)
    log.pruned(130)
    append_all(log, target, edge)
    assert (ranges(far), ranges(far, "staging")[0]) == ([], (131, 160))
    assert Kept(log, far).head.begun.size == 130
    target.close()
    assert_is_all_there(log, far)


def test_entries_pruned_before_they_were_shipped_are_a_hole_that_is_accounted_for(
    log: SignedLog, far: Path
) -> None:
    target, _ = waiting(log, far, ranges_of=100, batches=4)
    target.close()
    log.pruned(250)
    ship(log, far)
    assert Kept(log, far).head.begun.size == 250
    assert_is_all_there(log, far)


# --- killed ---


@pytest.mark.parametrize(("rows", "every"), [(100, 7), (25, 25)])
def test_killed_anywhere_it_is_finished_by_the_next_one(
    log: SignedLog, far: Path, tmp_path: Path, rows: int, every: int
) -> None:
    ship(log, far, rows=rows)
    log.enter(count=90)
    log.redacted(30, 170)
    log.pruned(110)
    log.enter(count=30)
    log.seal()
    to = tmp_path / "killed"
    to.mkdir()
    arguments = [log.directory, far, to, rows, BATCH, every]
    program = [sys.executable, "-c", KILLS_ITSELF, *map(str, arguments)]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    numbers = done.stdout.split()
    assert len(numbers) > 3
    finished, cut = 0, ranges(far)
    for number in numbers:
        copy = to / number
        finished += ranges(copy) == cut
        ship(log, copy, rows=rows)
        assert_is_all_there(log, copy)
        assert not list(copy.glob("staging/*/*"))
        gone = everything_in(copy)
        assert not any(f'{{"n":{n},"text":"{SECRET}"'.encode() in gone for n in range(29, 170))
        shutil.rmtree(copy)
    assert 0 < finished < len(numbers), "it was killed before and behind the first change"


def test_what_was_cut_short_before_the_log_had_a_new_origin_is_finished_all_the_same(
    log: SignedLog, far: Path
) -> None:
    log.redacted(30)
    log.seal()
    target, _ = waiting(log, far, ranges_of=NEVER_FULL, batches=8)
    abandon(target)
    path = max(far.glob("staging/*/*.parquet"))
    path.rename(path.with_suffix(".pending"))
    lost, new = log.key.verifier_key, signing_key(f"{log.origin}/2", seed=2)
    log.say("hansard.key", reason="lost", retired=str(lost), verifier_key=str(new.verifier_key))
    log.publish(new)
    log.seal()
    ship(log, far)
    assert not list(far.glob("staging/*/*"))
    found = verify_far(far_end(str(far)), [lost, new.verifier_key]).logs
    assert [(each.verdict, each.report and each.report.size) for each in found] == [
        ("intact", 301), ("intact", 302),
    ]  # fmt: skip


def test_what_waits_of_an_earlier_origin_does_not_keep_a_later_one_from_being_shipped(
    log: SignedLog, far: Path
) -> None:
    target, _ = waiting(log, far, ranges_of=NEVER_FULL, batches=2)  # goes on
    later = opener(str(far), TargetOptions())()
    assert later.edge(f"{log.origin}/2") == Edge()
    later.close()
    abandon(target)
    max(far.glob("staging/*/*.parquet")).write_bytes(b"damaged")
    later = opener(str(far), TargetOptions())()
    assert later.edge(f"{log.origin}/2") == Edge()
    later.close()


def test_a_relay_may_ship_a_log_under_both_of_its_origins_at_once(
    log: SignedLog, far: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, edge = waiting(log, far, ranges_of=NEVER_FULL, batches=2)
    assert target.edge(f"{log.origin}/2") == Edge()
    append_all(log, target, edge)
    target.close()
    assert not caplog.records
    assert_is_all_there(log, far)


def test_ranges_of_a_batch_that_waits_are_read_once_and_made_again(
    log: SignedLog, far: Path, tmp_path: Path
) -> None:
    target, _ = waiting(log, far, ranges_of=NEVER_FULL, batches=2)
    abandon(target)
    ship(log, tmp_path / "other", rows=15)
    (folder,) = far.glob("entries/*")
    shutil.copy(min((tmp_path / "other").glob("entries/*/*")), folder)
    assert (ranges(far), ranges(far, "staging")) == ([(1, 15)], [(1, 40), (41, 80)])
    assert Kept(log, far).rows == in_the_log(log)[:80]
    ship(log, far, rows=20)
    assert ranges(far)[:2] == [(1, 20), (21, 40)]
    assert_is_all_there(log, far)


def test_two_names_of_one_waiting_batch_are_one_batch(log: SignedLog, far: Path) -> None:
    target, _ = waiting(log, far, ranges_of=NEVER_FULL, batches=2)
    abandon(target)
    _, second = sorted(far.glob("staging/*/*.parquet"))
    shutil.copy(second, second.with_suffix(".pending"))  # as where a rename copies
    ship(log, far)
    assert_is_all_there(log, far)


# --- who else is there ---


def test_a_second_one_is_told_who_ships(log: SignedLog, far: Path) -> None:
    target, _ = waiting(log, far, ranges_of=100, batches=1)
    with pytest.raises(TargetTaken, match=rf"pid {os.getpid()} on host .*: let that one go on"):
        opener(str(far), TargetOptions())().edge(log.origin)
    target.close()
    ship(log, far)


def test_the_place_of_a_dead_one_is_taken(log: SignedLog, far: Path) -> None:
    target, _ = waiting(log, far, ranges_of=100, batches=1)
    abandon(target)
    assert list(far.glob("staging/*/_shipper"))
    ship(log, far)
    assert_is_all_there(log, far)


def test_who_ships_from_another_host_is_not_taken_for_dead(log: SignedLog, far: Path) -> None:
    ship(log, far)
    (staging,) = far.glob("staging/*")
    holder = staging / "_shipper"
    holder.write_text('{"host": "elsewhere", "pid": 7}')
    with pytest.raises(TargetTaken, match=f"pid 7 on host elsewhere.*remove {holder}"):
        ship(log, far)
    holder.unlink()
    ship(log, far)


@pytest.mark.parametrize(("pid", "is_taken"), [(1, True), (1 << 30, False)])
def test_without_flock_the_pid_says_whether_it_lives(
    log: SignedLog, far: Path, monkeypatch: pytest.MonkeyPatch, pid: int, is_taken: bool
) -> None:
    ship(log, far)
    (staging,) = far.glob("staging/*")
    (staging / "_shipper").write_text(json.dumps({"host": socket.gethostname(), "pid": pid}))

    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", flock)
    if is_taken:
        with pytest.raises(TargetTaken, match=f"pid {pid}"):
            opener(str(far), TargetOptions())().edge(log.origin)
    else:
        opener(str(far), TargetOptions())().edge(log.origin)


# --- what goes wrong with files ---


def test_a_directory_in_that_of_a_log_is_refused(log: SignedLog) -> None:
    with pytest.raises(TargetRefused, match="is in the directory of a log"):
        ship(log, log.directory / "far")


def test_a_missing_parent_is_not_made(log: SignedLog, tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match="see whether it is mounted"):
        opener(str(tmp_path / "mount" / "far"), TargetOptions())()
    assert not (tmp_path / "mount").exists()


def test_a_directory_that_was_there_is_not_made_anew(log: SignedLog, far: Path) -> None:
    open_ = opener(str(far), TargetOptions())
    open_().close()
    shutil.rmtree(far)
    with pytest.raises(TargetUnavailable, match=r"see whether .* is mounted"):
        open_()
    assert not far.exists()


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (errno.ENOSPC, TargetUnavailable, "make room there"),
        (errno.EROFS, TargetRefused, "let user"),
        (errno.EACCES, TargetRefused, "let user"),
        (errno.EIO, TargetUnavailable, "see whether it is mounted"),
    ],
)
def test_what_the_disk_says_is_passed_on_and_nothing_is_lost(
    log: SignedLog, far: Path, monkeypatch: pytest.MonkeyPatch,
    number: int, error: type[Exception], says: str,
) -> None:  # fmt: skip
    target, edge = waiting(log, far, ranges_of=100, batches=3)

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(error, match=says):
            append_all(log, target, edge)
        target.close()
    ship(log, far)
    assert_is_all_there(log, far)


def test_where_directories_cannot_be_synced_it_ships_nevertheless(
    log: SignedLog, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(storage.os, "fsync", fsync)
    target = opener(str(far), TargetOptions(rows_per_file=100))()
    append_all(log, target, target.edge(log.origin))
    target.close()
    monkeypatch.undo()
    assert_is_all_there(log, far)


def test_a_file_of_somebody_else_among_the_entries_is_named(log: SignedLog, far: Path) -> None:
    ship(log, far)
    (folder,) = far.glob("entries/*")
    (folder / "mine.parquet").write_bytes(b"")
    for look in (lambda: ship(log, far), lambda: far_end(str(far)).head(log.origin)):
        with pytest.raises(TargetRefused, match=r"mine\.parquet is nothing that"):
            look()


def test_an_unreadable_file_is_named(log: SignedLog, far: Path) -> None:
    ship(log, far)
    path = sorted(far.glob("entries/*/*"))[1]
    whole = path.read_bytes()
    for data in (b"", whole[:-50], b"x" * len(whole), whole[:4] + b"\xff" * 400 + whole[404:]):
        path.write_bytes(data)
        end = far_end(str(far))
        (found,) = verify_far(end, [log.key.verifier_key]).logs
        end.close()
        assert found.verdict == "unverified"
        assert f"{path.name} cannot be read" in found.why


def test_an_unreadable_file_that_shipping_needs_is_named(log: SignedLog, far: Path) -> None:
    ship(log, far)
    paths = sorted(far.glob("entries/*/*"))
    whole = paths[-1].read_bytes()
    paths[-1].write_bytes(whole[:-50])
    with pytest.raises(TargetRefused, match=f"{paths[-1].name} cannot be read"):
        ship(log, far)
    paths[-1].write_bytes(whole)
    paths[0].write_bytes(b"")
    log.redacted(1)
    log.seal()
    with pytest.raises(TargetRefused, match=f"{paths[0].name} cannot be read"):
        ship(log, far)
    paths[0].unlink()
    ship(log, far)


def test_a_missing_file_is_missing_entries(log: SignedLog, far: Path) -> None:
    ship(log, far)
    sorted(far.glob("entries/*/*"))[1].unlink()
    report = Kept(log, far).report
    assert report is not None
    assert not report.is_good
    assert any((each.first, each.last) == (81, 160) for each in report.findings), report.findings


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("payload", '{"n":0}', "its payload or its salt is not what was hashed"),
        ("actor", "somebody", "is another"),
        ("seq", 7, "twice"),
        ("redacted", True, FLAG_DIFFERS),
        ("origin", "hansard/00", ORIGIN_DIFFERS),
        ("leaf", b"\0" * 32, "leaf hash"),
        ("producer", "no hex", ""),
    ],
)
def test_what_was_altered_in_a_file_is_found(
    log: SignedLog, far: Path, column: str, value: Any, words: str
) -> None:
    ship(log, far)
    path = sorted(far.glob("entries/*/*"))[1]
    table = pq.read_table(path, partitioning=None)
    values = table[column].to_pylist()
    values[20] = value
    at = table.schema.get_field_index(column)
    altered = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.types[at]))
    pq.write_table(altered, path)
    report = Kept(log, far).report
    assert report is not None
    assert not report.is_good
    assert any(words in each.what for each in report.findings), report.findings


def test_files_that_changed_since_they_were_listed_are_not_read(log: SignedLog, far: Path) -> None:
    ship(log, far)
    end = far_end(str(far))
    assert end.head(log.origin)
    log.redacted(5)
    log.seal()
    ship(log, far)
    with pytest.raises(TargetUnavailable, match="changed while it was read"):
        list(end.pages(log.origin))
    end.close()


def test_what_is_redacted_while_files_are_listed_is_not_seen_without_the_entry_that_says_so(
    log: SignedLog, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(log, far)
    identity = parquet_far_end._identity

    def ships_first(found: os.stat_result) -> Any:
        monkeypatch.setattr(parquet_far_end, "_identity", identity)
        log.redacted(200)
        log.seal()
        target, _ = waiting(log, far, ranges_of=NEVER_FULL, batches=9)
        abandon(target)
        return identity(found)

    monkeypatch.setattr(parquet_far_end, "_identity", ships_first)
    assert_is_all_there(log, far)


def test_while_something_is_being_taken_out_nothing_is_verified(log: SignedLog, far: Path) -> None:
    target, _ = waiting(log, far, ranges_of=NEVER_FULL, batches=2)
    abandon(target)
    (_, path) = sorted(far.glob("staging/*/*.parquet"))
    path.rename(path.with_suffix(".pending"))
    end = far_end(str(far))
    with pytest.raises(TargetUnavailable, match=r"is being carried out in .*: try again"):
        end.head(log.origin)
    end.close()
    ship(log, far)
    assert_is_all_there(log, far)


def test_what_becomes_a_range_meanwhile_is_read_as_it_was(log: SignedLog, far: Path) -> None:
    target, edge = waiting(log, far, ranges_of=NEVER_FULL, batches=3)
    end = far_end(str(far))
    assert end.head(log.origin)
    append_all(log, target, edge)
    target.close()
    assert [row[SEQ] for page in end.pages(log.origin) for row in page.rows] == list(range(1, 121))
    end.close()


def test_without_pyarrow_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for names in (lambda: opener("/tmp/x", TargetOptions()), lambda: far_end("/tmp/x")):
        with pytest.raises(ConfigError, match=re.escape("pip install 'hansard[parquet]'")):
            names()
