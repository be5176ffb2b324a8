"""What the public face refuses, and in which words. Nothing here needs a writer."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from hansard import (
    AuditLog,
    ConfigError,
    InvalidEvent,
    WriterUnavailable,
    audit_log,
    awaiting,
    refusals,
)
from hansard.producer import TELL
from support import held_lock, wait_until


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ({"event_type": "a.b"}, "events is a dict: it must be a list of mappings, even of one"),
        (5, "events is an int: it must be a list of mappings"),
        ("a.b", "events is a str: it must be a list of mappings"),
        (None, "events is None: it must be a list of mappings"),
        ([5], r"event 0 is an int: it must be a mapping of record\(\)'s arguments"),
        ([{"event_type": "a.b"}, "a.b"], "event 1 is a str: it must be a mapping"),
        ([{"payload": {}}], "event 0 has no event_type"),
        ([{"event_type": "a.b", "payload": 5}], "event 0: payload is an int"),
    ],
)
def test_record_many_says_what_it_takes(directory: Path, events: Any, complaint: str) -> None:
    with AuditLog(directory) as log:
        with pytest.raises(InvalidEvent, match=complaint):
            log.record_many(events)
        assert log.statistics()["submitted"] == 0


def test_allowed_types_that_no_event_can_have_are_refused_at_once(directory: Path) -> None:
    directory.mkdir()
    (directory / "hansard.toml").write_text('event_types = ["a b"]\n')
    with pytest.raises(ConfigError, match=r"event_types in .*hansard\.toml: .*'a b'"):
        AuditLog(directory)


@pytest.mark.parametrize("event_type", ["", "1st", "a b", "ä", "task.unheard.of", None, 7])
def test_an_event_type_that_is_not_allowed_is_a_value_error_at_once_and_nothing_is_recorded(
    directory: Path, event_type: Any
) -> None:
    with AuditLog(directory, event_types=("task.done",)) as log:
        for record in (log.record, lambda each: log.record_many([{"event_type": each}])):
            with pytest.raises(ValueError, match=r"event_type|not among the allowed"):
                record(event_type)
        assert log.statistics()["submitted"] == 0
        assert log.record("task.done").status == "queued"


def test_what_is_left_at_the_end_is_said_in_the_singular_too(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(directory)
    log.record("a.b")
    assert log.close() == 1
    assert "closed with 1 event undelivered: kept in the spool" in caplog.text


def test_a_writer_that_runs_but_was_never_met_is_not_called_missing(directory: Path) -> None:
    with AuditLog(directory, best_effort=False, close_timeout=0) as log, held_lock(directory):
        with pytest.raises(WriterUnavailable, match=r"\(pid 7\) runs, but did not answer in time"):
            log.record("a.b", sync=True, timeout=0.01)
        with pytest.raises(WriterUnavailable, match=r"\(pid 7\) runs, but did not answer in time"):
            log.flush(0.01)


@pytest.mark.parametrize("way", ["record", "arecord", "refusal"])
def test_waiting_for_room_and_for_the_ack_take_ack_timeout_together(
    directory: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Room comes after 4 of 5 seconds: one is left for the writer."""
    now, waited = [100.0], []
    for module in (audit_log, awaiting, refusals):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])

    async def is_settled(*arguments: Any) -> bool:
        waited.append(arguments[-1])
        return False

    log = AuditLog(directory, sync=True)
    append = log._producer.append_awaited

    def append_late(*arguments: Any) -> Any:
        now[0] += 0 if TELL in arguments else 4
        return append(*arguments)

    monkeypatch.setattr(log._producer, "append_awaited", append_late)
    monkeypatch.setattr(log._settling, "_wait", lambda _ticket, wait_s: waited.append(wait_s))
    monkeypatch.setattr(awaiting, "_is_settled", is_settled)
    if way == "record":
        log.record("a.b")
    elif way == "arecord":
        asyncio.run(log.arecord("a.b"))
    else:
        log.refusal("agent:7", {"kind": "x"}, {"decision": "refuse"})
    assert waited == [1.0]
    log.close(0)


def test_a_run_whose_wait_raises_leaves_nobody_waiting(directory: Path) -> None:
    with AuditLog(directory, best_effort=False) as log:
        for _ in range(3):
            with pytest.raises(WriterUnavailable):
                log.record_many([{"event_type": "a.b"}] * 10, sync=True, timeout=0.01)
        assert len(log._producer._tickets) == 0
        assert log.statistics()["waiting"] == 30


def test_an_interruption_while_the_sender_starts_does_not_make_it_two(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would share one conversation, and each undo what the other has done."""
    before = set(threading.enumerate())
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        monkeypatch.undo()
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with AuditLog(directory) as log:
        with pytest.raises(KeyboardInterrupt):
            log.record("a.b")
        log.record("a.b")
        assert log.statistics()["submitted"] == 2
        wait_until(lambda: len(set(threading.enumerate()) - before) == 1, "one sender is left")
    assert set(threading.enumerate()) <= before
