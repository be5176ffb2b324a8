"""Task audits, as a service over a single-writer thread used to keep them: real processes."""

import json
import logging
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import hansard_writer
from acceptance.conftest import MortalWriter
from hansard import AuditLog, InvalidEvent
from support import query, wait_until

HANSARD = (sys.executable, "-m", "hansard_writer")
AUDIT = {
    "repo_id": "acme/api",
    "operation": "write_file",
    "status": "success",
    "files_changed": ["a.py"],
}


@pytest.fixture
def writer(directory: Path) -> Iterator[hansard_writer.RunningWriter]:
    """A real writer that enters events of registered tasks only."""
    with hansard_writer.running(directory, enforce_tasks=True) as running:
        yield running


@pytest.fixture
def log(writer: hansard_writer.RunningWriter) -> Iterator[AuditLog]:
    with AuditLog(writer.directory) as log:
        yield log


def dlq(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*HANSARD, "dlq", *arguments, "--dir", str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- their three tests ---


def test_an_unknown_task_degrades_and_raises_nothing(log: AuditLog) -> None:
    entry = log.record("task.done", AUDIT, task_id="T9", sync=True)
    assert (entry.id, entry.status) == (None, "orphaned")


def test_a_known_tasks_audit_gets_its_id_and_can_be_queried(log: AuditLog) -> None:
    log.register_task("T1", title="Refactor")
    entry = log.record("task.done", AUDIT, task_id="T1", sync=True)
    assert entry.status == "committed"
    rows = query(
        log.directory, "SELECT payload ->> 'repo_id' FROM events WHERE id = ?", (entry.id,)
    )
    assert rows == [("acme/api",)]


def test_the_view_of_task_audits_shows_what_was_recorded(log: AuditLog) -> None:
    log.register_task("T1")
    entry = log.record("task.done", AUDIT, task_id="T1", level="warning", sync=True)
    log.record("step.done", AUDIT, sync=True)  # of no task
    columns = "audit_id, task_id, repo_id, level, event_type, created_at"
    rows = query(log.directory, f"SELECT {columns} FROM task_audits WHERE repo_id IS NOT NULL")
    at = datetime.fromtimestamp(entry.created_at // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert rows == [
        (entry.id, "T1", "acme/api", "warning", "task.done",
         f"{at}.{entry.created_at % 10**9 // 1_000:06d}Z"),
    ]  # fmt: skip
    payload = query(log.directory, "SELECT payload FROM task_audits WHERE audit_id = 2")
    assert json.loads(payload[0][0]) == AUDIT


def test_a_failing_audit_leaves_the_business_operation_untouched(directory: Path) -> None:
    """No writer, then none that answers: the business call returns what it computed."""
    with AuditLog(directory, ack_timeout=0.05) as log:

        def business() -> int:
            entry = log.record("task.done", AUDIT, task_id="T1", sync=True)
            assert entry.status == "unknown"
            return 42

        assert business() == 42


def test_a_wait_without_an_answer_ends_in_time_with_a_warning_and_no_exception(
    directory: Path, mortal_writer: MortalWriter, caplog: pytest.LogCaptureFixture
) -> None:
    mortal_writer.start()
    with AuditLog(directory, ack_timeout=0.5, close_timeout=20) as log:
        assert log.record("task.done", AUDIT, task_id="T1", sync=True).id == 1
        mortal_writer.freeze()
        begin = time.monotonic()
        entry = log.record("task.done", AUDIT, task_id="T1", sync=True)
        assert 0.5 <= time.monotonic() - begin < 5
        assert (entry.id, entry.status) == (-1, "unknown")
        (complaint,) = [each for each in caplog.records if "no ack in time" in each.getMessage()]
        assert complaint.levelno == logging.WARNING
        mortal_writer.thaw()
        assert log.flush(20)
        assert log.lookup(entry.key).id == 2  # type: ignore[arg-type]


# --- orphans ---


def test_one_warning_names_the_task_and_the_event_type(
    log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hansard"):
        log.record("task.done", AUDIT, task_id="T9", sync=True)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'T9'" in record.getMessage()
    assert "'task.done'" in record.getMessage()
    assert "register_task" in record.getMessage()


def test_orphans_are_counted_and_warned_of_in_async_mode_too(
    log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hansard"):
        for _ in range(20):
            log.record("task.done", AUDIT, task_id="T9")
        assert log.flush()
    figures = log.statistics()
    assert (figures["orphaned"], figures["dead_lettered"], figures["appended"]) == (20, 20, 0)
    (message,) = caplog.messages
    assert "'T9'" in message
    assert "task.done" in message


def test_an_orphan_keeps_the_id_of_its_task_and_all_its_bytes(log: AuditLog) -> None:
    log.record("task.done", AUDIT, task_id="T9", sync=True)
    assert query(log.directory, "SELECT task_id FROM dead_letters") == [("T9",)]
    (letter,) = json.loads(dlq(log.directory, "list", "--format", "json").stdout)
    assert (letter["reason"], letter["detail"]) == ("orphan", "task 'T9' is not registered")
    shown = json.loads(dlq(log.directory, "show", "1", "--format", "json").stdout)
    assert b'"repo_id":"acme/api"' in bytes.fromhex(shown["frame"])


def test_registering_the_task_later_enters_its_orphans_with_their_own_times(
    log: AuditLog,
) -> None:
    entries = [log.record("task.step", {"n": n}, task_id="T1", sync=True) for n in range(3)]
    assert log.lookup(entries[0].key).status == "orphaned"
    log.register_task("T1")
    assert log.flush()
    rows = query(
        log.directory,
        "SELECT payload ->> 'n', created_at_ns FROM events WHERE event_type = 'task.step'"
        " ORDER BY id",
    )
    assert rows == [(n, entry.created_at) for n, entry in enumerate(entries)]
    settled = log.lookup(entries[0].key)
    assert (settled.status, settled.id) == ("committed", 2)
    figures = log.statistics()
    assert (figures["orphaned"], figures["dead_lettered"], figures["appended"]) == (0, 0, 4)


def test_another_process_may_register_the_task(log: AuditLog) -> None:
    entry = log.record("task.step", task_id="T1", sync=True)
    child = multiprocessing.get_context("spawn").Process(target=register, args=(log.directory,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert log.lookup(entry.key).status == "committed"


def register(directory: Path) -> None:
    with AuditLog(directory) as log:
        log.register_task("T1")
        assert log.flush()


def test_dlq_replay_enters_orphans_that_nothing_keeps_out_any_more(directory: Path) -> None:
    with hansard_writer.running(directory, enforce_tasks=True), AuditLog(directory) as log:
        log.record("task.step", {"n": 1}, task_id="T1", sync=True)
        refused = dlq(directory, "replay")
        assert (refused.returncode, refused.stdout) == (
            1,
            "0 events entered, 1 event refused again\n",
        )
        log.register_task("T2")
        log.record("task.step", {"n": 2}, task_id="T3", sync=True)
    with hansard_writer.running(directory):  # which enforces nothing: its sweep does it all
        wait_until(
            lambda: (
                query(directory, "SELECT count(*) FROM events WHERE event_type = 'task.step'")
                == [(2,)]
            ),
            "both orphans are entered at the start",
        )
        nothing = dlq(directory, "replay")
        assert nothing.returncode == 1
        assert nothing.stderr == "There was no dead letter to replay.\n"
        listed, everything = dlq(directory, "list"), dlq(directory, "list", "--all")
        assert (listed.returncode, listed.stdout) == (1, "")
        letters = [json.loads(line) for line in everything.stdout.splitlines()]
        assert [(each["task_id"], each["replayed_as"]) for each in letters] == [
            ("T3", 3),
            ("T1", 2),
        ]
        assert [each["attempts"] for each in letters] == [0, 1]


def test_dlq_replay_without_a_writer_says_how_to_start_one(directory: Path) -> None:
    with hansard_writer.running(directory):
        pass
    result = dlq(directory, "replay")
    assert result.returncode == 3
    assert "hansard serve" in result.stderr


def test_a_dry_run_of_dlq_replay_changes_nothing(log: AuditLog) -> None:
    log.record("task.step", task_id="T1", sync=True)
    result = dlq(log.directory, "replay", "--dry-run", "--reason", "orphan")
    assert result.stdout == "0 events would be entered, 1 event would be refused again\n"
    assert query(log.directory, "SELECT attempts FROM dead_letters") == [(0,)]


def test_tasks_are_not_enforced_unless_it_is_asked_for(directory: Path) -> None:
    with hansard_writer.running(directory), AuditLog(directory) as log:
        assert log.record("task.done", task_id="T9", sync=True).status == "committed"


def test_enforcement_can_be_switched_on_by_variable(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANSARD_ENFORCE_TASKS", "true")
    with hansard_writer.running(directory), AuditLog(directory) as log:
        assert log.record("task.done", task_id="T9", sync=True).status == "orphaned"


def test_one_bad_event_in_a_batch_costs_none_of_the_others(log: AuditLog) -> None:
    import orjson

    log.register_task("T1")
    for n in range(50):
        task = "T9" if n == 20 else "T1"
        payload = orjson.Fragment(b"{broken") if n == 30 else {"n": n}
        log.record("task.step", payload, task_id=task)
    assert log.flush()
    rows = query(log.directory, "SELECT payload ->> 'n' FROM entries WHERE seq > 1 ORDER BY seq")
    assert [row[0] for row in rows] == [n for n in range(50) if n not in (20, 30)]
    reasons = query(log.directory, "SELECT reason FROM dead_letters ORDER BY producer_seq")
    assert reasons == [("orphan",), ("invalid",)]


def test_a_registration_can_be_waited_for_and_that_is_no_attribute(log: AuditLog) -> None:
    entry = log.register_task("T1", sync=True, timeout=30, title="Refactor")
    assert entry.status == "committed"
    assert query(log.directory, "SELECT payload FROM entries") == [('{"title":"Refactor"}',)]
    with AuditLog(log.directory, sync=True) as waiting:
        assert waiting.register_task("T1", sync=False).status == "queued"


@pytest.mark.parametrize("task_id", [None, 7, "", "a\0b", "x" * 1_025])
def test_a_task_id_that_breaks_a_rule_is_refused_by_name(directory: Path, task_id: object) -> None:
    with AuditLog(directory) as log, pytest.raises(InvalidEvent, match="task_id"):
        log.register_task(task_id)  # type: ignore[arg-type]


def test_attributes_that_json_cannot_hold_are_refused_by_name(directory: Path) -> None:
    with AuditLog(directory) as log, pytest.raises(InvalidEvent, match="attributes"):
        log.register_task("T1", thing=object())


# --- many at once ---


def test_threads_and_processes_never_meet_a_locked_database_or_a_wrong_thread(
    log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.register_task("T1")
    log.flush()

    def audit() -> None:
        for _ in range(50):
            assert log.record("task.step", AUDIT, task_id="T1", sync=True).status == "committed"

    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=audit_from_a_child, args=(log.directory,)) for _ in range(3)]
    threads = [threading.Thread(target=audit) for _ in range(4)]
    for each in (*children, *threads):
        each.start()
    for each in (*children, *threads):
        each.join(60)
    assert [child.exitcode for child in children] == [0] * 3
    assert query(log.directory, "SELECT count(*) FROM entries") == [(1 + 7 * 50,)]
    assert caplog.messages == []


def audit_from_a_child(directory: Path) -> None:
    with AuditLog(directory) as log:
        for _ in range(50):
            assert log.record("task.step", AUDIT, task_id="T1", sync=True).status == "committed"


# --- record_many ---


def test_record_many_is_one_run_with_consecutive_ids(log: AuditLog) -> None:
    events = [{"event_type": "step.done", "payload": {"n": n}} for n in range(1_000)]
    entries = log.record_many(events, sync=True)
    assert [entry.id for entry in entries] == list(range(1, 1_001))
    assert query(log.directory, "SELECT count, first_seq FROM runs") == [(1_000, 1)]


def test_record_many_enters_all_or_none(log: AuditLog) -> None:
    import orjson

    events = [{"event_type": "step.done", "payload": {"n": n}} for n in range(5)]
    events[3]["payload"] = orjson.Fragment(b"[1]")
    with pytest.raises(InvalidEvent, match="event 3"):
        log.record_many(events)
    events[3]["payload"] = orjson.Fragment(b'{"a": }')  # only the writer reads it
    entries = log.record_many(events, sync=True)
    assert [(entry.id, entry.status) for entry in entries] == [(None, "rejected")] * 5
    assert query(log.directory, "SELECT count(*) FROM entries") == [(0,)]


def test_record_many_has_limits_that_it_names(directory: Path) -> None:
    with AuditLog(directory, queue_maxsize=10) as log:
        with pytest.raises(InvalidEvent, match="1,000 events"):
            log.record_many({"event_type": "a"} for _ in range(1_001))
        with pytest.raises(InvalidEvent, match=r"1,048,576 a call"):
            log.record_many({"event_type": "a", "payload": {"x": "y" * 600_000}} for _ in range(2))
        with pytest.raises(InvalidEvent, match="queue_maxsize of 10"):
            log.record_many({"event_type": "a"} for _ in range(11))
        assert log.record_many([]) == []
        assert log.statistics()["submitted"] == 0


# --- the accounts ---


def test_the_accounts_add_up_in_every_snapshot_under_load(log: AuditLog) -> None:
    """Read from another thread while events, orphans, bad ones and registrations pass."""
    import orjson

    counted = [0]
    done = threading.Event()
    snapshots: list[tuple[int, dict[str, object], int]] = []

    def watch() -> None:
        while not done.is_set():
            before = counted[0]
            figures = log.statistics()
            snapshots.append((before, figures, counted[0] + 1))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for n in range(20_000):
        counted[0] += 1  # beforehand: it may be seen as soon as it is recorded
        if n % 1_000 == 999:
            log.register_task(f"T{n // 2_000}")
        elif n % 7 == 0:
            log.record("task.step", orjson.Fragment(b"{"))
        else:
            log.record("task.step", {"n": n}, task_id=f"T{n // 1_000}" if n % 5 == 0 else None)
    assert log.drain()
    done.set()
    watcher.join()
    assert len(snapshots) > 50
    for before, figures, after in snapshots:
        dropped = sum(figures["dropped"].values())  # type: ignore[attr-defined]
        kept = figures["appended"] + figures["dead_lettered"] + figures["waiting"]  # type: ignore[operator]
        assert figures["submitted"] == kept + dropped
        assert before - 1 <= figures["submitted"] <= after  # type: ignore[operator]
        assert 0 <= figures["orphaned"] <= figures["dead_lettered"]  # type: ignore[operator]
    last = log.statistics()
    truth = query(
        log.directory,
        "SELECT (SELECT count(*) FROM entries WHERE producer > 0), (SELECT sum(count) FROM"
        " dead_letters WHERE replayed_as IS NULL), (SELECT sum(count) FROM dead_letters"
        " WHERE replayed_as IS NULL AND reason = 'orphan')",
    )
    assert [(last["appended"], last["dead_lettered"], last["orphaned"])] == truth


def test_the_command_says_that_an_event_waits_for_its_task(log: AuditLog) -> None:
    record = [*HANSARD, "record", "step", "{}", "--task-id", "Q", "--dir", str(log.directory)]
    result = subprocess.run(record, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "The event waits as an orphan: task 'Q' is not registered; it is entered when it is "
        "(see hansard dlq list).\n"
    )


def test_dlq_names_the_reasons_that_there_are(log: AuditLog) -> None:
    import orjson

    for _ in range(2):
        log.record("task.step", task_id="T1", sync=True)
    log.record("task.step", orjson.Fragment(b"{broken"), sync=True)
    result = dlq(log.directory, "list", "--reason", "nonsense")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "There are none with the reason 'nonsense'; there are: orphan (2), invalid (1).\n"
    )


def test_dlq_replay_says_why_there_is_nothing_to_replay(log: AuditLog) -> None:
    log.record("task.step", task_id="T1", sync=True)
    log.record("task.step", task_id="T2", sync=True)
    log.register_task("T1")
    assert log.flush()
    result = dlq(log.directory, "replay", "1", "99")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "Dead letter 1 was entered already, as entry 2.\nThere is no dead letter 99.\n"
    )
    result = dlq(log.directory, "replay", "1", "2")
    assert result.stdout == "0 events entered, 1 event refused again\n"
    assert "Dead letter 1 was entered already" in result.stderr


# --- dlq drop ---


def test_dlq_drop_gives_orphans_up_and_the_log_says_so(log: AuditLog) -> None:
    entry = log.record("task.step", task_id="T1", sync=True)
    log.record("task.step", task_id="T2", sync=True)
    result = dlq(log.directory, "drop", "1")
    assert (result.returncode, result.stdout) == (0, "1 dead letter dropped, 1 event given up\n")
    assert log.lookup(entry.key).status == "rejected"
    log.register_task("T1")
    log.register_task("T2")
    assert log.flush()
    figures = log.statistics()
    assert (figures["appended"], figures["dead_lettered"], figures["orphaned"]) == (3, 1, 0)
    ((said,),) = query(
        log.directory, "SELECT payload FROM entries WHERE event_type = 'hansard.dropped'"
    )
    assert json.loads(said)["producers"] == {entry.key[0].hex(): [[1, 1]]}


def test_dlq_drop_of_everything_has_to_be_asked_for(log: AuditLog) -> None:
    log.record("task.step", task_id="T1", sync=True)
    for arguments in ((), ("--all", "1"), ("--all", "--reason", "orphan"), ("--all", "--entered")):
        result = dlq(log.directory, "drop", *arguments)
        assert result.returncode == 2
        assert "--all" in result.stderr
    dry = dlq(log.directory, "drop", "--all", "--dry-run")
    assert dry.stdout == "1 dead letter would be dropped, 1 event given up\n"
    assert dlq(log.directory, "list").returncode == 0
    assert dlq(log.directory, "drop", "--all").returncode == 0
    again = dlq(log.directory, "drop", "--all")
    assert (again.returncode, again.stderr) == (1, "There was no dead letter to drop.\n")


def test_dlq_drop_says_why_there_is_nothing_to_drop(log: AuditLog) -> None:
    log.record("task.step", task_id="T1", sync=True)
    log.register_task("T1")
    assert log.flush()
    result = dlq(log.directory, "drop", "1", "99")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "Dead letter 1 was entered already, as entry 2.\nThere is no dead letter 99.\n"
    )
    result = dlq(log.directory, "drop", "--entered")
    assert (result.returncode, result.stdout) == (0, "1 dead letter dropped, 0 events given up\n")
    assert dlq(log.directory, "list", "--all").returncode == 1


def test_dlq_takes_more_letters_than_one_request_carries(log: AuditLog) -> None:
    for _ in range(1_100):
        log.record("task.step", task_id="T1")
    assert log.flush()
    ids = [str(number) for number in range(1, 1_100)]
    replayed = dlq(log.directory, "replay", *ids)
    assert replayed.stdout == "0 events entered, 1,099 events refused again\n"
    dropped = dlq(log.directory, "drop", *ids)
    assert dropped.stdout == "1,099 dead letters dropped, 1,099 events given up\n"
    assert query(log.directory, "SELECT id FROM dead_letters") == [(1_100,)]


def test_dlq_drop_without_a_writer_says_how_to_start_one(directory: Path) -> None:
    with hansard_writer.running(directory):
        pass
    result = dlq(directory, "drop", "--all")
    assert result.returncode == 3
    assert "hansard serve" in result.stderr


def test_dlq_tells_a_person_what_a_dead_letter_is(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    entry = log.record("task.step", {"n": 1}, task_id="T1", actor="me", sync=True)
    table = dlq(log.directory, "list", "--format", "table").stdout
    assert table.split("\n")[0].split() == [
        "id", "received_at", "reason", "event_type", "task_id", "count", "detail",
    ]  # fmt: skip
    assert "task.step" in table
    (listed,) = json.loads(dlq(log.directory, "list", "--format", "json").stdout)
    assert (listed["event_type"], listed["producer_seq"]) == ("task.step", 1)
    shown = json.loads(dlq(log.directory, "show", "1", "--format", "json").stdout)
    assert (shown["event_type"], shown["level"], shown["actor"], shown["task_id"]) == (
        "task.step", "info", "me", "T1",
    )  # fmt: skip
    assert shown["payload"] == {"n": 1}
    assert shown["created_at"].startswith(time.strftime("%Y-", time.gmtime(entry.created_at / 1e9)))
