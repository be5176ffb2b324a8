"""`hansard verify` beside the view: in a process of its own, of the lowest priority, now and then.

It says how that stands. What is verified and how is the command's; its report is also in the
directory, so that the last one is there at once, whoever has asked for it.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hansard import directory as layout

REST_SHARE: Final = 20  # of a verification's own time: it rests so much longer at least
NICENESS: Final = 19
ASKED_AGAIN_S_MIN: Final = 5.0  # between two that somebody asks for
REPORT_BYTES_MAX: Final = 1 << 20
GOOD: Final = frozenset({"intact", "pruned"})


@dataclass(frozen=True, slots=True)
class Standing:
    """The last ``report`` (as `hansard verify --format json` prints it), None where there is none;
    ``failed`` says why the last run gave none; ``running_since`` in seconds since 1970."""

    report: dict[str, Any] | None = None
    failed: str | None = None
    running_since: float | None = None

    @property
    def state(self) -> str:
        """In a word: good, bad, failed, running (with no report yet) or never."""
        if self.report is not None:
            return "good" if self.report.get("verdict") in GOOD else "bad"
        if self.running_since is not None:
            return "running"
        return "failed" if self.failed else "never"


class Verification:
    """Runs it at the start, every ``every_s`` seconds (0: never again), and when asked."""

    def __init__(self, directory: Path, every_s: float) -> None:
        self._directory = directory
        self._every_s = every_s
        self._asked = asyncio.Event()
        self.standing = Standing(_kept(directory))

    def ask(self) -> None:
        """Let it run now, if it does not already."""
        if self.standing.running_since is None:
            self._asked.set()

    async def run(self) -> None:
        """For as long as the view lives; cancelled at its end."""
        while True:
            began_s = time.monotonic()
            await self._verify()
            took_s = time.monotonic() - began_s
            wait_s = max(self._every_s, REST_SHARE * took_s) if self._every_s else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._asked.wait()
            self._asked.clear()
            await asyncio.sleep(max(0.0, ASKED_AGAIN_S_MIN - (time.monotonic() - began_s)))

    async def _verify(self) -> None:
        self.standing = replace(self.standing, running_since=time.time())
        try:
            found, failed = await self._run_command()
        except OSError as error:
            found, failed = None, str(error)
        report = found or self.standing.report
        self.standing = Standing(report, None if found else failed, None)

    async def _run_command(self) -> tuple[dict[str, Any] | None, str]:
        command = ("-P", "-m", "hansard_writer", "verify", "--format", "json")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            "--dir",
            str(self._directory),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            said, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        with contextlib.suppress(ValueError):
            report = json.loads(said)
            if isinstance(report, dict) and "verdict" in report:
                return report, ""
        lines = complaint.decode(errors="backslashreplace").strip().splitlines()
        return None, lines[-1].removeprefix("Error: ") if lines else "it said nothing"


def _kept(directory: Path) -> dict[str, Any] | None:
    """The report that somebody's `hansard verify` has left."""
    with contextlib.suppress(OSError, ValueError):
        text = (directory / layout.VERIFIED).read_bytes()
        report = json.loads(text[:REPORT_BYTES_MAX])
        if isinstance(report, dict) and isinstance(report.get("verified_at"), int):
            return report
    return None
