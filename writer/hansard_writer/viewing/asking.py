"""Asking the child processes that read the log; from the view's process, on its event loop.

It knows neither SQL nor the log. A child that does not answer in time is killed: that ends its
read transaction, however long the statement would have taken.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from hansard.errors import AuditLogError, ConfigError
from hansard_writer.viewing.pausing import Pauses

CHILDREN: Final = 2  # a page that takes long does not hold up the others
ANSWER_S_MAX: Final = 15.0
ANSWER_BYTES_MAX: Final = 64 << 20
STOP_S: Final = 2.0


class Wrong(ValueError):
    """The address asks for what breaks a rule; the message names it."""


class Unanswered(AuditLogError):
    """The log could not be read. The message says why, and what to do."""


class Readers:
    """Some children for the log in ``directory``, started when they are needed, each again when it
    has ended. One event loop's."""

    def __init__(self, directory: Path, pauses: Pauses) -> None:
        self._directory = directory
        self._pauses = pauses
        self._free: asyncio.LifoQueue[_Child] = asyncio.LifoQueue()
        self._children = [_Child(directory) for _ in range(CHILDREN)]
        for each in self._children:
            self._free.put_nowait(each)

    async def ask(self, question: str, **arguments: Any) -> Any:
        """The answer. Raises `Wrong`, `Unanswered`, and `ConfigError` where there is no log."""
        child = await self._free.get()
        try:
            async with self._pauses.reading():
                answered = await child.ask(question, arguments)
        finally:
            self._free.put_nowait(child)
        if "wrong" in answered:
            raise Wrong(answered["wrong"])
        if "unusable" in answered:
            raise ConfigError(answered["unusable"])
        if "failed" in answered:
            raise Unanswered(answered["failed"])
        return answered["answer"]

    async def close(self) -> None:
        """End them all."""
        await asyncio.gather(*(each.close() for each in self._children))


class _Child:
    """One child process, and one question at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, question: str, arguments: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps([question, arguments]).encode("ascii") + b"\n"
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await self._ask(line)
        except TimeoutError:
            await self._kill()
            raise Unanswered(
                f"this takes longer than {ANSWER_S_MAX:g} s, and was given up: ask for less of the "
                "log, or use `hansard query`"
            ) from None
        except asyncio.CancelledError:
            await self._kill()  # or its answer would be the next question's
            raise
        except (OSError, ValueError) as error:
            await self._kill()
            raise Unanswered("the process that reads the log has ended: try again") from error

    async def _ask(self, line: bytes) -> dict[str, Any]:
        if self._process is None or self._process.returncode is not None:
            self._process = await self._started()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(line)
        await stdin.drain()
        answered: dict[str, Any] = json.loads(await stdout.readline())
        return answered

    async def _started(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "hansard_writer.viewing.answering",
            str(self._directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=ANSWER_BYTES_MAX,
        )

    async def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._process = None

    async def close(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            await self._kill()
