"""The demonstration's second half: real commands as operations, and the one that failed found.

A virtual environment is made without pip, so that installing into it fails in earnest, and offline.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from hansard import AuditLog
from hansard.reader import Event, LogReader, Operation
from hansard_writer.running_writer import running

WORKFLOW: Final = "demo"
NODE: Final = "this-machine"
SEARCHED: Final = "module AND pip"


class Commands(NamedTuple):
    """The operations as the log has them, oldest first; and what the search for `SEARCHED` found
    among all entries, in how many seconds."""

    operations: list[Operation]
    found: list[Event]
    search_s: float


def run_commands(directory: Path) -> Commands:
    """Run three commands through `hansard.Operation.run`, and read them back.

    Starts a writer for the log in ``directory``, and stops it. Raises as `running`.
    """
    with running(directory, log_level="warning"), AuditLog(directory) as log:
        _run_recorded(log)
        log.flush()
    with LogReader(directory) as reader:
        operations = list(reader.operations(workflow_id=WORKFLOW, newest_first=False))
        began = time.perf_counter()
        found = list(reader.search(SEARCHED))
        return Commands(operations, found, time.perf_counter() - began)


def _run_recorded(log: AuditLog) -> None:
    env = log.environment(WORKFLOW, NODE)
    with tempfile.TemporaryDirectory(prefix="hansard-demo-venv-") as place:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        with env.operation("create_env", metadata={"python_version": version}) as op:
            op.run([sys.executable, "-m", "venv", "--without-pip", place])
        with env.operation("run", metadata={"code": "pip --version"}) as op:
            op.run([sys.executable, "-m", "pip", "--version"])
        with env.operation("add_deps", metadata={"packages": ["numpy"]}) as op:
            op.run([str(Path(place, "bin", "python")), "-m", "pip", "install", "numpy"])
