"""What is recorded: each workload by its name, the same in every run and every process."""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from bench.workloads import random_keys, real, tasks
from bench.workloads.event import Event


class Workload(NamedTuple):
    """``events(worker, count)`` are the first ``count`` events of a worker: deterministic, so that
    any process can make them again."""

    name: str
    about: str
    events: Callable[[int, int], list[Event]]


TASKS: Final = Workload("tasks", "about 200 bytes; tasks with a life, keys together", tasks.events)
RANDOM_KEYS: Final = Workload(
    "random keys", "the same events, each key random and never seen again", random_keys.events
)
REAL: Final = tuple(
    Workload(name, f"the lines of tests/data/{file}.jsonl.gz", partial(real.events, name))
    for name, file in real.SETS.items()
)

WORKLOADS: Final = {workload.name: workload for workload in (TASKS, RANDOM_KEYS, *REAL)}
