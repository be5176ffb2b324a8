"""The plan of a round, made from seed and number alone: who works, what is done to whom, and when.

"When" is a beat, in which every worker does a block of its program, and how far a worker has come
in it; no clock. It starts no process.
"""

import json
from random import Random
from typing import Any, Final, NamedTuple

from faults.chaos.load import WorkerPlan, action_of, draw_worker

WRITER_SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"batch_events_max": 1},
    {"batch_events_max": 7, "commit_interval": 0.0},
    {"commit_interval": 0.05},
    {"commit_interval": 0.4},  # much is read and not committed when a kill comes
    {"wal_bytes_target": 1 << 20, "fts_event_types": "chaos.event"},
    {"batch_bytes_max": 1},
)


class Step(NamedTuple):
    """One thing done to somebody, once ``worker`` has noted ``after`` events in ``beat``.

    In the beat behind the last, in which workers close and end, ``after`` is a number of looks at
    them. ``settings`` are those of a writer that is started.
    """

    beat: int
    worker: int
    after: int
    do: str
    whom: str
    settings: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Plan(NamedTuple):
    """A round. ``settings`` are the first writer's; ``patient`` beats begin with a writer that is
    ready, the others whatever there is."""

    seed: int
    number: int
    supervised: bool
    settings: dict[str, Any]
    last_settings: dict[str, Any]
    restarts_at_the_end: bool
    workers: list[WorkerPlan]
    patient: list[bool]
    steps: list[Step]

    @property
    def beats(self) -> int:
        """How many beats it has."""
        return len(self.patient)

    def to_json(self) -> str:
        """For the worker processes, and for people."""
        return json.dumps(self._asdict(), indent=1)


def worker_of(text: str, index: int) -> WorkerPlan:
    """A worker's part of a plan that was written as JSON."""
    settings, blocks, *rest = json.loads(text)["workers"][index]
    blocks = [tuple(action_of(action) for action in block) for block in blocks]
    return WorkerPlan(settings, blocks, *rest)


def make_plan(seed: int, number: int) -> Plan:
    """The plan of round ``number``; the same whenever and wherever it is made."""
    chance = Random(f"chaos {seed} {number}")
    beats = chance.randint(3, 5)
    small_queue, tasks = chance.random() < 0.35, chance.random() < 0.3
    supervised = chance.random() < 0.75
    workers = [
        draw_worker(chance, beats, small_queue=small_queue, tasks=tasks)
        for _ in range(chance.randint(2, 4))
    ]
    drawing = _Drawing(chance, workers, beats, supervised=supervised, tasks=tasks)
    steps = drawing.steps()
    patient = [chance.random() < 0.6 for _ in range(beats)]
    first, last = drawing.settings(), drawing.settings()
    restarts = chance.random() < 0.3
    return Plan(seed, number, supervised, first, last, restarts, workers, patient, steps)


# What is done, to whom, and how often among a hundred.
_FAULTS: Final = {
    ("kill", "writer"): 22,
    ("freeze", "writer"): 11,
    ("terminate", "writer"): 6,
    ("kill", "supervisor"): 8,
    ("freeze", "supervisor"): 6,
    ("terminate", "supervisor"): 4,
    ("kill", "worker"): 13,
    ("kill", "family"): 5,
    ("freeze", "worker"): 9,
    ("terminate", "worker"): 6,
    ("restart", "writer"): 7,
    ("rival", "writer"): 7,
    ("unlink", "sockets"): 5,
}
_ENDS_A_SERVER: Final = {
    ("terminate", "writer"),
    ("kill", "supervisor"),
    ("terminate", "supervisor"),
}


class _Drawing:
    """Draws the steps of one round."""

    def __init__(
        self,
        chance: Random,
        workers: list[WorkerPlan],
        beats: int,
        *,
        supervised: bool,
        tasks: bool,
    ) -> None:
        self._chance = chance
        self._workers = workers
        self._beats = beats
        self._supervised = supervised
        self._tasks = tasks
        self._steps: list[Step] = []

    def settings(self) -> dict[str, Any]:
        """What a writer is started with."""
        enforced = {"enforce_tasks": "true"} if self._tasks and self._chance.random() < 0.7 else {}
        return {**self._chance.choice(WRITER_SETTINGS), **enforced}

    def steps(self) -> list[Step]:
        """All of them, in the order in which they are due."""
        for _ in range(self._chance.randint(2, 6)):
            self._draw()
        if self._chance.random() < 0.3:
            self._draw_end()
        order = {id(step): index for index, step in enumerate(self._steps)}
        return sorted(self._steps, key=lambda step: (step.beat, step.after, order[id(step)]))

    def _draw(self) -> None:
        chance = self._chance
        do, kind = chance.choices(tuple(_FAULTS), tuple(_FAULTS.values()))[0]
        if kind == "supervisor" and not self._supervised:
            kind = "writer"
        whom = kind
        if kind in ("worker", "family"):
            whom = f"{kind} {chance.randrange(len(self._workers))}"
        beat = chance.randrange(self._beats)
        worker, after = self._moment(beat)
        self._add(beat, worker, after, do, whom)
        if do == "freeze":
            self._later(beat, worker, after, "thaw", whom)
        elif (do, kind) in _ENDS_A_SERVER or (kind == "writer" and not self._supervised):
            self._later(beat, worker, after, "start", "writer")
        elif kind in ("worker", "family") and chance.random() < 0.6:
            self._later(beat, worker, after, "start", f"worker {whom.split()[1]}")

    def _draw_end(self) -> None:
        """A kill while workers close and end: needs no undoing."""
        worker = self._chance.randrange(len(self._workers))
        whom = self._chance.choice((f"worker {worker}", f"family {worker}", "writer"))
        self._add(self._beats, worker, self._chance.randint(0, 20), "kill", whom)

    def _moment(self, beat: int) -> tuple[int, int]:
        """A worker, and how far it comes in a beat."""
        worker = self._chance.randrange(len(self._workers))
        events = sum(action.events for action in self._workers[worker].blocks[beat])
        return worker, self._chance.randint(0, events)

    def _later(self, beat: int, worker: int, after: int, do: str, whom: str) -> None:
        """What undoes a step: at once, in the same beat, or in a later one."""
        if self._chance.random() < 0.3:
            self._add(beat, worker, after, do, whom)
            return
        later = self._chance.randint(beat, self._beats - 1)
        other, moment = self._moment(later)
        self._add(later, other, max(moment, after) if later == beat else moment, do, whom)

    def _add(self, beat: int, worker: int, after: int, do: str, whom: str) -> None:
        starts = whom == "writer" and do in ("start", "restart", "rival")
        settings = self.settings() if starts else {}
        self._steps.append(Step(beat, worker, after, do, whom, settings))
