"""How long the sender lets events gather behind a push, and what ends it."""

import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard import AuditLog
from hansard.sender import LINGER_S, TRICKLE_EVENTS_MAX, TRICKLE_LINGER_S, Sender

NOW = time.monotonic()


class Answered:
    """A connection on which there is always an answer to be read."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, timeout: float, *, blocked: bool) -> bool:
        assert not blocked
        self.waits.append(timeout)
        return False


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    """One whose thread does not run, with a pipe to be woken by."""
    log = AuditLog(tmp_path / "log")
    sender = log._sender
    sender._wake_read, sender._wake_write = os.pipe()
    yield sender
    os.close(sender._wake_read)
    os.close(sender._wake_write)
    sender._wake_read = sender._wake_write = -1
    log.close()


def lingered(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[float]]:
    """The waits in which an answer is heard, and those in which only a caller is."""
    connection, deaf = Answered(), []

    def selected(read: list[int], _write: Any, _error: Any, timeout: float) -> Any:
        deaf.append(timeout)
        assert sender._lingers, "or a ticket could come in between unseen"
        return select_now(read, [], [], 0)

    select_now = select.select
    monkeypatch.setattr("hansard.sender.select.select", selected)
    sender._linger(connection, NOW)  # type: ignore[arg-type]
    monkeypatch.undo()
    assert not sender._lingers
    return connection.waits, deaf


def test_where_little_comes_not_even_an_answer_wakes_it(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender._pushed_events = TRICKLE_EVENTS_MAX - 1
    assert lingered(sender, monkeypatch) == ([], [TRICKLE_LINGER_S])


def test_where_much_comes_the_next_frame_follows_sooner(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender._pushed_events = TRICKLE_EVENTS_MAX
    assert lingered(sender, monkeypatch) == ([LINGER_S], [])


def test_for_who_waits_it_hears_answers(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    sender._pushed_events = 1
    monkeypatch.setattr(type(sender._producer), "hurried", property(lambda _: True))
    connection = Answered()
    sender._linger(connection, NOW)  # type: ignore[arg-type]
    assert connection.waits == [LINGER_S]


def test_a_caller_ends_it(sender: Sender) -> None:
    sender._pushed_events = 1
    sender._write_to_pipe()
    sender._linger(Answered(), NOW)  # type: ignore[arg-type]
    assert select.select([sender._wake_read], [], [], 0)[0] == [], "it was heard"
