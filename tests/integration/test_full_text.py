"""The index of full text behind the log: when it is kept up, and that no search misses anything."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard import ConfigError, wire
from hansard import calls as client
from hansard.reader import LogReader
from hansard_writer import full_text, schema
from hansard_writer.migrating import migrate
from hansard_writer.retries import RETRY_S
from hansard_writer.writer import FULL_TEXT_IDLE_S
from stepped import Log, encode, write_lock_taken


@pytest.fixture
def make_log(directory: Path) -> Iterator[Any]:
    made: list[Log] = []

    def make(**settings: Any) -> Log:
        for log in made:
            log.close()
        made.append(Log(directory, **settings).start_writer())
        return made[-1]

    yield make
    for log in made:
        log.close()


def record_operations(log: Log, count: int, stderr: str = "common", **changed: Any) -> None:
    worker = log.workers[0] if log.workers else log.worker()
    for number in range(count):
        payload = {"status": "failed", "stderr": f"{stderr} number{number}"}
        worker.producer.append(encode_operation(payload, **changed))
    log.settle()


def encode_operation(payload: dict[str, Any], **changed: Any) -> bytes:
    return encode(payload, **{"event_type": "env.operation", **changed})


def idle(log: Log, seconds: float = 2 * FULL_TEXT_IDLE_S) -> None:
    log.pass_time(seconds)
    log.step()


def mark(log: Log) -> int:
    return int(log.query("SELECT indexed_to FROM full_text_state")[0][0])


def found(log: Log, query: str) -> list[int]:
    with LogReader(log.directory) as reader:
        return [event.id for event in reader.search(query)]


def counted_in_index(log: Log, word: str) -> list[tuple[int, int]]:
    """Entries that have the word, and how often the index has it."""
    connection = apsw.Connection(":memory:")
    connection.execute("ATTACH ? AS log", (str(log.directory / "log.db"),))
    connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(log, full_text, row)")
    counts = connection.execute("SELECT doc, cnt FROM words WHERE term = ?", (word,)).fetchall()
    connection.close()
    return counts


# --- when ---


def test_a_commit_indexes_nothing_and_a_moment_of_idleness_does(log: Log) -> None:
    record_operations(log, 3)
    assert mark(log) == 0
    assert found(log, "common") == [1, 2, 3]
    idle(log)
    assert mark(log) == 3
    assert counted_in_index(log, "common") == [(3, 3)]
    assert found(log, "common") == [1, 2, 3]


def test_the_writer_wakes_up_for_it_and_then_rests(log: Log) -> None:
    record_operations(log, 3)
    assert log.step() <= FULL_TEXT_IDLE_S
    idle(log)
    assert log.writer.figures()["full_text_tail"] == 0
    assert log.step() > FULL_TEXT_IDLE_S


def test_under_load_the_tail_that_is_not_indexed_stays_short(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_text, "TAIL_ENTRIES_MAX", 100)
    monkeypatch.setattr(full_text, "PIECE_ENTRIES_MAX", 30)
    for _ in range(20):
        record_operations(log, 50)  # settles without a pause
        assert log.query("SELECT max(seq) FROM entries")[0][0] - mark(log) <= 100 + 50
    assert mark(log) >= 900
    assert len(found(log, "common")) == 1_000


def test_a_long_tail_is_caught_up_with_under_load(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_operations(log, 1_000)
    monkeypatch.setattr(full_text, "TAIL_ENTRIES_MAX", 10)
    monkeypatch.setattr(full_text, "PIECE_ENTRIES_MAX", 10)
    for _ in range(25):
        record_operations(log, 50)
    assert log.query("SELECT max(seq) FROM entries")[0][0] - mark(log) <= 10 + 50


def test_a_long_tail_is_not_all_caught_up_with_behind_the_first_commit(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call's, before any batch: what was there at the start is no newest batch."""
    made = "CREATE TABLE mine(a)"
    log.operations = {"make": lambda connection, _: connection.execute(made).fetchall()}
    record_operations(log, 100)
    log.stop_writer()
    log.start_writer()
    monkeypatch.setattr(full_text, "TAIL_ENTRIES_MAX", 10)
    monkeypatch.setattr(full_text, "PIECE_ENTRIES_MAX", 10)
    params, deadline = client.pack_value("params", None), log.clock_ns() + 10**10
    asked = wire.Call(b"k" * 16, "make", params, deadline)
    log.link.requests.append(([b"caller", b"\0\0\0\1", b""], wire.pack_request(asked)))
    log.step()
    assert log.query("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'") == [(1,)]
    assert mark(log) == 10, "one piece"


def test_long_texts_are_indexed_in_small_pieces(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_text, "PIECE_TEXT_BYTES_MAX", 1_000)
    record_operations(log, 10, "x" * 400)
    for expected in (3, 6, 9, 10):
        idle(log)
        assert mark(log) == expected


def test_entries_without_text_cost_no_commit_until_the_mark_is_far_behind(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_text, "MARK_BEHIND_MAX", 100)
    worker = log.worker()
    for _ in range(9):
        worker.record(10)
        log.settle()
        idle(log)
    assert mark(log) == 0
    assert log.writer.figures()["full_text_tail"] == 0, "but they were looked at"
    worker.record(10)
    log.settle()
    idle(log)
    assert mark(log) == 100
    worker.record(5)
    log.settle()
    record_operations(log, 1)
    idle(log)
    assert mark(log) == 106


def test_a_batch_whose_types_have_no_text_is_not_read_for_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_text, "_TEXTS", "no statement at all")
    worker = log.worker()
    for _ in range(3):
        worker.record(10)
        log.settle()
        assert log.writer.figures()["full_text_tail"] == 0
        idle(log)
    assert log.query("SELECT max(seq) FROM entries") == [(30,)]


def test_what_is_left_before_such_a_batch_is_still_indexed(log: Log) -> None:
    record_operations(log, 2)
    log.workers[0].record(10)
    log.settle()
    assert log.writer.figures()["full_text_tail"] == 12
    idle(log)
    assert mark(log) == 12
    assert counted_in_index(log, "common") == [(2, 2)]


def test_an_operation_and_a_named_type_are_not_passed_over(make_log: Any) -> None:
    log = make_log(fts_event_types=("note.added",))
    worker = log.worker()
    note = encode({"text": "kestrel"}, event_type="note.added")
    for packed in (note, encode_operation({"stderr": "common"})):
        worker.record(5)
        worker.producer.append(packed)
        worker.record(5)
        log.settle()
        assert log.writer.figures()["full_text_tail"] == 11
        idle(log)
    assert counted_in_index(log, "kestrel") == [(1, 1)]
    assert counted_in_index(log, "common") == [(1, 1)]


def test_while_the_disk_is_full_nothing_is_indexed(log: Log) -> None:
    record_operations(log, 3)
    log.writer._disk.reason = "the disk is full"
    log.writer._disk.next_look = float("inf")
    idle(log)
    assert mark(log) == 0
    assert found(log, "common") == [1, 2, 3]


def test_a_foreign_lock_puts_it_off(log: Log) -> None:
    record_operations(log, 3)
    with write_lock_taken(log.directory):
        idle(log)
    assert mark(log) == 0
    idle(log, RETRY_S)
    assert mark(log) == 3


# --- what ---


def test_only_stderr_of_operations_is_indexed_unless_types_are_named(log: Log) -> None:
    record_operations(log, 1)
    log.workers[0].record(1, event_type="note")
    log.settle()
    idle(log)
    assert counted_in_index(log, "common") == [(1, 1)]
    assert counted_in_index(log, "fail") == []
    assert counted_in_index(log, "w") == []


def test_named_types_are_indexed_with_names_and_values(make_log: Any) -> None:
    log = make_log(fts_event_types=("note",))
    log.worker("somebody").record(1, event_type="note")
    log.settle()
    idle(log)
    assert mark(log) == 1
    assert found(log, "somebodies AND w AND 1") == [1]


def test_text_that_is_none_to_python_stops_nothing(log: Log) -> None:
    worker = log.worker()
    for payload in ({"stderr": "half \ud800 pair"}, {"stderr": 5}, {"stderr": None}, {}):
        worker.producer.append(encode_operation(payload))
    worker.producer.append(encode_operation({"stderr": "\0 behind nul"}))
    log.settle()
    idle(log)
    assert mark(log) == 5
    assert found(log, "pair") == [1]
    assert found(log, "nul") == [5]


def test_what_is_deleted_from_the_index_leaves_no_trace(log: Log) -> None:
    """Redaction will rest on this: FTS5's own delete, with the text once more."""
    record_operations(log, 500, "common zebrasecret")
    idle(log)
    assert log.store is not None
    connection = log.store.connection

    def traces() -> int:
        blocks = connection.execute("SELECT block FROM full_text_data").fetchall()
        return sum(bytes(block).count(b"zebrasecr") for (block,) in blocks)

    assert traces()
    texts = connection.execute("SELECT id, text FROM full_text_source").fetchall()
    with log.store.transaction():
        connection.executemany(
            "INSERT INTO full_text(full_text, rowid, text) VALUES('delete', ?, ?)", texts
        )
    assert not traces()


# --- interruptions and changes ---


def test_a_kill_between_two_pieces_loses_and_doubles_nothing(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_text, "PIECE_ENTRIES_MAX", 7)
    record_operations(log, 50)
    for expected in (7, 14):
        idle(log)
        assert mark(log) == expected
        log.restart_writer()
        assert mark(log) == expected
        assert found(log, "common") == list(range(1, 51))
    while log.writer.figures()["full_text_tail"]:
        idle(log)
        log.restart_writer()
    assert counted_in_index(log, "common") == [(50, 50)]


def test_a_piece_and_its_mark_are_one_transaction(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_operations(log, 5)
    monkeypatch.setattr(full_text, "_SET", "UPDATE meta SET value = no_such_column")
    with pytest.raises(apsw.SQLError):
        idle(log)
    monkeypatch.undo()
    log.restart_writer()
    assert mark(log) == 0
    idle(log)
    assert counted_in_index(log, "common") == [(5, 5)]


def test_other_types_make_the_index_anew_while_searches_stay_right(
    make_log: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hansard.writer")
    monkeypatch.setattr(full_text, "PIECE_ENTRIES_MAX", 10)
    monkeypatch.setattr(full_text, "PROGRESS_ENTRIES", 20)
    monkeypatch.setattr(full_text, "MARK_BEHIND_MAX", 20)
    log = make_log()
    record_operations(log, 20)
    log.workers[0].record(40, event_type="note")
    log.settle()
    while log.writer.figures()["full_text_tail"]:
        idle(log)
    assert found(log, "w") == []
    log.stop_writer()
    log = make_log(fts_event_types=("note", "other"))
    assert mark(log) == 0
    while log.writer.figures()["full_text_tail"]:
        assert found(log, "common") == list(range(1, 21))
        assert found(log, "w") == list(range(21, 61))
        idle(log)
    assert mark(log) == 60
    assert counted_in_index(log, "w") == [(40, 80)], "as a name, and as the worker's name"
    for line in ("the index is made anew", "60 entries are to be", "20 of 60", "40 of 60"):
        assert line in caplog.text
    assert "up to 60 are searched by index" in caplog.text
    log.stop_writer()
    log = make_log(fts_event_types=("other", "note", "note"))
    assert mark(log) == 60, "the same types in another order"


def test_a_log_of_the_first_schema_gets_its_index_in_the_background(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.stop_writer()
    for path in log.files():
        path.unlink()
    connection = apsw.Connection(str(log.directory / "log.db"))
    for statement in schema.MIGRATIONS[0]:
        connection.execute(statement)
    for pragma in (f"application_id = {schema.APPLICATION_ID}", "user_version = 1"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("INSERT INTO meta VALUES('log_id', ?)", (log_id := bytes(16),))
    own = wire.producer_hash(b"hansard writer " + log_id)
    connection.execute("INSERT INTO producers VALUES(0, ?, '', 0, 0, 0, 0, 0)", (own,))
    payload = '{"workflow_id": "wf", "status": "failed", "stderr": "common"}'
    connection.executemany(
        "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, payload)"
        " VALUES(?1, 0, ?1, 0, 'env.operation', 'error', ?2)",
        [(number, payload) for number in range(1, 31)],
    )
    connection.close()
    monkeypatch.setattr(full_text, "MARK_BEHIND_MAX", 10)
    migrate(log.directory)
    log.start_writer()
    assert mark(log) == 0, "the start waits for nothing"
    assert found(log, "common") == list(range(1, 31))
    with LogReader(log.directory) as reader:
        assert len(list(reader.failed_operations("wf"))) == 30
    idle(log)
    assert mark(log) == 30
    assert found(log, "common") == list(range(1, 31))


def test_an_index_that_cannot_be_made_anew_is_refused_at_the_start(make_log: Any) -> None:
    log = make_log()
    record_operations(log, 3)
    idle(log)
    log.stop_writer()
    log.start_writer()
    with write_lock_taken(log.directory), pytest.raises(ConfigError, match="another program"):
        full_text.FullText(log.store, ("note",))
    assert mark(log) == 3


@pytest.mark.parametrize("event_type", ["", "1a", "a b", "a" * 256])
def test_a_type_that_is_none_is_refused_at_the_start(make_log: Any, event_type: str) -> None:
    with pytest.raises(ConfigError, match=r"fts_event_types has .*must be event types"):
        make_log(fts_event_types=(event_type,))


@pytest.mark.parametrize("which", ["id > 0", "id = 10", "id > 10"])
def test_an_index_that_is_damaged_is_made_anew_and_the_log_goes_on(
    make_log: Any, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    """It is derived: all that is in it can be had from the entries."""
    log = make_log()
    record_operations(log, 20)
    idle(log)
    assert mark(log) == 20
    log.stop_writer()
    connection = apsw.Connection(str(log.directory / "log.db"))
    damage = "UPDATE full_text_data SET block = CAST(replace(hex(block), '0', 'x') AS BLOB) WHERE "
    connection.execute(damage + which)
    connection.close()
    log.start_writer()
    for _ in range(40):
        record_operations(log, 1, "afterwards")
        idle(log)
    assert "the index is damaged, and is made anew" in caplog.text
    assert mark(log) == 60
    assert len(found(log, "afterwards")) == 40
    assert len(found(log, "common")) == 20
    log.assert_all_is_in()
