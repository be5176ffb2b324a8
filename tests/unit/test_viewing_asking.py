"""Asking the processes that read a log: each answers, is started again, and is given up in time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

import hansard
from hansard_writer.viewing import asking
from hansard_writer.viewing.asking import Readers, Unanswered, Wrong
from hansard_writer.viewing.pausing import Pauses

Answer = TypeVar("Answer")


def with_readers(directory: Path, use: Callable[[Readers], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        readers = Readers(directory, Pauses())
        try:
            return await use(readers)
        finally:
            await readers.close()

    return asyncio.run(run())


@pytest.fixture
def log(directory: Path, writer: object) -> Path:
    with hansard.AuditLog(directory) as log:
        log.record("a.b", {"n": 1}, sync=True)
    return directory


def test_one_that_has_ended_or_takes_long_is_replaced(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(readers: Readers) -> None:
        assert (await readers.ask("header"))["last_id"] == 1
        process = readers._children[-1]._process
        assert process is not None
        process.kill()
        await process.wait()
        assert (await readers.ask("header"))["last_id"] == 1
        with monkeypatch.context() as hurried:
            hurried.setattr(asking, "ANSWER_S_MAX", 0.0)
            with pytest.raises(Unanswered, match="takes longer than 0 s"):
                await readers.ask("header")
        assert (await readers.ask("entry", seq=1))["entry"]["payload"] == '{"n":1}'
        with pytest.raises(Wrong, match="level is 'loud'"):
            await readers.ask("entries", conditions={"level": "loud"}, size=5)

    with_readers(log, use)


def test_a_directory_without_a_log_is_said(directory: Path) -> None:
    directory.mkdir()
    with pytest.raises(hansard.ConfigError, match="there is no log in"):
        with_readers(directory, lambda readers: readers.ask("header"))
