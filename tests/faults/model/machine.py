"""What may happen, in any order: the rules of the state machine, with all that is checked behind
each. What must be so is the business of `reference` and `view`."""

import collections
import os
import random
import shutil
import sys
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faults.model.reference import Event
from faults.model.subject import Subject
from faults.model.watched import ANSWER, REMOVAL, STATEMENT, WatchedLog
from hansard import wire

WORKERS_MAX: Final = 4
COPIES_MAX: Final = 3
LOGS_MAX: Final = 3
TASKS: Final = ("T1", "T2", "T3")
LARGE_BYTES: Final = (90_000, 300_000, 700_000)  # a spool of 2 MiB holds few of these

_ANY: Final = st.integers(0, 1 << 16)
_FEW: Final = st.integers(1, 4)
_TASK: Final = st.sampled_from([None, *TASKS])
_MOMENTS: Final = st.sampled_from([0.0, 0.001, 0.01, 0.3, 2.0])

served = precondition(lambda self: self.log.store is not None)
unserved = precondition(lambda self: self.log.store is None)
peopled = precondition(lambda self: self.log.workers)
roomy = precondition(lambda self: 0 < len(self.log.workers) < WORKERS_MAX)


class History(RuleBasedStateMachine):
    """Workers record and die, writers come and go, the wire does what it likes, and so do disks.

    ``counts`` says how often each thing really happened, in all histories.
    """

    counts: ClassVar[collections.Counter[str]] = collections.Counter()
    place: ClassVar[Path | None] = None  # where logs are made; None: where temporary files are

    def __init__(self) -> None:
        super().__init__()
        self._chance = mock.patch.object(os, "urandom", random.Random(0).randbytes)
        self._chance.start()  # ids and names are the same whenever a history is repeated
        self._directory = Path(tempfile.mkdtemp(prefix="hansard-model-", dir=self.place))
        self.log = WatchedLog(self._directory / "log", batch_events_max=7)
        self._named = 0
        self._late: list[list[bytes]] = []  # frames that take their time
        self._late_replies: list[tuple[list[bytes], bytes]] = []
        self._expired: list[Event] = []
        self.log.start_writer()
        self._new_worker()
        self._turn(2)
        self._steps = -1  # the invariant is also checked before the first

    # --- who takes part ---

    @precondition(lambda self: len(self.log.workers) < WORKERS_MAX)
    @rule(is_greeted=st.booleans())
    def a_worker_starts(self, is_greeted: bool) -> None:
        self._new_worker()
        self._turn(2 if is_greeted else 0)

    @precondition(lambda self: len(self.log.workers) < WORKERS_MAX)
    @rule(queue_maxsize=st.integers(2, 5), in_memory=st.booleans())
    def a_worker_with_little_room_starts(self, queue_maxsize: int, in_memory: bool) -> None:
        self._new_worker(queue_maxsize=queue_maxsize, in_memory=in_memory)
        self._did("a worker gets no spool", in_memory)

    @roomy
    @rule(which=_ANY)
    def a_worker_forks(self, which: int) -> None:
        parent = self._worker(which)
        parent.fork(self._new_worker())
        self._did("a worker forks")

    @peopled
    @rule(which=_ANY)
    def a_child_lets_go_of_what_it_inherited(self, which: int) -> None:
        children = [worker for worker in self.log.subjects if worker.inherited]
        if children:
            children[which % len(children)].let_go_of_parent()

    @roomy
    @rule(which=_ANY)
    def a_machine_image_is_copied(self, which: int) -> None:
        other = self._worker(which)
        self._new_worker().become_image_of(other)
        self._did("a machine image is copied")

    @peopled
    @rule(which=_ANY)
    def a_worker_is_killed(self, which: int) -> None:
        self._worker(which).kill()
        self._did("a worker is killed")

    @peopled
    @rule(which=_ANY, cut=st.integers(0, 6_000), size=st.sampled_from([0, 5_000]))
    def a_worker_is_killed_in_a_record(self, which: int, cut: int, size: int) -> None:
        if self._worker(which).kill_in_a_record(cut, size):
            self._did("a worker is killed in the middle of a record")

    @peopled
    @rule(which=_ANY, cut=st.integers(0, 300))
    def a_worker_is_killed_while_it_frees(self, which: int, cut: int) -> None:
        self._answers()
        if self._worker(which).kill_in_freeing(cut):
            self._did("a worker is killed while it frees what is committed")

    @peopled
    @rule(which=_ANY)
    def a_worker_closes(self, which: int) -> None:
        self._worker(which).close()
        self._did("a worker closes")

    # --- what workers do ---

    @peopled
    @rule(which=_ANY, events=_FEW, sends=st.booleans())
    def record(self, which: int, events: int, sends: bool) -> None:
        worker = self._worker(which)
        for _ in range(events):
            self._put(worker)
        if sends:
            worker.send()

    @peopled
    @rule(which=_ANY, events=_FEW)
    def record_and_send_one_by_one(self, which: int, events: int) -> None:
        worker = self._worker(which)
        for _ in range(events):
            self._put(worker)
            worker.send()

    @peopled
    @rule(which=_ANY, size=st.sampled_from(LARGE_BYTES))
    def record_a_large_event(self, which: int, size: int) -> None:
        self._put(self._worker(which), size=size)

    @peopled
    @rule(which=_ANY, task_id=st.sampled_from(TASKS))
    def record_for_a_task(self, which: int, task_id: str) -> None:
        self._put(self._worker(which), task_id=task_id)
        self._did("an event of a task is recorded")

    @peopled
    @rule(which=_ANY, task_id=st.sampled_from(TASKS))
    def register_a_task(self, which: int, task_id: str) -> None:
        if self._worker(which).put_task(task_id):
            self._did("a task is registered")

    @peopled
    @rule(which=_ANY, bad=st.sampled_from(["level", "json"]))
    def record_what_the_log_refuses(self, which: int, bad: str) -> None:
        self._put(self._worker(which), bad=bad)
        self._did("an event is refused")

    @peopled
    @rule(which=_ANY, tasks=st.lists(_TASK, min_size=2, max_size=5), is_bad=st.booleans())
    def record_together(self, which: int, tasks: list[str | None], is_bad: bool) -> None:
        if not self._worker(which).put_together(tasks, "level" if is_bad else ""):
            self._did("an event finds no room", len(tasks))
        self._did("events are recorded together")

    @peopled
    @rule(which=_ANY, wants_outcome=st.booleans())
    def a_caller_waits(self, which: int, wants_outcome: bool) -> None:
        worker = self._worker(which)
        if event := self._put(worker):
            worker.wait_for(event, wants_outcome=wants_outcome)
            self._did("a caller waits")

    @peopled
    @rule(which=_ANY)
    def the_callers_time_is_up(self, which: int) -> None:
        expired = self._worker(which).expire_tickets()
        self._expired += expired
        self._did("a caller's time is up", len(expired))

    @served
    @peopled
    @rule(which=_ANY, closes=st.booleans())
    def a_worker_acts_while_its_spool_is_looked_at(self, which: int, closes: bool) -> None:
        """It closes, or takes an answer in: it may renumber, and put another file in its place."""
        if not closes and len(self.log.workers) < WORKERS_MAX:
            self.a_machine_image_is_copied(which)
            which = -1
        worker = self._worker(which)
        for _ in range(2):
            self._everybody_sends()
            self.log.step()
            self.log.pass_time(wire.WAIT_S)
        if self.log.step_with(worker, worker.close if closes else worker.hear):
            self._did("a worker acts while the writer looks at its spool")

    @served
    @rule(which=_ANY, only_expired=st.booleans())
    def look_an_event_up(self, which: int, only_expired: bool) -> None:
        reference = self.log.reference
        events = self._expired if only_expired else list(reference.events.values())
        known = [event for event in events if event.key[0] not in reference.shared]
        if known:
            event = known[which % len(known)]
            self.log.look_up(event)
            self._did("an outcome is looked up")

    @peopled
    @rule(which=_ANY)
    def send(self, which: int) -> None:
        self._worker(which).send()

    @rule()
    def everybody_records_and_sends(self) -> None:
        self._everybody_sends()

    @peopled
    @rule(which=_ANY)
    def hear(self, which: int) -> None:
        self._worker(which).hear()

    @peopled
    @rule(which=_ANY)
    def a_worker_asks_again(self, which: int) -> None:
        self._worker(which).ask_again()
        self._did("a worker asks again, after a silence")

    @rule(turns=_FEW, is_served=st.booleans())
    def turn(self, turns: int, is_served: bool) -> None:
        if is_served and not self.log.store:
            self.log.start_writer()
        self._turn(turns)

    @served
    @rule(seconds=_MOMENTS)
    def step(self, seconds: float) -> None:
        self.log.step()
        self.log.pass_time(seconds)

    # --- what the wire does ---

    @peopled
    @rule(which=_ANY)
    def a_frame_is_lost(self, which: int) -> None:
        if frames := self._frames():
            del frames[which % len(frames)]
            self._did("a frame is lost")

    @peopled
    @rule(which=_ANY)
    def a_frame_is_doubled(self, which: int) -> None:
        if frames := self._frames():
            frames.append(frames[which % len(frames)])
            self._did("a frame is doubled")

    @peopled
    @rule(seed=_ANY)
    def frames_change_their_order(self, seed: int) -> None:
        frames = self._frames()
        if len(frames) > 1:
            random.Random(seed).shuffle(frames)
            self._did("frames change their order")

    @peopled
    @rule(which=_ANY)
    def a_frame_takes_its_time(self, which: int) -> None:
        if frames := self._frames():
            self._late.append(frames[which % len(frames)])
            del frames[which % len(frames)]

    @precondition(lambda self: self._late)
    @rule(which=_ANY)
    def a_late_frame_arrives(self, which: int) -> None:
        self.log.link.frames.append(self._late.pop(which % len(self._late)))
        self._did("a frame arrives late, perhaps in another run, or another log")

    @peopled
    @rule(which=_ANY)
    def a_request_is_lost(self, which: int) -> None:
        if requests := self._requests():
            del requests[which % len(requests)]
            self._did("a request is lost")

    @peopled
    @rule(which=_ANY)
    def a_request_is_doubled(self, which: int) -> None:
        if requests := self._requests():
            requests.append(requests[which % len(requests)])
            self._did("a request is doubled")

    @peopled
    @rule(which=_ANY)
    def an_answer_is_lost(self, which: int) -> None:
        if replies := self._answers():
            del replies[which % len(replies)]
            self._did("an answer is lost")

    @peopled
    @rule(which=_ANY)
    def an_answer_is_doubled(self, which: int) -> None:
        if replies := self._answers():
            replies.append(replies[which % len(replies)])
            self._did("an answer is doubled")

    @peopled
    @rule(which=_ANY)
    def an_answer_takes_its_time(self, which: int) -> None:
        if replies := self._answers():
            self._late_replies.append(replies[which % len(replies)])
            del replies[which % len(replies)]

    @precondition(lambda self: self._late_replies)
    @rule(which=_ANY)
    def a_late_answer_arrives(self, which: int) -> None:
        late = self._late_replies
        self.log.link.replies.append(late.pop(which % len(late)))
        self._did("an answer arrives late, and out of order")

    @precondition(lambda self: self.log.link.frames or self.log.link.replies)
    @rule()
    def all_connections_are_lost(self) -> None:
        self.log.disconnect()
        self._did("all connections are lost")

    @peopled
    @rule(which=_ANY)
    def one_reconnects_while_its_frames_are_on_their_way(self, which: int) -> None:
        self._worker(which).reconnect()
        self._did("a worker reconnects, with its frames still on their way")

    # --- what the writer does ---

    @served
    @rule(is_cut=st.booleans())
    def the_writer_stops(self, is_cut: bool) -> None:
        self.log.stop_writer(cut=is_cut)
        self._did("the writer stops")

    @served
    @rule(is_cut=st.booleans())
    def the_writer_is_killed(self, is_cut: bool) -> None:
        self.log.kill_writer(cut=is_cut)
        self._did("the writer is killed")

    @served
    @rule(
        place=st.sampled_from([STATEMENT, ANSWER, REMOVAL]),
        count=st.integers(0, 12),
        is_cut=st.booleans(),
    )
    def the_writer_is_killed_within_a_step(self, place: str, count: int, is_cut: bool) -> None:
        if place == REMOVAL and self.log.workers:
            self._put(self._worker(count))
            self._worker(count).kill()
        self._everybody_sends()
        count = count if place == STATEMENT else count % 2
        if self.log.kill_writer_within(place, count, cut=is_cut):
            self._did(f"the writer is killed before {place}")

    @unserved
    @rule(enforces_tasks=st.booleans())
    def the_writer_starts(self, enforces_tasks: bool) -> None:
        self.log.settings = replace(self.log.settings, enforce_tasks=enforces_tasks)
        self.log.start_writer()
        self._did("the writer starts")

    @served
    @rule(is_dry=st.booleans(), reason=st.sampled_from([None, "orphan", "invalid"]))
    def dead_letters_are_replayed(self, is_dry: bool, reason: str | None) -> None:
        self.log.replay(reason, is_dry=is_dry)
        self._did("dead letters are replayed")

    @served
    @rule()
    def somebody_looks_at_its_figures(self) -> None:
        self.log.check_figures()

    # --- what happens to disk and clock ---

    @served
    @rule(steps=_FEW)
    def another_program_locks_the_database(self, steps: int) -> None:
        self.log.lock(steps)
        self._did("another program locks the database")

    @served
    @rule(steps=_FEW)
    def the_disk_is_full(self, steps: int) -> None:
        self.log.fill_disk(steps)
        self._did("the disk is full")

    @precondition(lambda self: len(self.log.copies) < COPIES_MAX)
    @rule()
    def the_log_is_copied(self) -> None:
        self.log.copy()

    @precondition(lambda self: self.log.copies and self.log.store is None)
    @rule(which=_ANY)
    def the_log_goes_back_in_time(self, which: int) -> None:
        copies = [copy for copy in self.log.copies if copy.log_id == self.log.log_id]
        if copies:
            self.log.restore(copies[which % len(copies)])
            self._did("the log goes back in time")

    @unserved
    @rule(which=_ANY)
    def another_log_takes_its_place(self, which: int) -> None:
        others = list(self.log.beside)
        if len(others) < LOGS_MAX - 1:
            others.append(None)
        self.log.exchange(others[which % len(others)])
        self._did("another log takes its place")
        self.the_writer_starts(False)

    @rule(seconds=st.sampled_from([-86_400, -5, 5, 3_600]))
    def the_clock_is_set(self, seconds: int) -> None:
        self.log.clock_shift_ns += seconds * 1_000_000_000
        self._did("the clock is set, mostly back" if seconds < 0 else "the clock is set forward")

    # --- what must be so ---

    @invariant()
    def everybody_agrees(self) -> None:
        self._steps += 1
        for subject in self.log.subjects:
            subject.look()

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # or what went wrong first would not be told
                self.log.link.frames.extend(self._late)
                self.log.settle_all()
        finally:
            self.log.close()
            self._chance.stop()
            shutil.rmtree(self._directory)
            self.counts["steps"] += max(self._steps, 0)
            self.counts["histories"] += 1
            self.counts["events"] += len(self.log.reference.events)

    # --- inside ---

    def _worker(self, which: int) -> Subject:
        subjects = self.log.subjects
        return subjects[which % len(subjects)]

    def _new_worker(self, **settings: object) -> Subject:
        self._named += 1
        subject = Subject(self.log, f"w{self._named}", **settings)
        self.log.workers.append(subject)
        return subject

    def _everybody_sends(self) -> None:
        for worker in self.log.subjects:
            self._put(worker)
            worker.send()

    def _frames(self) -> deque[list[bytes]]:
        """What is on its way to the writer, if need be something new."""
        if len(self.log.link.frames) < 2:
            self._everybody_sends()
        return self.log.link.frames

    def _requests(self) -> deque[tuple[list[bytes], bytes]]:
        if not self.log.link.requests:
            self._everybody_sends()
        return self.log.link.requests

    def _answers(self) -> deque[tuple[list[bytes], bytes]]:
        if not self.log.link.replies:
            self._everybody_sends()
            for _ in range(2 if self.log.store else 0):
                self.log.step()
                self.log.pass_time(wire.WAIT_S)
        return self.log.link.replies

    def _turn(self, turns: int) -> None:
        for _ in range(turns):
            self.log.turn()

    def _put(self, worker: Subject, **what: object) -> Event | None:
        event = worker.put(**what)
        if event is None:
            self._did("an event finds no room")
        return event

    def _did(self, what: str, times: int = 1) -> None:
        self.counts[what] += times
