"""A supervised writer, as a test sees it: two processes, and what they say."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SERVE = (sys.executable, "-m", "hansard_writer", "serve")

Start = Callable[..., "Supervised"]

SUPERVISES = """
# A supervisor of the command that its arguments are; lifeline and restarts are added to it.
import logging, sys
from hansard_writer import supervisor
from hansard_writer.sd_notify import NOBODY
from hansard_writer.supervisor import Restarts, supervise
logging.basicConfig(level="INFO")
command = lambda lifeline, restarts: [*sys.argv[1:], str(lifeline), str(restarts)]
print(supervise(command, {2, 4}, Restarts(2), NOBODY))
"""


class Supervised:
    """A supervisor that was started on a directory, and the writers that it has said are ready."""

    def __init__(
        self, directory: Path, *options: str, serve: Sequence[str] = SERVE, **how: Any
    ) -> None:
        self.directory = directory
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(
            [*serve, "--dir", str(directory), "--supervise", *options],
            text=True,
            start_new_session=True,
            **(streams | how),
        )

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self.process.pid

    def next_writer(self) -> int:
        """The process id that the next ready line names."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(
            r"hansard ready dir=\S+ push=\S+ ack=\S+(?: metrics=\S+)? pid=(\d+) epoch=\d+\n", line
        )
        assert found, line
        return int(found[1])

    def says(self, pattern: str) -> re.Match[str]:
        """Read its log up to a line in which the pattern is found."""
        assert self.process.stderr is not None
        said = []
        while line := self.process.stderr.readline():
            if found := re.search(pattern, line):
                return found
            said.append(line)
        raise AssertionError(f"it ended without {pattern!r}: {said}")

    def signal(self, number: int) -> None:
        """Send it to the supervisor alone."""
        os.kill(self.pid, number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the supervisor's end: its exit status, and what it had not yet said."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def stats(self) -> dict[str, Any]:
        """What `hansard stats` says."""
        command = [*SERVE[:-1], "stats", "--dir", str(self.directory), "--format", "json"]
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures


def is_gone(pid: int) -> bool:
    """Whether the process has ended, though perhaps nobody has asked how."""
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def children_of(pid: int) -> str:
    """The process ids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()
