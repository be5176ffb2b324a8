"""Which entries may go, and an archive of them: it proves what they were, or says what is wrong."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import pytest

import rfc6962
from frames import event
from hansard.reader_connection import ReadConnection
from hansard_writer import retention
from hansard_writer.proof import MalformedProof, NotProven
from hansard_writer.proof.archive import Archived
from hansard_writer.proof.proving import NotCovered
from hansard_writer.proof.signed_note import UntrustedNote
from hansard_writer.retention import Prefix, find_prefix, read_archive, write_archive
from provable import ProvableLog, signing_key

SECOND = 10**9
BEGIN = 1_700_000_000 * SECOND


@pytest.fixture
def log(directory: Path) -> Iterator[ProvableLog]:
    log = ProvableLog(directory)
    yield log
    log.close()


@pytest.fixture
def rows(log: ProvableLog) -> Iterator[retention.Rows]:
    with closing(ReadConnection(log.directory)) as connection:
        yield connection.rows


def created(*seconds: int) -> tuple[bytes, ...]:
    """Events of these moments."""
    return tuple(event(created_at=BEGIN + each * SECOND) for each in seconds)


def find(rows: retention.Rows, second: float, keep_last: int = 0) -> Prefix:
    return find_prefix(rows, BEGIN + round(second * SECOND), keep_last)


# --- what may go ---


def test_what_goes_is_all_in_front_of_the_first_that_is_not_older(
    log: ProvableLog, rows: retention.Rows
) -> None:
    log.enter(*created(3, 1, 2, 7, 4, 5, 9))
    found = find(rows, 5)
    assert (found.first, found.last, found.entries) == (1, 3, 3), "the fourth is newer"
    assert (found.oldest, found.newest) == (BEGIN + SECOND, BEGIN + 3 * SECOND)
    assert found.kept_since == BEGIN + 7 * SECOND
    assert find(rows, 3).last == 0
    assert find(rows, 3.5).last == 3
    assert find(rows, 9).last == 6
    assert find(rows, 10) == find(rows, 99)
    assert (find(rows, 10).last, find(rows, 10).kept_since) == (7, None)


def test_the_newest_may_be_kept_whatever_their_time(log: ProvableLog, rows: retention.Rows) -> None:
    log.enter(*created(*range(10)))
    assert find(rows, 99, keep_last=4).last == 6
    assert find(rows, 5, keep_last=4).last == 5
    assert find(rows, 99, keep_last=10).entries == 0
    assert find(rows, 99, keep_last=11).entries == 0


def test_an_empty_log_has_nothing_that_may_go(log: ProvableLog, rows: retention.Rows) -> None:
    assert find(rows, 99) == Prefix(1, 0)
    assert Prefix(1, 0).entries == 0


@pytest.mark.parametrize("look", [1, 3, 4, 100])
def test_it_is_found_whatever_the_size_of_a_look(
    log: ProvableLog, rows: retention.Rows, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(retention, "ENTRIES_PER_LOOK", look)
    log.enter(*created(*range(12)))
    log.prune(2)
    found = find(rows, 8)
    assert (found.first, found.last, found.entries) == (3, 8, 6)
    assert (found.oldest, found.newest) == (BEGIN + 2 * SECOND, BEGIN + 7 * SECOND)
    assert find(rows, 1) == Prefix(3, 2, kept_since=BEGIN + 2 * SECOND)
    assert find(rows, 99).last == 12


def test_a_prefix_of_so_many_bytes_ends_with_the_entry_that_reaches_them(
    log: ProvableLog, rows: retention.Rows
) -> None:
    log.enter(*(event('{"x":"%s"}' % ("x" * size)) for size in (100, 2_000, 100, 100, 5_000)))
    each = [retention.longer(rows, Prefix(n, n - 1), n, 1 << 62).bytes for n in range(1, 6)]
    assert each[1] - each[0] == 1_900
    nothing, sums = Prefix(1, 0), [sum(each[:n]) for n in range(1, 6)]
    for size, last in ((1, 1), (sums[0], 1), (sums[0] + 1, 2), (sums[3], 4), (1 << 40, 5)):
        found = retention.heavier(rows, nothing, 5, size)
        assert (found.last, found.bytes) == (last, sums[last - 1])
        if last > 2:  # looked at in two pieces
            part = retention.heavier(rows, nothing, 2, size)
            assert retention.heavier(rows, part, 5, size) == found
    assert retention.heavier(rows, nothing, 3, 1 << 40).last == 3


def test_it_looks_at_nothing_behind_the_first_that_stays(
    log: ProvableLog, rows: retention.Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ENTRIES_PER_LOOK", 5)
    log.enter(*created(*range(100)))
    looked = []
    assert find_prefix(rows, BEGIN + 12 * SECOND, progress=looked.append).last == 12
    assert looked == [5, 5, 2]


def test_the_bytes_are_about_those_that_the_entries_take(
    log: ProvableLog, rows: retention.Rows
) -> None:
    log.enter(*(event(f'{{"x":"{"ä" * 500}"}}') for _ in range(2_000)))
    log.store.handle.checkpoint_truncate()
    size = (log.directory / "log.db").stat().st_size
    assert 0.7 * size < find_prefix(rows, 2 * BEGIN).bytes < 1.3 * size


# --- archives ---


def archive(rows: retention.Rows, path: Path, last: int, first: int = 1) -> Path:
    write_archive(rows, path, Prefix(first, last))
    return path


def lines_of(path: Path) -> list[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def root_by_hand(entries: list[Any]) -> bytes:
    """From the archive's text alone, by the format's description and the RFC's definition."""
    leaves = []
    for each in entries:
        if each["payload"] is not None:
            salted = bytes.fromhex(each["salt"]) + each["payload"].encode()
            assert hashlib.sha256(salted).hexdigest() == each["payload_hash"]
        hidden = each["payload_hash"]
        fields = [
            1,
            each["seq"],
            bytes.fromhex(each["producer_hash"]),
            each["producer_seq"],
            each["created_at"],
            each["event_type"],
            each["level"],
            each["actor"],
            each["task_id"],
            None if hidden is None else bytes.fromhex(hidden),
        ]
        leaves.append(rfc6962.leaf(msgpack.packb(fields)))
    return rfc6962.Tree(leaves).root(len(leaves))


def test_the_trees_root_comes_out_of_the_archive_alone(
    log: ProvableLog, rows: retention.Rows, tmp_path: Path
) -> None:
    log.enter(event('{"ü":1}'), event(None, actor=None, task_id=None), event("{}"))
    log.enter(count=297)
    log.redact(7)
    log.sign()
    expected = log.tree.root(290)
    path = archive(rows, tmp_path / "a.gz", 290)
    head, *entries, end = lines_of(path)
    assert (head["hansard_archive"], head["first"], head["last"]) == (1, 1, 290)
    assert head["log_id"] == log.store.log_id.hex()
    assert [each["seq"] for each in entries] == list(range(1, 291))
    assert (entries[6]["payload"], entries[0]["payload"]) == (None, '{"ü":1}')
    assert root_by_hand(entries) == expected
    assert end["checkpoint"] == log.note()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [log.directory, path]


def test_an_archive_is_checked_with_a_key_and_nothing_else(
    log: ProvableLog, rows: retention.Rows, tmp_path: Path
) -> None:
    log.enter(count=100)
    log.redact(9)
    for size in (40, 70, 100):
        log.sign(size)
    path = archive(rows, tmp_path / "a.gz", 60)
    log.close()
    found = read_archive(path, log.keys)
    assert (found.head.first, found.head.last, found.redacted) == (1, 60, 1)
    assert found.checkpoint.size == 70, "the first that covers all"
    assert found.signers == tuple(log.keys)


def test_the_archive_of_a_later_prune_goes_on_where_the_earlier_ended(
    log: ProvableLog, rows: retention.Rows, tmp_path: Path
) -> None:
    log.enter(count=1_000)
    log.sign()
    log.prune(555)
    found = read_archive(archive(rows, tmp_path / "b.gz", 900, first=556), log.keys)
    assert (found.head.first, found.head.last) == (556, 900)


def test_progress_is_told(log: ProvableLog, rows: retention.Rows, tmp_path: Path) -> None:
    log.enter(count=250)
    log.sign()
    told: list[int] = []
    write_archive(rows, tmp_path / "a.gz", Prefix(1, 250), told.append)
    assert told == [100, 100, 50]


def test_an_archive_replaces_no_file(
    log: ProvableLog, rows: retention.Rows, tmp_path: Path
) -> None:
    log.enter(count=3)
    log.sign()
    path = tmp_path / "a.gz"
    path.write_text("dear to somebody")
    with pytest.raises(FileExistsError, match="exists: name another file"):
        archive(rows, path, 3)
    assert path.read_text() == "dear to somebody"


def test_what_a_killed_one_left_is_in_nobodys_way(
    log: ProvableLog, rows: retention.Rows, tmp_path: Path
) -> None:
    log.enter(count=3)
    log.sign()
    (tmp_path / "a.gz.partial").write_text("the beginning")
    read_archive(archive(rows, tmp_path / "a.gz", 3), log.keys)


def altered(statement: str) -> Callable[[ProvableLog], None]:
    return lambda log: log.change(statement)


@pytest.mark.parametrize(
    ("do", "error", "complaint"),
    [
        (lambda _: None, NotCovered, "no checkpoint covers entry 20 yet"),
        (lambda log: log.sign(19), NotCovered, "no checkpoint covers entry 20 yet"),
        (
            altered("UPDATE entries SET payload = '{}' WHERE seq = 4"),
            NotProven,
            "entry 4 was altered: payload_hash is not that",
        ),
        (
            altered("UPDATE entries SET level = 'error' WHERE seq = 20"),
            NotProven,
            "not those that were signed",
        ),
        (altered("DELETE FROM entries WHERE seq = 12"), NotProven, "entry 12 is missing"),
        (altered("DELETE FROM entries WHERE seq = 20"), NotProven, "entries 20 to 20 are missing"),
        (altered("DELETE FROM entries WHERE seq < 5"), NotProven, "entry 1 is missing"),
    ],
)
def test_of_entries_that_are_not_those_that_were_signed_there_is_no_archive(
    log: ProvableLog,
    rows: retention.Rows,
    tmp_path: Path,
    do: Callable[[ProvableLog], None],
    error: type[Exception],
    complaint: str,
) -> None:
    log.enter(count=30)
    if error is NotProven:
        log.sign()
    do(log)
    with pytest.raises(error, match=complaint):
        archive(rows, tmp_path / "a.gz", 20)
    assert list(tmp_path.iterdir()) == [log.directory]


# --- archives that somebody has changed ---


@pytest.fixture
def good(log: ProvableLog, rows: retention.Rows, tmp_path: Path) -> list[Any]:
    """The lines of an archive of the entries 21 to 40."""
    log.enter(count=50)
    log.sign()
    log.prune(20)
    return lines_of(archive(rows, tmp_path / "good.gz", 40, first=21))


def reread(log: ProvableLog, path: Path, lines: list[Any]) -> Archived:
    path.write_bytes(gzip.compress("".join(f"{json.dumps(each)}\n" for each in lines).encode()))
    return read_archive(path, log.keys)


def changed(line: int, **members: Any) -> Callable[[list[Any]], None]:
    def change(lines: list[Any]) -> None:
        lines[line] |= members

    return change


def swapped(lines: list[Any]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def other_edge(lines: list[Any]) -> None:
    row = bytearray(base64.b64decode(lines[0]["edge"][0]))
    row[0] ^= 1
    lines[0]["edge"][0] = base64.b64encode(row).decode()


def without(index: int) -> Callable[[list[Any]], None]:
    return lambda lines: lines.pop(index) and None


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        (changed(5, payload='{"n":99}'), NotProven, "entry 25 is not as it was: payload_hash"),
        (changed(5, created_at=7), NotProven, "not those that were signed"),
        (changed(5, producer_hash="0" * 64), NotProven, "not those that were signed"),
        (changed(5, payload=None, salt=None, payload_hash=None), NotProven, "not those that were"),
        (changed(5, seq=99), NotProven, "entry 25 is missing: there is 99"),
        (swapped, NotProven, "entry 23 is missing: there is 24"),
        (other_edge, NotProven, "not those that were signed"),
        (without(7), NotProven, "entry 27 is missing: there is 28"),
        (without(-1), MalformedProof, "cut short"),
        (without(0), MalformedProof, "no archive of version 1"),
        (lambda lines: lines.append({}), MalformedProof, "goes on behind its last line"),
        (changed(0, last=39), MalformedProof, "cut short"),
        (changed(0, last=20), MalformedProof, "first and last of an archive are ids, in order"),
        (changed(0, first=22), MalformedProof, "edge of an archive is not of a tree of 21 leaves"),
        (changed(0, edge="x"), MalformedProof, "edge of an archive is a list of at most 16"),
        (changed(0, edge=["ä"]), MalformedProof, "edge of an archive is base64"),
        (changed(0, log_id=7), MalformedProof, "log_id of an archive is text"),
        (changed(-1, consistency=[]), NotProven, "not those that were signed"),
        (changed(-1, consistency=["aQ=="]), MalformedProof, "hashes of 32 bytes"),
        (changed(-1, consistency=["aa=="]), MalformedProof, "consistency of an archive is base64"),
        (changed(0, hansard_archive=2), MalformedProof, "no archive of version 1"),
    ],
)
def test_an_archive_that_was_changed_proves_nothing(
    log: ProvableLog,
    good: list[Any],
    tmp_path: Path,
    change: Callable[[list[Any]], None],
    error: type[Exception],
    complaint: str,
) -> None:
    assert reread(log, tmp_path / "same.gz", good).head.last == 40
    change(good)
    with pytest.raises(error, match=complaint):
        reread(log, tmp_path / "changed.gz", good)


def test_a_checkpoint_that_covers_less_or_is_anothers_proves_nothing(
    log: ProvableLog, good: list[Any], tmp_path: Path
) -> None:
    end = dict(good[-1])
    good[-1] = end | {"checkpoint": log.note(30)}
    with pytest.raises(NotProven, match="of 30 entries: it covers not all"):
        reread(log, tmp_path / "less.gz", good)
    log.key = signing_key("hansard/other", 3)
    good[-1] = end | {"checkpoint": log.note()}
    log.key = signing_key(log.origin)
    with pytest.raises(UntrustedNote):
        reread(log, tmp_path / "other.gz", good)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-30],
        lambda data: data[:100] + bytes(20) + data[120:],
        lambda data: b"no gzip" + data,
        lambda _: b"",
        lambda _: gzip.compress(b"[1]\n"),
        lambda _: gzip.compress(b"\xff\n"),
    ],
)
def test_a_file_that_is_damaged_is_no_archive(
    log: ProvableLog, good: list[Any], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "good.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MalformedProof):
        read_archive(path, log.keys)
