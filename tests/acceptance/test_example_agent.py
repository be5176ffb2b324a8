"""`scripts/examples/agent.py`: real agents' steps, each tool call one entry."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from hansard.reader import LogReader
from hansard_writer import RunningWriter

ROOT = Path(__file__).parents[2]
STEPS = ROOT / "tests/data/agent_sweagent_steps.jsonl.gz"


def test_the_agents_tool_calls_are_in_the_log(writer: RunningWriter, directory: Path) -> None:
    example = ROOT / "scripts/examples/agent.py"
    done = subprocess.run(
        [sys.executable, example, directory, STEPS],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("in the log: True\n")
    with gzip.open(STEPS, "rt") as lines:
        steps = [json.loads(line) for line in lines]
    submissions = sum(step["action"].startswith("submit") for step in steps)
    failures = sum("Traceback (most recent call last)" in step["observation"] for step in steps)
    with LogReader(directory) as reader:
        events = list(reader.events())
    counts = Counter(event.event_type for event in events)
    assert counts["agent.submit"] == submissions > 10
    assert counts["tool.call"] == len(steps) - submissions
    assert counts["task.created"] == counts["task.done"] == len({each.task_id for each in events})
    assert {event.actor for event in events} == {"agent:swe"}
    assert {event.data["correlation_id"] for event in events} == {"replay-1"}
    calls = [event for event in events if event.event_type == "tool.call"]
    failed = [event for event in calls if event.data["status"] == "failed"]
    assert 0 < len(failed) <= failures
    assert {event.level for event in failed} == {"error"}
    assert all(event.data["error"]["type"].endswith("CommandFailed") for event in failed)
    shell = [
        event.data["arguments"] for event in calls if event.data["function"] == "Sandbox.shell"
    ]
    assert {arguments["env"]["API_KEY"] for arguments in shell} == {"[masked]"}
    assert len({arguments["command"] for arguments in shell}) > 100
    assert not any(
        "arguments" in event.data for event in calls if event.data["function"] == "fetch"
    )
    assert not any("sk-4711" in event.payload for event in events)
