"""A writer from Python, as it shows itself. That it runs is seen in the acceptance tests."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hansard_writer import RunningWriter


def test_a_running_writer_says_which_it_is() -> None:
    process: Any = SimpleNamespace(pid=7)
    shown = repr(RunningWriter(Path("/srv/log"), process, "hansard ready"))
    assert shown == "<RunningWriter '/srv/log' pid 7>"
