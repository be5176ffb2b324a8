"""Twins, processes of one copied image: whatever they hold in common and in whatever order they
are heard, each event is entered once, and in its order."""

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stepped import Log, Worker, encode

_RUNS = st.lists(st.sampled_from([1, 1, 1, 2, 5, 120]), max_size=6)
_OFTEN = ["record", "send", "hear", "step", "turn"]
_SELDOM = ["reconnect", "restart", "lose", "twice", "kill"]
_STEPS = st.lists(st.sampled_from([*_OFTEN, *_OFTEN, *_SELDOM]), max_size=25)


def image(log: Log, runs: list[int], twins: list[Worker]) -> None:
    """Events that all hold, under the same numbers: some of them joined."""
    numbers = log.recorded.setdefault("image", [])
    for count in runs:
        first = len(numbers) + 1
        numbers.extend(range(first, first + count))
        events = [encode({"w": "image", "n": n}) for n in range(first, first + count)]
        for worker in twins:
            worker.record_together(*events)


def act(log: Log, step: str, worker: Worker) -> None:
    """One thing happens: to a worker, to the writer, or on the way between."""
    if step == "step":
        log.step()
        log.pass_time(0.003)
    elif step == "restart":
        log.restart_writer()
    elif step == "lose":
        log.link.frames.clear()
    elif step == "twice":
        log.link.frames.extend(list(log.link.frames))
    elif step == "turn":
        log.turn()
    else:
        getattr(worker, step)()


@settings(max_examples=30, deadline=None)
@given(_RUNS, _RUNS, _STEPS, st.randoms(use_true_random=False))
def test_twins_of_any_image_lose_and_double_nothing(
    before: list[int], after: list[int], steps: list[str], chance: random.Random
) -> None:
    """``before``: heard from both alike; ``after``: in both spools, and heard from neither."""
    with tempfile.TemporaryDirectory(prefix="hansard-twins-") as directory:
        log = Log(Path(directory) / "log", batch_events_max=50).start_writer()
        try:
            twins = list(log.twins())
            image(log, before, twins)
            for _ in range(chance.choice([0, 0, 3, 8])):
                log.turn()
            image(log, after, twins)
            for step in steps:
                if log.workers:
                    act(log, step, chance.choice(log.workers))
            log.settle()
            log.assert_all_is_in()
        finally:
            log.close()
