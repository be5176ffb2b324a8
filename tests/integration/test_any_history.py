"""Whatever happens, in whatever order: each event is entered once, and in its worker's order."""

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from stepped import Log, Worker

WORKERS_MAX = 3

_SEEDS = st.integers(0, 1 << 16)


class AnyHistory(RuleBasedStateMachine):
    """Workers record and die, writers come and go, and the wire does what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="hansard-history-"))
        self.log = Log(self._directory / "log", batch_events_max=7).start_writer()
        self._named = 0
        self.add_worker()

    def _worker(self, seed: int) -> Worker | None:
        workers = self.log.workers
        return workers[seed % len(workers)] if workers else None

    @precondition(lambda self: len(self.log.workers) < WORKERS_MAX)
    @rule()
    def add_worker(self) -> None:
        self._named += 1
        self.log.worker(f"w{self._named}")

    @rule(seed=_SEEDS, events=st.integers(1, 5))
    def record(self, seed: int, events: int) -> None:
        if worker := self._worker(seed):
            worker.record(events)

    @rule(seed=_SEEDS)
    def record_and_send_one_by_one(self, seed: int) -> None:
        if worker := self._worker(seed):
            for _ in range(4):
                worker.record()
                worker.send()

    @rule(seed=_SEEDS)
    def somebody_waits(self, seed: int) -> None:
        if worker := self._worker(seed):
            worker.ticket(worker.record())

    @rule(seed=_SEEDS)
    def send(self, seed: int) -> None:
        if worker := self._worker(seed):
            worker.send()

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.01, 0.3, 2.0]))
    def step(self, seconds: float) -> None:
        if self.log.store:
            self.log.step()
        self.log.pass_time(seconds)

    @rule(seed=_SEEDS)
    def hear(self, seed: int) -> None:
        if worker := self._worker(seed):
            worker.hear()

    @rule()
    def turn(self) -> None:
        self.log.turn()

    @rule(seed=_SEEDS)
    def lose_a_frame(self, seed: int) -> None:
        if frames := self.log.link.frames:
            del frames[seed % len(frames)]

    @rule(seed=_SEEDS)
    def double_a_frame(self, seed: int) -> None:
        if frames := self.log.link.frames:
            frames.append(frames[seed % len(frames)])

    @rule(seed=_SEEDS)
    def shuffle_frames(self, seed: int) -> None:
        frames = list(self.log.link.frames)
        random.Random(seed).shuffle(frames)
        self.log.link.frames.clear()
        self.log.link.frames.extend(frames)

    @rule()
    def lose_all_answers(self) -> None:
        self.log.link.replies.clear()

    @rule()
    def disconnect(self) -> None:
        self.log.disconnect()

    @rule(seed=_SEEDS)
    def reconnect_one_while_its_frames_are_on_their_way(self, seed: int) -> None:
        if worker := self._worker(seed):
            worker.reconnect()

    @rule(seed=_SEEDS)
    def kill_a_worker(self, seed: int) -> None:
        if worker := self._worker(seed):
            worker.kill()

    @precondition(lambda self: self.log.store)
    @rule(politely=st.booleans())
    def end_the_writer(self, politely: bool) -> None:
        if politely:
            self.log.stop_writer()
        else:
            self.log.kill_writer()

    @precondition(lambda self: not self.log.store)
    @rule()
    def start_the_writer(self) -> None:
        self.log.start_writer()

    def teardown(self) -> None:
        try:
            if not self.log.store:
                self.log.start_writer()
            self.log.disconnect()
            self.log.settle()
            self.log.assert_all_is_in()
            assert self.log.entries("hansard.lost") == []
            assert self.log.dead_letters() == []
        finally:
            self.log.close()
            shutil.rmtree(self._directory)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
