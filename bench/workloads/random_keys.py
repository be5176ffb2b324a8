"""The bad case: the events of `tasks`, each with a task id that is random and never comes again.

Pure. Every entry then touches a page of its own of the index on ``task_id``, as it does wherever
request ids or random UUIDs are what events are found by.
"""

import random

from bench.workloads import tasks
from bench.workloads.event import Event


def events(worker: int, count: int) -> list[Event]:
    """The first ``count`` events of a worker."""
    chance = random.Random(f"random keys of {worker}")
    return [
        event._replace(task_id=f"task-{chance.getrandbits(64):016x}")
        for event in tasks.events(worker, count)
    ]
