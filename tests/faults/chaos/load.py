"""The load: what each worker process does, drawn from a random generator. It does none of it."""

from random import Random
from typing import Any, Final, NamedTuple

MIB: Final = 1 << 20
TASKS: Final = 16  # that a round knows of
TASKS_REGISTERED: Final = 12  # at most; events of the others stay orphans
SMALL_BYTES: Final = (0, 10, 100, 1_000)
LARGE_BYTES: Final = (20_000, 150_000, 600_000)
ENDS: Final = ("close", "exit", "hard")  # close(); the exit hooks; os._exit
CHILD_ENDS: Final = ("close", "exit", "hard")


class Action(NamedTuple):
    """One thing that a worker does: ``do`` names a method of the worker's `Doing`.

    ``count`` is of events, or of milliseconds to pause; ``bytes`` the size of each payload;
    ``how`` says more; ``inner`` are the programs of threads or of a child.
    """

    do: str
    count: int = 0
    bytes: int = 0
    how: str = ""
    inner: tuple[tuple["Action", ...], ...] = ()

    @property
    def events(self) -> int:
        """How many events it records, at most."""
        inside = sum(each.events for program in self.inner for each in program)
        return inside if self.inner else 0 if self.do in _EVENTLESS else self.count


_EVENTLESS: Final = ("pause", "flush", "drain", "reopen")


def action_of(parts: list[Any]) -> Action:
    """An action as JSON has brought it back."""
    *plain, inner = parts
    return Action(
        *plain, inner=tuple(tuple(action_of(each) for each in program) for program in inner)
    )


class WorkerPlan(NamedTuple):
    """What a worker is: the settings of its log, a program for each beat, and how it ends.

    ``on_terminate``: SIGTERM kills it (``die``), or makes it exit with its hooks (``exit``).
    """

    settings: dict[str, Any]
    blocks: list[tuple[Action, ...]]
    end: str
    on_terminate: str


def draw_worker(chance: Random, beats: int, *, small_queue: bool, tasks: bool) -> WorkerPlan:
    """A worker; ``small_queue`` makes it run out of room, ``tasks`` lets its events have some."""
    settings: dict[str, Any] = {
        "spool_bytes": chance.choice((2, 2, 3, 4)) * MIB,
        "on_full": chance.choice(("drop", "raise", "block")) if small_queue else "block",
        "ack_timeout": chance.choice((0.1, 0.3, 1.0)),
        "close_timeout": chance.choice((0.0, 0.2, 0.6)),
        "best_effort": chance.random() < 0.85,
    }
    if small_queue:
        settings["queue_maxsize"] = chance.choice((20, 60, 150, 300))
    blocks = [_draw_block(chance, settings, tasks=tasks) for _ in range(beats)]
    on_terminate = chance.choice(("die", "exit"))
    return WorkerPlan(settings, blocks, chance.choice(ENDS), on_terminate)


def _draw_block(chance: Random, settings: dict[str, Any], *, tasks: bool) -> tuple[Action, ...]:
    block: list[Action] = []
    for _ in range(chance.randint(2, 5)):
        do = chance.choices(tuple(_SHARED | _ALONE), tuple((_SHARED | _ALONE).values()))[0]
        block.append(_draw(chance, do, settings))
        if tasks:
            block.append(Action("tasked", chance.randint(1, 20), how=str(chance.randrange(TASKS))))
            if chance.random() < 0.6:
                task = chance.randrange(TASKS_REGISTERED)
                block.append(Action("register", 1, how=str(task)))
        block.append(Action("pause", chance.choice((0, 1, 3, 10))))
    return tuple(block)


# What a thread or a child may do as well, and what only a worker's main thread does; how often.
_SHARED: Final = {
    "record": 10,
    "record_sync": 3,
    "together": 4,
    "together_sync": 1,
    "large": 2,
    "broken": 1,
    "flush": 1,
}
_ALONE: Final = {
    "threads": 3,
    "fork": 3,
    "process": 1,
    "coroutines": 2,
    "interrupted": 1,
    "reopen": 2,
    "drain": 1,
}


def _draw(chance: Random, do: str, settings: dict[str, Any]) -> Action:
    size = chance.choice(SMALL_BYTES)
    room = settings.get("queue_maxsize", 1_000)
    match do:
        case "record" | "interrupted":
            return Action(do, chance.randint(10, 150), size)
        case "record_sync":
            return Action(do, chance.randint(1, 6), size)
        case "together" | "together_sync":
            return Action(do, min(chance.choice((2, 5, 30, 100)), room), size)
        case "large":
            return Action(do, chance.randint(1, 5), chance.choice(LARGE_BYTES))
        case "broken":
            return Action(do, chance.randint(1, 3))
        case "coroutines":
            return Action(do, chance.randint(3, 60), size, chance.choice(("async", "sync")))
        case "threads":
            return Action(do, inner=tuple(_inner(chance, settings) for _ in range(2)))
        case "fork":  # the child's program, and that of a thread which records meanwhile
            how = chance.choice(CHILD_ENDS)
            return Action(do, how=how, inner=(_inner(chance, settings), _inner(chance, settings)))
        case "process":
            return Action(do, inner=(_inner(chance, settings),))
        case _:
            return Action(do)


def _inner(chance: Random, settings: dict[str, Any]) -> tuple[Action, ...]:
    kinds = chance.choices(tuple(_SHARED), tuple(_SHARED.values()), k=chance.randint(1, 3))
    return tuple(_draw(chance, do, settings) for do in kinds)
