"""The events of the bench: agents working on tasks, about 200 bytes an event on the wire.

Pure, and the same in every run: a part of the bench that wants to know what another process
recorded makes it again. It is no traffic model: only sizes, and keys that lie as in real logs.
"""

import random
from collections.abc import Iterator
from typing import Any, Final

from bench.workloads.event import Event

TASKS_OPEN: Final = 8  # of a worker at a time: their events come mixed
STEPS_MIN: Final = 6
STEPS_MAX: Final = 26

_STEPS: Final = ("tool.called", "tool.finished", "llm.answered", "file.changed")
_OPERATIONS: Final = ("read_file", "write_file", "run_tests", "search", "apply_patch")
_MODULES: Final = ("parser", "planner", "storage", "transport", "scheduler", "interface")


def events(worker: int, count: int) -> list[Event]:
    """The first ``count`` events of a worker. Its tasks are its own, with random ids."""
    source = _endless(worker)
    return [next(source) for _ in range(count)]


def _endless(worker: int) -> Iterator[Event]:
    chance = random.Random(worker)
    actor = f"agent:{worker}"
    lives = [_life(chance) for _ in range(TASKS_OPEN)]
    while True:
        place = chance.randrange(TASKS_OPEN)
        step = next(lives[place], None)
        if step is None:
            lives[place] = _life(chance)
            continue
        task_id, event_type, payload = step
        level = "warning" if payload["status"] == "failed" else "info"
        yield Event(event_type, payload, level, actor, task_id)


def _life(chance: random.Random) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """A task from its creation to its end."""
    task_id = f"task-{chance.getrandbits(64):016x}"
    steps = chance.randint(STEPS_MIN, STEPS_MAX)
    yield task_id, "task.created", _payload(chance, 0, "queued")
    for number in range(1, steps + 1):
        status = "failed" if chance.random() < 0.05 else "success"
        yield task_id, chance.choice(_STEPS), _payload(chance, number, status)
    yield task_id, "task.done", _payload(chance, steps + 1, "success")


def _payload(chance: random.Random, step: int, status: str) -> dict[str, Any]:
    module = chance.choice(_MODULES)
    return {
        "operation": chance.choice(_OPERATIONS),
        "path": f"src/{module}/part_{chance.randrange(1_000):03}.py",
        "status": status,
        "step": step,
        "duration_ms": round(chance.uniform(0.1, 900.0), 3),
        "repo_id": f"repo-{chance.randrange(100):02}",
    }
