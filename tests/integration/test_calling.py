"""Calls of named operations through a stepped writer: when each is run, and what is kept of it."""

import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from hansard import calls as client
from hansard import wire
from hansard_writer import calls
from hansard_writer.place import DirectoryReplaced
from hansard_writer.retries import StoreFull
from hansard_writer.store import Store
from hooked_vfs import HookedVfs
from stepped import EPOCH_NS, Log, write_lock_taken

_CALLERS = itertools.count(1)

TABLE = "CREATE TABLE IF NOT EXISTS counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL)"
ADD = (
    "INSERT INTO counters VALUES(?, ?)"
    " ON CONFLICT DO UPDATE SET value = value + excluded.value RETURNING value"
)


def add(connection: Any, params: Any) -> Any:
    """The operation of most tests: read, modify, write."""
    connection.execute(TABLE)
    return connection.execute(ADD, (params["name"], params["by"])).fetchone()[0]


def sql(connection: Any, params: Any) -> Any:
    """Whatever SQL a test wants to be run."""
    return [connection.execute(statement).fetchall() for statement in params]


def fail(connection: Any, params: Any) -> Any:
    """Writes, then fails."""
    add(connection, {"name": "failed", "by": 1})
    raise params


def returning(value: object) -> Callable[[Any, Any], Any]:
    """An operation that writes, then returns ``value``."""

    def operation(connection: Any, params: Any) -> object:
        add(connection, {"name": "returned", "by": 1})
        return value

    return operation


def raising(error: BaseException) -> Callable[[Any, Any], Any]:
    """An operation that writes, then raises."""
    return lambda connection, _params: fail(connection, error)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step runs what it may, however slow the machine is."""
    monkeypatch.setattr(calls, "SLICE_S", 60.0)


@pytest.fixture
def log(directory: Path) -> Any:
    log = Log(directory)
    log.operations = {"add": add, "sql": sql}
    log.start_writer()
    yield log
    log.close()


class Caller:
    """Who has asked for one thing, and waits for the answer."""

    def __init__(self, log: Log, request: wire.Call | wire.LookupCall) -> None:
        self._log = log
        address = b"caller" + next(_CALLERS).to_bytes(4, "big")  # no worker's
        self._envelope = [address, b"\0\0\0\1", b""]
        self.key = request.call_id
        log.link.requests.append((self._envelope, wire.pack_request(request)))

    @property
    def reply(self) -> wire.CallReply | None:
        """What was answered, None if nothing was yet."""
        mine = [
            content for envelope, content in self._log.link.replies if envelope == self._envelope
        ]
        assert len(mine) <= 1, "answered twice"
        return wire.call_reply_of(wire.unpack_reply(mine[0])[1]) if mine else None

    @property
    def result(self) -> Any:
        assert self.reply is not None
        assert self.reply.status == "committed", self.reply
        return client.unpack_value(self.reply.value)  # type: ignore[arg-type]

    @property
    def reason(self) -> str:
        assert self.reply is not None
        assert self.reply.status == "rejected", self.reply
        return str(self.reply.value)


def ask(
    log: Log, name: str, params: Any = None, *, timeout: float = 5.0, key: bytes | None = None
) -> Caller:
    deadline = log.clock_ns() + round(timeout * 1e9)
    packed = params if isinstance(params, bytes) else client.pack_value("params", params)
    return Caller(log, wire.Call(key or os.urandom(16), name, packed, deadline))


def call(log: Log, name: str, params: Any = None, **options: Any) -> Caller:
    """Ask, and let the writer take its turn."""
    caller = ask(log, name, params, **options)
    log.step()
    return caller


def lookup(log: Log, key: bytes) -> wire.CallReply:
    caller = Caller(log, wire.LookupCall(key))
    log.step()
    assert caller.reply is not None
    return caller.reply


def counters(log: Log) -> dict[str, int]:
    with_table = log.query("SELECT count(*) FROM sqlite_schema WHERE name = 'counters'")
    return dict(log.query("SELECT * FROM counters")) if with_table == [(1,)] else {}


def figures(log: Log) -> tuple[int, int, int]:
    said = log.writer.figures()
    return said["calls_run"], said["calls_rejected"], said["calls_waiting"]


# --- running ---


def test_a_call_is_answered_after_its_commit(log: Log) -> None:
    caller = call(log, "add", {"name": "a", "by": 2})
    assert caller.result == 2
    assert counters(log) == {"a": 2}
    assert call(log, "add", {"name": "a", "by": 3}).result == 5
    assert figures(log) == (2, 0, 0)


def test_a_call_is_in_no_batchs_transaction(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    log.turn()
    log.turn()
    worker.send()
    log.writer._read_messages(log.now)
    assert call(log, "sql", ["CREATE TABLE mine(a)", "INSERT INTO nothing VALUES(1)"]).reason
    log.settle()
    log.assert_all_is_in()
    assert log.query("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'") == [(0,)]


def test_events_flow_between_calls(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "RUN_PER_STEP_MAX", 2)
    worker = log.worker()
    log.turn()
    callers = [ask(log, "add", {"name": "a", "by": 1}) for _ in range(7)]
    worker.record(10)
    waits = []
    for _ in range(4):
        worker.send()
        waits.append(log.step())
        worker.hear()
        log.pass_time(0.01)
    assert waits[:3] == [0, 0, 0]  # it does not wait while calls do
    assert waits[3] > 0
    assert log.entered("w") == list(range(1, 11))
    assert [caller.result for caller in callers] == [1, 2, 3, 4, 5, 6, 7]


def test_no_further_call_is_begun_when_the_slice_of_time_is_over(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "SLICE_S", 0)
    callers = [ask(log, "add", {"name": "a", "by": 1}) for _ in range(3)]
    log.step()
    assert [caller.reply is not None for caller in callers] == [True, False, False]
    assert figures(log) == (1, 0, 2)


def test_a_queue_of_calls_has_an_end(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "WAITING_MAX", 2)
    callers = [ask(log, "add", {"name": "a", "by": 1}) for _ in range(3)]
    log.step()
    assert callers[2].reason == "the writer is busy: 2 calls wait; try again later"
    assert counters(log) == {"a": 2}


def test_the_wal_is_emptied_after_calls_too(log: Log) -> None:
    call(log, "add", {"name": "a", "by": 1})
    assert log.writer.figures()["wal_bytes"] > 0
    log.pass_time(1.1)
    log.step()
    assert log.writer.figures()["wal_bytes"] == 0


# --- what is rejected ---


def test_an_unknown_name_is_rejected_with_the_names_that_are_known(log: Log) -> None:
    caller = call(log, "nothing")
    assert caller.reason == "this writer knows no operation 'nothing'; it knows add, sql"
    assert figures(log) == (0, 1, 0)


def test_a_writer_without_operations_says_how_it_gets_some(directory: Path) -> None:
    log = Log(directory).start_writer()
    assert "start it with `hansard serve --operations package.module`" in call(log, "add").reason
    log.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("why"), "ValueError: why"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (StoreFull("not ours"), "hansard_writer.retries.StoreFull: not ours"),
        (ValueError("x" * 1_000), "ValueError: " + "x" * 488),
        (ValueError("lone \ud800"), "ValueError: lone ?"),
        (ValueError("two\nlines"), "ValueError: two lines"),
    ],
)
def test_an_exception_is_the_reason_and_leaves_nothing(
    log: Log, error: BaseException, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    log.operations["fail"] = raising(error)
    with caplog.at_level(logging.WARNING, "hansard.writer"):
        caller = call(log, "fail")
    assert caller.reason == said
    assert "operation 'fail' was rejected" in caplog.text
    assert "test_calling.py:" in caplog.text
    assert counters(log) == {}
    assert call(log, "add", {"name": "a", "by": 1}).result == 1


def test_an_exception_that_cannot_be_shown_is_a_reason_too(log: Log) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    log.operations["fail"] = raising(Mute())
    assert "Mute" in call(log, "fail").reason


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "its result cannot be carried by msgpack"),
        ({(1, 2): 3}, "its result cannot be carried by msgpack"),
        (2**64, "its result cannot be carried by msgpack"),
        ((each for each in "ab"), "its result cannot be carried by msgpack"),
        ("x" * (1 << 20), "its result has 1,048,581 bytes: at most 1,047,552 are allowed"),
    ],
    ids=["object", "key", "integer", "generator", "large"],
)
def test_a_result_that_cannot_be_carried_leaves_nothing(log: Log, value: object, said: str) -> None:
    log.operations["odd"] = returning(value)
    assert call(log, "odd").reason.startswith(said)
    assert counters(log) == {}


def test_params_that_are_no_msgpack_are_rejected(log: Log) -> None:
    assert call(log, "add", b"\xc1").reason.startswith("its params are no msgpack")


def test_a_connection_as_result_is_refused(log: Log) -> None:
    log.operations["leak"] = lambda connection, _params: connection
    assert "cannot be carried by msgpack" in call(log, "leak").reason


def test_what_a_function_prints_does_not_reach_stdout(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log.operations["say"] = lambda _connection, params: print(params)
    assert call(log, "say", "hello").result is None
    assert capsys.readouterr() == ("", "hello\n")


def test_a_call_whose_deadline_has_passed_is_not_run(log: Log) -> None:
    caller = ask(log, "add", {"name": "a", "by": 1}, timeout=1.0)
    log.pass_time(1.0)
    log.step()
    assert caller.reason == "its deadline passed before it could be run; it was not run"
    assert counters(log) == {}
    assert lookup(log, caller.key) == caller.reply


def test_sql_is_interrupted_at_the_callers_deadline(log: Log) -> None:
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r"
    caller = call(log, "sql", [endless], timeout=0.1)
    assert caller.reason == "it ran longer than 0.1 s, and its SQL was interrupted"
    assert call(log, "add", {"name": "a", "by": 1}).result == 1


def test_sql_is_interrupted_after_the_longest_time_that_is_allowed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "OPERATION_S_MAX", 0.1)
    endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r"
    caller = call(log, "sql", [endless], timeout=1_000)
    assert caller.reason == "it ran longer than 0.1 s, and its SQL was interrupted"


def test_calls_wait_for_no_other_program(log: Log) -> None:
    with write_lock_taken(log.directory):
        caller = call(log, "add", {"name": "a", "by": 1})
    assert caller.reason == (
        "another program holds the write lock of log.db: nothing of it was kept; try again later"
    )
    assert lookup(log, caller.key).status == "unknown"
    assert call(log, "add", {"name": "a", "by": 1}, key=caller.key).result == 1


def test_calls_are_rejected_while_intake_is_suspended(directory: Path) -> None:
    log = Log(directory, disk_warn=1 << 60, disk_suspend=1 << 60)
    log.operations = {"add": add}
    log.start_writer()
    caller = call(log, "add", {"name": "a", "by": 1})
    assert caller.reason.startswith("the writer takes nothing: ")
    assert counters(log) == {}
    log.close()


def test_a_writer_that_stops_rejects_what_waits(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "RUN_PER_STEP_MAX", 1)
    first, second = (ask(log, "add", {"name": "a", "by": 1}) for _ in range(2))
    log.step()
    log.writer.finish(log.now)
    assert first.result == 1
    assert second.reason == "the writer stops; it was not run"


def test_a_disk_that_fails_ends_the_writer(directory: Path, hooked_vfs: HookedVfs) -> None:
    log = Log(directory)
    log.vfs, log.operations = hooked_vfs.name, {"add": add}
    log.start_writer()
    assert call(log, "add", {"name": "a", "by": 1}).result == 1

    def no_sync(_name: str) -> None:
        raise OSError("the disk is gone")

    hooked_vfs.on_sync = no_sync
    with pytest.raises(Exception, match="disk is gone"):
        call(log, "add", {"name": "a", "by": 1})
    hooked_vfs.on_sync = None
    log.kill_writer()


# --- at most once ---


def test_a_call_that_comes_again_is_answered_and_not_run(log: Log) -> None:
    first = call(log, "add", {"name": "a", "by": 1})
    again = call(log, "add", {"name": "a", "by": 1}, key=first.key)
    assert again.reply == first.reply
    assert counters(log) == {"a": 1}


def test_a_call_that_comes_again_beside_itself_is_run_once(log: Log) -> None:
    first = ask(log, "add", {"name": "a", "by": 1})
    second = ask(log, "add", {"name": "a", "by": 1}, key=first.key)
    log.step()
    assert first.result == second.result == 1
    assert counters(log) == {"a": 1}


def test_a_call_is_not_run_again_by_another_run_of_the_writer(log: Log) -> None:
    first = call(log, "add", {"name": "a", "by": 1})
    log.restart_writer()
    assert lookup(log, first.key).status == "committed"
    assert call(log, "add", {"name": "a", "by": 1}, key=first.key).result == 1
    assert counters(log) == {"a": 1}


def test_a_call_that_failed_is_not_run_again(log: Log) -> None:
    tried = []
    log.operations["flaky"] = lambda _connection, _params: tried.append(1) or 1 / 0
    first = call(log, "flaky")
    assert first.reason == "ZeroDivisionError: division by zero"
    log.restart_writer()
    again = call(log, "flaky", key=first.key)
    assert again.reason == "ZeroDivisionError: division by zero"
    assert tried == [1]


def test_a_call_that_was_read_and_not_committed_is_unknown_to_the_next_run(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "RUN_PER_STEP_MAX", 0)
    waiting = call(log, "add", {"name": "a", "by": 1})
    assert lookup(log, waiting.key) == ("queued", None)
    log.restart_writer()
    assert lookup(log, waiting.key) == ("unknown", None)
    assert counters(log) == {}


def test_several_rejections_share_a_commit(log: Log) -> None:
    callers = [ask(log, "sql", ["COMMIT"]) for _ in range(5)]
    before = log.writer.figures()["commits"]
    log.step()
    assert log.writer.figures()["commits"] == before + 1
    assert {caller.reason for caller in callers} == {
        "operations may not COMMIT: each runs in a transaction of its own"
    }
    assert {lookup(log, caller.key) for caller in callers} == {callers[0].reply}


def test_outcomes_are_forgotten_after_an_hour_in_pieces(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "FORGOTTEN_AT_ONCE_MAX", 2)
    old = [call(log, "add", {"name": "a", "by": 1}) for _ in range(5)]
    log.pass_time(1_800)
    young = call(log, "add", {"name": "a", "by": 1})
    log.pass_time(1_801)
    kept = []
    for _ in range(4):
        log.step()
        kept.append(log.query("SELECT count(*) FROM calls")[0][0])
        log.pass_time(0.01)
    assert kept == [4, 2, 1, 1]
    assert lookup(log, old[0].key).status == "unknown"
    assert lookup(log, young.key).status == "committed"


def test_it_looks_for_old_outcomes_once_a_minute(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(Store, "has_calls_before", lambda _store, before: looked.append(before))
    for _ in range(100):
        log.pass_time(3)
        log.step()
    assert len(looked) in {5, 6}
    assert looked[0] < EPOCH_NS + log.now * 1e9 - 3_600e9


def test_what_is_kept_of_a_call_can_be_read(log: Log) -> None:
    caller = call(log, "add", {"name": "a", "by": 1})
    ((key, name, created_at, outcome),) = log.query(
        "SELECT call_id, name, created_at, outcome FROM calls"
    )
    assert (key, name, created_at) == (caller.key, "add", log.clock_ns())
    assert msgpack.unpackb(outcome) == ["committed", msgpack.packb(1)]


# --- the log goes on ---


def test_the_log_is_sound_whatever_operations_do(log: Log) -> None:
    worker = log.worker()
    for statement in (
        "COMMIT",
        "DELETE FROM entries",
        "UPDATE producers SET watermark = 0",
        "UPDATE producers SET watermark = ?, crc = ?, dropped = ? WHERE id = ?",
        "DROP TABLE runs",
        "PRAGMA journal_mode = DELETE",
        "CREATE TABLE counters(name UNIQUE ON CONFLICT ROLLBACK)",
        "INSERT INTO counters VALUES(1), (1)",
    ):
        worker.record(2)
        caller = ask(log, "sql", [statement])
        log.turn()
        assert caller.reply is not None
    log.settle()
    log.assert_all_is_in()


def test_a_store_that_is_used_between_two_calls_has_its_rights(log: Log, directory: Path) -> None:
    worker = log.worker()
    for number in range(5):
        assert call(log, "add", {"name": "a", "by": 1}).result == number + 1
        worker.record(1)
        log.settle()
    log.assert_all_is_in()


def test_nobody_hears_of_a_call_that_is_committed_where_nobody_finds_it(log: Log) -> None:
    """The database was renamed or removed under its writer."""

    def require_place() -> None:
        raise DirectoryReplaced

    log.writer._require_place = require_place
    caller = ask(log, "add", {"name": "a"})
    with pytest.raises(DirectoryReplaced):
        log.step()
    assert caller.reply is None
    assert not log.link.replies
