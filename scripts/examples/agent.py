"""An agent whose tool calls are in the log: one entry a call, whatever becomes of it.

    hansard serve --dir ./audit &
    python scripts/examples/agent.py ./audit tests/data/agent_sweagent_steps.jsonl.gz

It replays the steps of real agents: each is an action, what came of it, and where the agent stood.
An agent of yours calls a model where this one reads a file; the tools are what matters here.
"""

import asyncio
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hansard

log = hansard.AuditLog(sys.argv[1])

Step = dict[str, Any]


class CommandFailed(Exception):
    """What the agent's shell says of a command that failed."""


class Sandbox:
    """Where the agent acts. This one says what it said when the step was recorded."""

    def __init__(self, step: Step) -> None:
        self.observation: str = step["observation"]

    @log.audited("tool.call")
    def shell(self, command: str, env: dict[str, str]) -> str:
        """Run a command."""
        assert command, env
        if "Traceback (most recent call last)" in self.observation:
            raise CommandFailed(self.observation.strip().splitlines()[-1])
        return self.observation

    @log.audited("tool.call", arguments=False)
    async def fetch(self, command: str) -> str:
        """Ask a server, whose address is nobody's business: the log has the result only."""
        assert command
        await asyncio.sleep(0)
        return self.observation


@log.audited("agent.submit")
def submit(answer: str) -> str:
    """The agent has done its task, or thinks so."""
    return answer or "what is in the sandbox"


async def act(step: Step) -> None:
    """One step. The exception is the agent's to handle; that it was raised is in the log."""
    sandbox, action = Sandbox(step), step["action"].strip()
    name, _, rest = action.partition(" ")
    try:
        if name == "submit":
            submit(rest)
        elif name == "curl":
            await sandbox.fetch(action)
        else:
            # The agent needs its key. The log does not, and never sees it.
            sandbox.shell(action, env={"API_KEY": "sk-4711", "LANG": "C"})
    except CommandFailed as error:
        print(f"{name}: {error}")


async def main(steps: Iterator[Step]) -> None:
    """Each task with an id of its own, which all that is recorded for it has."""
    for number, of_task in enumerate(tasks(steps), 1):
        with hansard.bound(actor="agent:swe", task_id=f"task-{number}", correlation_id="replay-1"):
            log.record("task.created", {"steps": len(of_task)})
            for step in of_task:
                await act(step)
            log.record("task.done")


def tasks(steps: Iterator[Step]) -> Iterator[list[Step]]:
    """The steps up to each submission, and what is left."""
    task: list[Step] = []
    for step in steps:
        task.append(step)
        if step["action"].startswith("submit"):
            yield task
            task = []
    if task:
        yield task


def read(path: Path) -> Iterator[Step]:
    """The steps of a file of JSON lines, packed."""
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    asyncio.run(main(read(Path(sys.argv[2]))))
    print("in the log:", log.flush(timeout=30))
