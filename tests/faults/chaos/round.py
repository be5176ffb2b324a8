"""One round: carries a plan out on real processes, heals everything, and reckons.

It decides nothing that the plan has decided. Every wait has a deadline; nothing outlives `close`.
"""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from faults.chaos.families import Family, Worker
from faults.chaos.notes import Progress, read
from faults.chaos.plan import Plan, Step
from faults.chaos.reckoning import Reckoned, reckon
from faults.chaos.servers import Servers
from hansard import directory as layout

LOOK_S: Final = 0.002
STALL_S: Final = 0.15  # nobody notes anything: the plan goes on, whoever it waits for
BEGIN_S: Final = 3.0  # for a worker's interpreter to start
READY_S: Final = 2.0  # for a writer, at the beginning of a patient beat
THERE_S: Final = 1.0  # for a writer that a supervisor starts again, so that it can be hit
STOP_S: Final = 20.0  # for servers that are asked to stop
HEAL_S: Final = 40.0  # for everything to come to its end once nothing is done to it any more
STACKS_S: Final = 1.0  # for a worker that hangs to say where

SIGNALS: Final = {
    "kill": signal.SIGKILL,
    "freeze": signal.SIGSTOP,
    "terminate": signal.SIGTERM,
}
UNDOES: Final = {"thaw", "start"}  # steps that are no faults


class Fault(NamedTuple):
    """Something that was done; ``hit``: to somebody who lived."""

    do: str
    whom: str  # writer, supervisor, worker, family, sockets
    hit: bool


class Outcome(NamedTuple):
    """What a round came to."""

    faults: list[Fault]
    reckoned: Reckoned
    seconds: float


class Round:
    """A round in a directory of its own: the log, notes, what processes said, and a timeline."""

    def __init__(self, plan: Plan, home: Path) -> None:
        self._plan, self._home = plan, home
        self._log, self._notes = home / "log", home / "notes"
        self._notes.mkdir()
        (home / "plan.json").write_text(plan.to_json())
        self._servers = Servers(self._log, home, supervised=plan.supervised)
        self._workers: list[Worker] = []
        self._present: dict[int, Worker] = {}  # the newest life of each
        self._frozen: dict[str, tuple[Family, int]] = {}  # by whom
        self._faults: list[Fault] = []
        self._progress = Progress(self._notes)
        self._began = time.monotonic()

    def run(self) -> Outcome:
        """Carry it out. Raises `AssertionError` for whatever is not as promised."""
        self._servers.start(self._plan.settings)
        for index in range(len(self._plan.workers)):
            self._start_worker(index, 0)
        self._await(self._workers_have_begun, BEGIN_S)
        for beat in range(self._plan.beats):
            self._beat(beat)
        self._heal()
        self._await_end_of_workers()
        self._await_empty_spools()
        self._stop_servers()
        self._check_processes()
        reckoned = reckon(self._log, read(self._notes))
        return Outcome(self._faults, reckoned, time.monotonic() - self._began)

    def close(self) -> None:
        """Leave no process."""
        for worker in self._workers:
            worker.close()
        self._servers.close()

    # --- the plan ---

    def _beat(self, beat: int) -> None:
        servers = self._servers
        if self._plan.patient[beat] and not self._frozen.keys() & {"writer", "supervisor"}:
            self._await(lambda: servers.are_ready or servers.are_gone, READY_S)
        before = dict(self._progress.events)
        for worker in self._present.values():
            worker.tell(b"go\n")
        for step in (step for step in self._plan.steps if step.beat == beat):
            self._await_progress(lambda: self._has_come_to(step, before))  # noqa: B023
            self._make(step)
        self._await_progress(lambda: self._have_done(beat))

    def _has_come_to(self, step: Step, before: dict[str, int]) -> bool:
        name = str(step.worker)
        if not self._works(step.worker):
            return True
        return self._progress.events[name] - before.get(name, 0) >= step.after

    def _have_done(self, beat: int) -> bool:
        return all(
            self._progress.beats[str(index)] > beat for index in self._present if self._works(index)
        )

    def _works(self, index: int) -> bool:
        """Whether a worker can come any further."""
        return self._present[index].first_lives and f"worker {index}" not in self._frozen

    def _make(self, step: Step) -> None:
        hit = self._do(step)
        self._say(f"beat {step.beat}: {step.do} {step.whom}: {'done' if hit else 'nobody there'}")
        if step.do not in UNDOES:
            self._faults.append(Fault(step.do, step.whom.split()[0], hit))

    def _do(self, step: Step) -> bool:
        """Carry out a step; whether it met anybody."""
        kind, _, index = step.whom.partition(" ")
        if step.do == "thaw":
            found = self._frozen.pop(step.whom, None)
            return found is not None and found[0].send(signal.SIGCONT, found[1])
        if step.do == "start" and kind == "worker":
            return self._replace_worker(int(index), step.beat)
        if step.do == "unlink":
            return self._servers.unlink_sockets()
        if step.do in ("start", "restart", "rival"):
            return self._do_start(step)
        if kind == "family":
            return self._present[int(index)].send_all(signal.SIGKILL)
        return self._do_signal(step, kind, index)

    def _do_start(self, step: Step) -> bool:
        lived = not self._servers.are_gone
        if step.do == "start" and lived:
            return False
        if step.do == "restart":
            self._stop_servers()
        self._servers.start(step.settings, alone=step.do == "rival")
        return lived or step.do == "start"

    def _do_signal(self, step: Step, kind: str, index: str) -> bool:
        servers = self._servers
        found: tuple[Family, int] | None
        if kind == "worker":
            found = (self._present[int(index)], self._present[int(index)].pid)
        else:
            if kind == "writer":
                self._await(lambda: bool(servers.find(kind)) or servers.are_gone, THERE_S)
            found = servers.find(kind)
        if found is None or not found[0].send(SIGNALS[step.do], found[1]):
            return False
        if step.do == "freeze":
            self._frozen[step.whom] = found
        return True

    def _replace_worker(self, index: int, beat: int) -> bool:
        """Another life goes on in a dead one's place."""
        if self._present[index].first_lives:
            return False
        self._frozen.pop(f"worker {index}", None)
        self._start_worker(index, beat).tell(b"go\n")
        return True

    # --- the end ---

    def _heal(self) -> None:
        """Nothing is frozen, and a writer runs that can be reached."""
        self._say("heal")
        self._frozen.clear()
        self._servers.thaw()
        for worker in self._workers:
            worker.send_all(signal.SIGCONT)
        if self._servers.sockets_are_gone or self._plan.restarts_at_the_end:
            self._stop_servers()
        self._keep_served()
        for worker in self._workers:
            worker.tell_no_more()
        for step in (step for step in self._plan.steps if step.beat == self._plan.beats):
            time.sleep(LOOK_S * step.after)
            self._make(step)

    def _keep_served(self) -> None:
        """A rival may have won and died since, or a writer that was left alone have ended."""
        if self._servers.are_gone:
            self._servers.start(self._plan.last_settings)

    def _await_end_of_workers(self) -> None:
        def all_ended() -> bool:
            self._keep_served()
            return not any(worker.lives for worker in self._workers)

        if not self._await(all_ended, HEAL_S):
            hanging = [worker for worker in self._workers if worker.lives]
            for worker in hanging:
                worker.send_all(signal.SIGUSR1)
            self._await(lambda: False, STACKS_S)
            names = ", ".join(worker.name for worker in hanging)
            raise AssertionError(f"worker {names} did not end in {HEAL_S:g} s; stacks in *.err")

    def _await_empty_spools(self) -> None:
        def spools() -> list[str]:
            return [path.name for path in (self._log / layout.SPOOL).glob("*.spool")]

        def is_at_rest() -> bool:
            self._keep_served()
            return not spools() and self._servers.are_ready

        if not self._await(is_at_rest, HEAL_S):
            raise AssertionError(f"not entered after {HEAL_S:g} s: {', '.join(spools())}")

    def _stop_servers(self) -> None:
        """All must end."""
        self._servers.ask_to_stop()
        self._frozen = {whom: found for whom, found in self._frozen.items() if "worker" in whom}
        if not self._await(lambda: self._servers.are_gone, STOP_S):
            raise AssertionError(f"a writer did not stop in {STOP_S:g} s after SIGTERM")

    def _check_processes(self) -> None:
        self._servers.check()
        for worker in self._workers:
            status = worker.process.wait()
            if not worker.was_signalled:
                assert status == 0, f"worker {worker.name} ended by itself with {status}"
                worker.check_what_it_said()
        damaged = [path.name for path in (self._log / layout.SPOOL).glob("*.damaged")]
        assert not damaged, f"called damaged: {damaged}"

    # --- workers ---

    def _start_worker(self, index: int, beat: int) -> Worker:
        life = sum(worker.index == index for worker in self._workers)
        worker = Worker(self._log, self._home, index, life, beat)
        self._workers.append(worker)
        self._present[index] = worker
        return worker

    def _workers_have_begun(self) -> bool:
        return all(
            (self._notes / f"{worker.name}.notes").exists() or not worker.first_lives
            for worker in self._present.values()
        )

    # --- waiting ---

    def _await(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Until it is so; False where it is not after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True

    def _await_progress(self, condition: Callable[[], bool]) -> None:
        """Until it is so, or no worker gets any further."""
        deadline = time.monotonic() + STALL_S
        begin_until = time.monotonic() + BEGIN_S
        while not condition() and (now := time.monotonic()) < deadline:
            begins = now < begin_until and not self._workers_have_begun()
            if self._progress.look() or begins:
                deadline = now + STALL_S
            time.sleep(LOOK_S)

    def _say(self, what: str) -> None:
        with (self._home / "timeline").open("a") as timeline:
            timeline.write(f"{time.monotonic() - self._began:7.3f} {what}\n")
