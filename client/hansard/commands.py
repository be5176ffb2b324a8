"""Running a command for its output and exit status: in this thread, or on an event loop.

Loaded at the first use, because it loads subprocess. It judges nothing: what a status means is
the operation's business.
"""

import asyncio
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import PathLike
from typing import Any, Final

REST_S: Final = 1.0  # for the pipes of a killed command to end: a child of its own may hold them
_STDERR: Final = 2

Argv = Sequence[str | PathLike[str]]
Place = str | PathLike[str] | None


class Captured:
    """What a command has written so far, and how it ended; None while it has not."""

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.exit_code: int | None = None


def run(
    argv: Argv,
    captured: Captured,
    *,
    input: bytes | None,  # noqa: A002 - subprocess's name for it
    timeout: float | None,
    cwd: Place,
    env: Mapping[str, str] | None,
) -> None:
    """Run ``argv`` to its end. Whatever comes up meanwhile kills it and goes on up, and
    ``captured`` has what there was until then."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=env,
    ) as process:
        output = (b"", b"")
        try:
            output = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            output = _rest_of(process)
            raise
        finally:
            captured.stdout += output[0]
            captured.stderr += output[1]
            captured.exit_code = process.returncode


def _rest_of(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    """All that a killed command had written."""
    try:
        return process.communicate(timeout=REST_S)
    except subprocess.TimeoutExpired as error:
        process.wait()
        return error.output or b"", error.stderr or b""
    except Exception:  # noqa: BLE001 - interrupted before it began to read; the cause goes up
        process.wait()
        return b"", b""


async def arun(
    argv: Argv,
    captured: Captured,
    *,
    input: bytes | None,  # noqa: A002
    timeout: float | None,  # noqa: ASYNC109 - as run() has it
    cwd: Place,
    env: Mapping[str, str] | None,
) -> None:
    """The same on the running event loop, which it never blocks. A cancellation kills too."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.subprocess_exec(
        lambda: _Listener(captured, ended),
        *argv,
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=env,
    )
    try:
        if input is not None:
            stdin: Any = transport.get_pipe_transport(0)
            stdin.write(input)
            stdin.close()  # once all is written
        await asyncio.wait([ended], timeout=timeout)
        if not ended.done():
            raise subprocess.TimeoutExpired([*argv], timeout or 0)
    finally:
        try:
            if not ended.done():
                with suppress(ProcessLookupError):
                    transport.kill()
                await asyncio.wait([ended], timeout=REST_S)
        finally:
            captured.exit_code = transport.get_returncode()
            transport.close()


class _Listener(asyncio.SubprocessProtocol):
    """Takes in what a command writes; ``ended`` is done once it has ended, and its pipes have."""

    def __init__(self, captured: Captured, ended: "asyncio.Future[None]") -> None:
        self._captured = captured
        self._ended = ended

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        captured = self._captured
        output = captured.stderr if fd == _STDERR else captured.stdout
        output += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        if not self._ended.done():
            self._ended.set_result(None)


def failure_of(exit_code: int | None) -> str:
    """Why a command counts as failed, empty when it does not."""
    if exit_code is None or exit_code >= 0:
        return f"exit status {exit_code}" if exit_code else ""
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-exit_code}"
