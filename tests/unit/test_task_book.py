"""Which tasks are registered: asked of the log once, and known from the registration on."""

from typing import Any

import msgpack
import pytest

from frames import PRODUCER, event, fields
from hansard import wire
from hansard_writer import tasks as tasks_module
from hansard_writer.decoding import Decoder, Fault, Run
from hansard_writer.tasks import TaskBook


class Registered:
    """The log's tasks, and what was asked of it."""

    def __init__(self, *tasks: str) -> None:
        self.tasks = set(tasks)
        self.asked: list[str] = []

    def __call__(self, task_id: str) -> bool:
        self.asked.append(task_id)
        return task_id in self.tasks


def registration(task_id: str) -> bytes:
    facts: dict[str, Any] = {"kind": wire.KIND_TASK, "event_type": wire.TASK_REGISTERED}
    packed: bytes = msgpack.packb(fields(None, task_id=task_id, **facts))
    return packed


def run_of(*events: bytes) -> Run:
    whole = wire.Frame(PRODUCER, 1, len(events), 0, wire.Drops(), b"".join(events))
    (run,), refused = Decoder().decode(whole)
    assert refused == []
    return run


def test_events_of_registered_tasks_and_of_none_are_good() -> None:
    log = Registered("T1")
    run = run_of(event(), event(task_id=None), event(task_id="T1"))
    assert TaskBook(log).faults(run) == {}
    assert log.asked == ["T1"]


def test_an_event_of_an_unregistered_task_is_an_orphan() -> None:
    run = run_of(event(), event(task_id="T2"), event(task_id=None), event(task_id="T3"))
    assert TaskBook(Registered("T1")).faults(run) == {
        1: Fault("task 'T2' is not registered", wire.ORPHAN, "T2"),
        3: Fault("task 'T3' is not registered", wire.ORPHAN, "T3"),
    }


def test_the_log_is_asked_once_for_a_task_that_it_knows() -> None:
    log = Registered("T1")
    book = TaskBook(log)
    for _ in range(3):
        assert book.faults(run_of(event())) == {}
    assert log.asked == ["T1"]


def test_a_task_that_it_did_not_know_is_asked_for_again() -> None:
    log = Registered()
    book = TaskBook(log)
    assert list(book.faults(run_of(event()))) == [0]
    log.tasks.add("T1")
    assert book.faults(run_of(event())) == {}


def test_a_task_is_known_from_its_registration_on_and_not_before() -> None:
    book = TaskBook(Registered())
    run = run_of(event(), registration("T1"), event(), registration("T2"), event(task_id="T2"))
    assert list(book.faults(run)) == [0]
    assert book.faults(run_of(event(), event(task_id="T2"))) == {}, "though it is not committed"


def test_a_registration_itself_is_never_an_orphan() -> None:
    assert TaskBook(Registered()).faults(run_of(registration("T1"), registration("T1"))) == {}


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "TASKS_KNOWN_MAX", 10)
    log = Registered(*(f"T{number}" for number in range(100)))
    book = TaskBook(log)
    for number in range(100):
        assert book.faults(run_of(event(task_id=f"T{number}"), event(task_id=None))) == {}
        assert book.faults(run_of(registration(f"new {number}"))) == {}
        book.committed()
        assert len(book._known) <= 11


def test_what_is_registered_is_known_until_it_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though so many others are looked up meanwhile that it could have been forgotten."""
    monkeypatch.setattr(tasks_module, "TASKS_KNOWN_MAX", 10)
    book = TaskBook(Registered(*(f"T{number}" for number in range(100))))
    book.faults(run_of(registration("new")))
    for number in range(100):
        book.faults(run_of(event(task_id=f"T{number}")))
    assert book.faults(run_of(event(task_id="new"))) == {}
