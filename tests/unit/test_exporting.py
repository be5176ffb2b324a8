"""An export: which entries, until when, into which file, and what it says of itself."""

import gzip
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handmade_log import Log
from hansard.reader import Event, Extent, LogReader
from hansard_writer import exporting
from hansard_writer.exporting import Exported, destination, export, format_of


class Lines:
    """An encoder of ids, which lets a test do something before entries are read, and between."""

    def __init__(
        self,
        at_each: Callable[[Event], object] = lambda _: None,
        at_begin: Callable[[], object] = lambda: None,
    ) -> None:
        self._at_each = at_each
        self._at_begin = at_begin

    def __call__(self, extent: Extent) -> "Lines":
        return self

    def begin(self) -> bytes:
        self._at_begin()
        return b"begin "

    def add(self, event: Event) -> bytes:
        self._at_each(event)
        return b"%d " % event.id

    def end(self) -> bytes:
        return b"end"


def exported(log: Log, encoder: Any = None, **asked: Any) -> tuple[str, Exported]:
    """What came out, and what was said of it."""
    parts: list[bytes] = []
    with LogReader(log.directory) as reader:
        said = export(reader, encoder or Lines(), parts.append, **asked)
    return b"".join(parts).decode(), said


def prune(log: Log, last: int) -> None:
    log.execute("INSERT OR REPLACE INTO meta VALUES('unlocked', 'prune'), ('pruned_to', ?)", last)
    log.execute("DELETE FROM entries WHERE seq <= ?", last)


def test_entries_come_oldest_first_between_what_begins_and_what_ends(log: Log) -> None:
    for _ in range(3):
        log.add()
    out, said = exported(log)
    assert out == "begin 1 2 3 end"
    assert said == Exported(3, 1, 3, Extent("", 0, 3), missing=0, pruned_to=0)


def test_an_empty_log_has_an_export_too(log: Log) -> None:
    out, said = exported(log)
    assert out == "begin end"
    assert said == Exported(0, 0, 0, Extent("", 0, 0), missing=0, pruned_to=0)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"event_type": "x"}, "1 3"),
        ({"event_type": "x", "limit": 1}, "1"),
        ({"limit": 2}, "1 2"),
        ({"after_id": 2}, "3 4 5"),
        ({"after_id": 2, "up_to_id": 4}, "3 4"),
        ({"up_to_id": 0}, ""),
        ({"actor": "a"}, "2"),
        ({"event_type": "env.operation", "status": "failed"}, "5"),
    ],
)
def test_it_is_of_the_entries_that_meet_the_conditions(
    log: Log, asked: dict[str, Any], expected: str
) -> None:
    log.add("x")
    log.add("y", actor="a")
    log.add("x")
    log.add_operation()
    log.add_operation(status="failed")
    out, said = exported(log, **asked)
    assert out.split()[1:-1] == expected.split()
    assert (said.entries, said.missing) == (len(expected.split()), 0)


def test_it_ends_at_the_size_that_the_log_had_when_it_began(log: Log) -> None:
    for _ in range(3):
        log.add()
    out, said = exported(log, Lines(at_begin=log.add, at_each=lambda _: log.add()))
    assert out == "begin 1 2 3 end"
    assert said.extent.last_id == 3


def test_it_holds_no_transaction_while_its_bytes_are_taken(log: Log) -> None:
    for _ in range(250):
        log.add()

    def look(event: Event) -> None:
        if event.id % 60 == 0:
            log.execute("UPDATE meta SET value = value")
            assert log.can_truncate_wal()

    assert exported(log, Lines(look))[1].entries == 250


def test_it_begins_behind_what_was_pruned(log: Log) -> None:
    for _ in range(4):
        log.add()
    prune(log, 2)
    out, said = exported(log)
    assert out == "begin 3 4 end"
    assert (said.extent.pruned_to, said.missing) == (2, 0)


def test_what_was_gone_before_it_was_read_is_said_to_be_missing(log: Log) -> None:
    for _ in range(250):
        log.add()

    def overtake(event: Event) -> None:
        if event.id == 100:  # the first page is read
            prune(log, 180)

    _, said = exported(log, Lines(overtake))
    assert (said.entries, said.missing, said.pruned_to) == (170, 80, 180)
    assert exported(log, limit=5)[1].missing == 0


def test_it_says_how_far_it_is(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hansard_writer.exporting.extraction.ENTRIES_PER_PROGRESS", 2)
    for number in range(6):
        log.add("x" if number % 2 else "y")
    heard: list[tuple[int, ...]] = []
    exported(log, event_type="x", after_id=1, progress=lambda *now: heard.append(now))
    assert heard == [(3, 5, 2), (5, 5, 3)]


def test_bytes_are_handed_on_in_pieces_that_are_worth_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.exporting.extraction.WRITE_BYTES", 10)
    for _ in range(9):
        log.add()
    parts: list[bytes] = []
    with LogReader(log.directory) as reader:
        export(reader, Lines(), parts.append)
    assert parts == [b"begin 1 2 ", b"3 4 5 6 7 ", b"8 9 end"]


def test_a_condition_that_breaks_a_rule_is_refused_before_anything_is_written(log: Log) -> None:
    wrong: list[dict[str, Any]] = [
        {"level": "loud"}, {"search": ""}, {"after_id": "1"}, {"up_to_id": -1},
    ]  # fmt: skip
    for asked in wrong:
        parts: list[bytes] = []
        with LogReader(log.directory) as reader, pytest.raises(ValueError, match=" is "):
            export(reader, Lines(), parts.append, **asked)
        assert parts == []


# --- the file ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.b.csv.gz", "csv"),
        ("a.parquet", "parquet"), ("a.cloudevents", "cloudevents"), ("a.ocsf.gz", "ocsf"),
        ("a.txt", None), ("csv", None), ("a.gz", None),
    ],
)  # fmt: skip
def test_a_files_name_says_its_format(name: str, expected: str | None) -> None:
    assert format_of(Path("x.csv") / name) == expected


def test_every_format_has_its_suffix() -> None:
    assert [format_of(Path(f"a.{name}")) for name in exporting.FORMATS] == list(exporting.FORMATS)


def test_a_log_is_exported_into_a_compressed_file(log: Log, tmp_path: Path) -> None:
    log.add(payload='{"n":1}')
    path = tmp_path / "out.jsonl.gz"
    with LogReader(log.directory) as reader, destination(path) as write:
        export(reader, "jsonl", write)
    assert json.loads(gzip.decompress(path.read_bytes()))["payload"] == {"n": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_bytes()
    with LogReader(log.directory) as reader, destination(path, replace=True) as write:
        export(reader, "jsonl", write)
    assert path.read_bytes() == first


def test_a_file_that_is_there_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(FileExistsError), destination(path):
        raise AssertionError("it goes on")
    assert path.read_text() == "old"


def _write_and_interrupt(write: Callable[[bytes], object]) -> None:
    write(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_an_export_that_is_interrupted_leaves_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt), destination(tmp_path / name) as write:
        _write_and_interrupt(write)
    assert list(tmp_path.iterdir()) == []
