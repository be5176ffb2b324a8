"""The writer's loop, steppable: read, commit, answer, keep house.

One thread. `Writer.step` takes the time and never waits; whoever runs it waits between steps, so
that tests need neither threads nor sleeps.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from math import inf
from types import MappingProxyType
from typing import Any, Final, Protocol

from hansard import entry as outcome
from hansard import wire
from hansard.settings import Settings
from hansard_writer.acks import Acks
from hansard_writer.adoption import Adopter
from hansard_writer.calls import Calls
from hansard_writer.full_text import FullText
from hansard_writer.intake import Intake
from hansard_writer.operations import Function
from hansard_writer.store import PAGE_BYTES, Store, StoreBusy, StoreFull

REQUESTS_PER_STEP_MAX: Final = 256
RETRY_S: Final = 0.1  # after a commit that found the store busy or full
DISK_LOOK_S: Final = 1.0
IDLE_S: Final = 1.0  # without a commit, before the WAL is emptied
FULL_TEXT_IDLE_S: Final = 0.1  # without a commit, before entries' text is looked at
TRUNCATE_RETRY_S: Final = 10.0  # after a reader stood in the way
PASSIVE_SHARE: Final = 8  # of wal_bytes_target: checkpoint well before it is reached

_LOG: Final = logging.getLogger("hansard.writer")


class Transport(Protocol):
    """Where messages and requests come from, and replies go to. Nothing of it waits."""

    def message(self) -> list[bytes] | None: ...
    def request(self) -> tuple[list[bytes], bytes] | None: ...
    def reply(self, envelope: list[bytes], content: bytes) -> None: ...


class Writer:
    """One run of a log's writer, over a store and a transport that it does not own.

    ``require_place`` raises when the directory is not the one any more that it was started for.
    """

    def __init__(
        self,
        store: Store,
        transport: Transport,
        adopter: Adopter,
        settings: Settings,
        run_id: bytes,
        *,
        operations: Mapping[str, Function] = MappingProxyType({}),
        clock_ns: Callable[[], int] = time.time_ns,
        require_place: Callable[[], None] = lambda: None,
        supervised_restarts: int | None = None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._adopter = adopter
        self._settings = settings
        self._clock_ns = clock_ns
        self._require_place = require_place
        self._run_id = run_id
        self._supervised_restarts = supervised_restarts
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock_ns() // 10**9))
        self._intake = Intake(
            store.find_producer, store.next_producer_id, store.own_producer(), store.tasks
        )
        self._acks = Acks(run_id, store.log_id, store.epoch, store.outcomes, store.refusals)
        self._swept_to: int | None = 0  # the orphans up to this letter; None when all are
        self._calls = Calls(store, operations, clock_ns)
        self._full_text = FullText(store, settings.fts_event_types)
        self._retry_at = 0.0
        self._busy_retries = 0
        self._in_the_way = ""  # of the last commit that did not succeed
        self._look_at_disk_at = 0.0
        self._suspended = False
        self._warned_of_disk = False
        self._last_commit_at = 0.0
        self._truncate_at = 0.0

    def step(self, now: float) -> float:
        """One turn. Returns how long (s) to wait at most, unless something can be read: 0 for
        not at all."""
        if now >= self._look_at_disk_at:
            self._look_at_disk(now)
        read_all = self._suspended or self._read_messages(now)
        asked_all = self._read_requests(now)
        if now >= self._adopter.next_scan():
            self._require_place()
        if not self._suspended and not self._is_full():
            self._adopter.step(self._intake, now, self._clock_ns())
        if self._should_commit(now, read_all and asked_all):
            self._commit(now)
        if not self._intake.batch:
            self._adopter.committed()
            if self._sweeps(now):
                self._sweep(now)
        for envelope, content in self._acks.due(now):
            self._transport.reply(envelope, content)
        self._run_calls(now)
        self._keep_full_text(now)
        self._keep_wal_small(now)
        return self._wait_at_most(now, read_all and asked_all)

    @property
    def takes_messages(self) -> bool:
        """Whether a message that can be read would be read."""
        return not self._suspended and not self._is_full()

    def finish(self, now: float) -> None:
        """Commit what was read, answer, and leave a small WAL. Reads nothing more."""
        if self._intake.batch:
            self._commit(now)
        for envelope, content in self._acks.due(now + wire.WAIT_S):
            self._transport.reply(envelope, content)
        self._reply_to_calls(self._calls.refuse_all("the writer stops; it was not run"))
        if not self._intake.batch:
            self._adopter.committed()
        self._adopter.close()
        self._store.checkpoint_truncate()

    def figures(self) -> dict[str, Any]:
        """What `hansard stats` shows. Counts since the start, sizes now."""
        store, batch, adopter = self._store, self._intake.batch, self._adopter
        return {
            "log_id": store.log_id.hex(),
            "run_id": self._run_id.hex(),
            "pid": os.getpid(),
            "epoch": store.epoch,
            "started_at": self._started_at,
            "supervised_restarts": self._supervised_restarts,
            "entries": store.size,
            "commits": store.commits,
            "uncommitted": batch.events,
            **self._accounts(),
            **self._intake.counters.as_mapping(),
            "full_text_tail": self._full_text.tail,
            "spools_adopted": adopter.adopted,
            "spools_damaged": adopter.damaged,
            "spools_of_other_logs": adopter.foreign,
            "waiting_requests": len(self._acks),
            **self._calls.figures(),
            "busy_retries": self._busy_retries,
            "suspended": self._suspended,
            "wal_bytes": store.wal_pages * PAGE_BYTES,
        }

    def _accounts(self) -> dict[str, Any]:
        """``submitted = appended + dead_lettered + waiting + dropped``, of all producers ever;
        what they themselves know is as they last said, and of those that this run has met."""
        totals = self._store.totals()
        waiting, queue_depth, report = self._intake.reported()
        dropped = {name: _carried(count) for name, count in totals.pop("dropped").items()}
        gone = sum(dropped.values())
        submitted = totals["appended"] + totals["dead_lettered"] + waiting + gone
        return {
            "submitted": _carried(submitted),
            **{name: _carried(count) for name, count in totals.items()},
            "waiting": waiting,
            "queue_depth": queue_depth,
            "dropped": dropped,
            "spool_bytes": report.spool_bytes,
            "resent": report.resent,
            "send_failures": report.send_failures,
            "writer_restarts": self._store.epoch - 1,
        }

    # --- reading ---

    def _read_messages(self, now: float) -> bool:
        """Until the batch is full; whether nothing more is to be read."""
        intake, now_ns = self._intake, self._clock_ns()
        while not self._is_full():
            parts = self._transport.message()
            if parts is None:
                return True
            intake.take_message(parts, now, now_ns)
        return False

    def _read_requests(self, now: float) -> bool:
        for _ in range(REQUESTS_PER_STEP_MAX):
            request = self._transport.request()
            if request is None:
                return True
            self._answer(*request, now)
        return False

    def _answer(self, envelope: list[bytes], content: bytes, now: float) -> None:
        """Answer a request now, or when the commit that it waits for is done."""
        if len(envelope) < 2:
            return  # no REQ sent this, and nobody could be answered
        try:
            verb, arguments = wire.unpack_request(content)
            reply = self._reply_to(verb, arguments, envelope, now)
        except wire.WireError as error:
            reply = wire.pack_error(str(error))
        if reply is not None:
            self._transport.reply(envelope, reply)

    def _reply_to(
        self, verb: str, arguments: list[Any], envelope: list[bytes], now: float
    ) -> bytes | None:
        if verb == "wait":
            wait = wire.wait_of(arguments)
            state = self._intake.state_of(wire.producer_hash(wait.producer_id))
            if state is None:
                raise wire.WireError("this producer is not known: say hello first")
            self._acks.wait(envelope, wait, state, now)
            return None
        if verb == "hello":
            hello = wire.hello_of(arguments)
            if hello.log_id not in (None, self._store.log_id):
                return self._acks.welcome_stranger()
            self._acks.greet(envelope, self._intake.greet(hello, now, self._clock_ns()))
            return None
        if verb == "lookup":
            return wire.pack_reply(verb, self._look_up(wire.lookup_of(arguments)))
        if verb == "replay":
            return wire.pack_reply(verb, self._replay(wire.replay_of(arguments), now))
        if verb == "call":
            refusal = self._calls.take(envelope, wire.call_of(arguments))
            return None if refusal is None else wire.pack_reply(verb, refusal)
        if verb == "lookup_call":
            call_id = wire.lookup_call_of(arguments).call_id
            return wire.pack_reply(verb, self._calls.look_up(call_id))
        if verb == "stats":
            return wire.pack_reply(verb, self.figures())
        raise wire.WireError(f"{verb!r:.40} is no verb of wire version {wire.WIRE_VERSION}")

    def _look_up(self, lookup: wire.Lookup) -> wire.LookupReply:
        state = self._intake.state_of(lookup.producer_hash)
        number = lookup.producer_seq
        if state is None or not 0 < number <= state.committed_watermark:
            return wire.LookupReply(outcome.UNKNOWN, -1, "", 0)
        runs, dead, _ = self._store.outcomes(state.id, number, number)
        for first, count, first_seq in runs:
            if first <= number < first + count:
                seq = first_seq + number - first
                return wire.LookupReply(outcome.COMMITTED, seq, *self._store.entry_facts(seq))
        is_orphan = bool(dead) and dead[0][2] == wire.ORPHAN
        return wire.LookupReply(outcome.ORPHANED if is_orphan else outcome.REJECTED, -1, "", 0)

    # --- dead letters with a way back ---

    def _replay(self, replay: wire.Replay, now: float) -> wire.Replayed:
        """In a transaction of its own, behind the batch's."""
        if self._suspended:
            raise wire.WireError("intake is suspended, for the disk is nearly full: make room")
        if self._intake.batch:
            self._commit(now)
        if self._intake.batch:
            raise wire.WireError(f"{self._in_the_way}: try again")
        try:
            return self._store.replay(replay, self._intake.own, self._clock_ns())
        except (StoreBusy, StoreFull) as error:
            raise wire.WireError(f"{error}: try again") from error

    def _sweeps(self, now: float) -> bool:
        """Whether there is a piece to sweep now."""
        return self._swept_to is not None and not self._suspended and now >= self._retry_at

    def _sweep(self, now: float) -> None:
        """At the start, in pieces: enter the orphans whose task was registered meanwhile, or is
        not asked for any more."""
        assert self._swept_to is not None
        try:
            replayed = self._store.sweep(self._swept_to, self._intake.own, self._clock_ns())
        except (StoreBusy, StoreFull):
            self._retry_at = now + RETRY_S
            return
        if replayed.entered:
            _LOG.info("%d orphans entered: nothing keeps them out any more", replayed.entered)
        self._swept_to = None if replayed.is_last else replayed.last_id

    # --- committing ---

    def _is_full(self) -> bool:
        batch, settings = self._intake.batch, self._settings
        return batch.events >= settings.batch_events_max or batch.bytes >= settings.batch_bytes_max

    def _should_commit(self, now: float, read_all: bool) -> bool:
        batch = self._intake.batch
        if not batch or now < self._retry_at:
            return False
        if self._is_full() or (read_all and self._acks.hurry()):
            return True
        return batch.oldest_at is not None and (
            now - batch.oldest_at >= self._settings.commit_interval
        )

    def _commit(self, now: float) -> None:
        try:
            self._store.write(self._intake.batch, self._clock_ns())
        except (StoreBusy, StoreFull) as error:
            self._retry_at, self._in_the_way = now + RETRY_S, str(error)
            if self._busy_retries % 100 == 0:
                _LOG.warning("%s: intake waits, and tries again", error)
            self._busy_retries += 1
            return
        self._intake.fresh_batch()
        self._last_commit_at = now
        self._truncate_at = now + IDLE_S

    def _run_calls(self, now: float) -> None:
        if self._suspended:
            reason = "too little disk space is left: the writer takes nothing until there is more"
            self._reply_to_calls(self._calls.refuse_all(reason))
            return
        commits_before = self._store.commits
        self._reply_to_calls(self._calls.run())
        self._calls.forget_old(now)
        if self._store.commits > commits_before:
            self._last_commit_at = now
            self._truncate_at = now + IDLE_S

    def _reply_to_calls(self, replies: Iterable[tuple[list[bytes], wire.CallReply]]) -> None:
        for envelope, reply in replies:
            self._transport.reply(envelope, wire.pack_reply("call", reply))

    # --- keeping house ---

    def _keep_full_text(self, now: float) -> None:
        """Behind a commit when there is much to do, and whatever is left when nothing is."""
        if self._suspended or now < self._retry_at or not self._full_text.tail:
            return
        try:
            if now == self._last_commit_at:
                wrote = self._full_text.keep_up()
            elif now >= self._full_text_due():
                wrote = self._full_text.index_piece()
            else:
                return
        except (StoreBusy, StoreFull):
            self._retry_at = now + RETRY_S
            return
        if wrote:
            self._truncate_at = now + IDLE_S

    def _full_text_due(self) -> float:
        """The moment from which the writer counts as idle enough to look at entries' text."""
        return inf if self._intake.batch else self._last_commit_at + FULL_TEXT_IDLE_S

    def _keep_wal_small(self, now: float) -> None:
        """PASSIVE by pages, because a blocking checkpoint would stall; TRUNCATE when idle."""
        store = self._store
        is_large = store.wal_pages * PAGE_BYTES * PASSIVE_SHARE >= self._settings.wal_bytes_target
        if is_large and self._truncate_at == now + IDLE_S:  # something was just written
            store.checkpoint_passive()
        is_idle = now >= self._truncate_at and not self._intake.batch
        if store.wal_pages and is_idle and not store.checkpoint_truncate():
            self._truncate_at = now + TRUNCATE_RETRY_S

    def _look_at_disk(self, now: float) -> None:
        self._look_at_disk_at = now + DISK_LOOK_S
        facts = os.statvfs(self._store.path.parent)
        free = facts.f_bavail * facts.f_frsize
        if free < self._settings.disk_suspend:
            if not self._suspended:
                _LOG.error("%d MiB free: intake is suspended until there is more", free >> 20)
            self._suspended = True
            return
        if self._suspended:
            _LOG.warning("%d MiB free: intake goes on", free >> 20)
            self._suspended = False
        if free < self._settings.disk_warn and not self._warned_of_disk:
            _LOG.warning("only %d MiB are free on the disk of %s", free >> 20, self._store.path)
        self._warned_of_disk = free < self._settings.disk_warn

    def _wait_at_most(self, now: float, read_all: bool) -> float:
        batch = self._intake.batch
        if len(self._calls):
            return 0.0
        if self._adopter.is_working and self.takes_messages and now >= self._retry_at:
            return 0.0
        if not read_all and self.takes_messages:
            return 0.0
        moments = [self._look_at_disk_at]
        if self.takes_messages:
            moments.append(self._adopter.next_scan())
        deadline = self._acks.next_deadline()
        if deadline is not None:
            moments.append(deadline)
        if batch:
            due = (batch.oldest_at or now) + self._settings.commit_interval
            moments.append(max(due, self._retry_at))
        elif self._store.wal_pages:
            moments.append(self._truncate_at)
        if self._full_text.tail and not self._suspended:
            moments.append(max(self._full_text_due(), self._retry_at))
        if self._swept_to is not None and not (self._suspended or batch):
            moments.append(self._retry_at)
        return max(min(moments) - now, 0.0)


def _carried(count: int) -> int:
    """Whatever producers have said of themselves, msgpack carries it."""
    return min(count, wire.INT64_MAX)
