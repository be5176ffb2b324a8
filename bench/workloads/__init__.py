"""What is recorded: each workload by its name, the same in every run and every process."""

from collections.abc import Callable
from typing import Final, NamedTuple

from bench.workloads import tasks
from bench.workloads.event import Event


class Workload(NamedTuple):
    """``events(worker, count)`` are the first ``count`` events of a worker: deterministic, so that
    any process can make them again."""

    name: str
    about: str
    events: Callable[[int, int], list[Event]]


TASKS: Final = Workload("tasks", "about 200 bytes; tasks with a life, keys together", tasks.events)

WORKLOADS: Final = {workload.name: workload for workload in (TASKS,)}
