"""The writer's loop, steppable: read, commit, answer, keep house.

One thread. `Writer.step` takes the time and never waits; whoever runs it waits between steps, so
that tests need neither threads nor sleeps.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any, Final

from hansard import wire
from hansard.settings import Settings
from hansard.wording import counted
from hansard_writer import administration, producers
from hansard_writer.accounts import accounts
from hansard_writer.acks import Acks
from hansard_writer.administration import Administration
from hansard_writer.adoption import Adopter
from hansard_writer.calls import Calls
from hansard_writer.derived.definitions import BUILT_IN, DerivedField
from hansard_writer.derived.filling import Filling
from hansard_writer.disk import Disk
from hansard_writer.full_text import FullText
from hansard_writer.intake import ANOTHERS_PRODUCER, AnothersProducer, Intake, Outcome
from hansard_writer.operations import Function
from hansard_writer.own_entries import OwnEntries
from hansard_writer.producers import Producers
from hansard_writer.pruning import Pruning
from hansard_writer.reconsidering import Reconsidering
from hansard_writer.redacting import Redacting
from hansard_writer.remote import rights
from hansard_writer.remote.allow_list import Client
from hansard_writer.remote.client_entries import ClientEntries
from hansard_writer.remote.rights import Peer
from hansard_writer.remote.turned_away import TurnedAway
from hansard_writer.retaining import Retaining
from hansard_writer.retries import Retries, StoreFull, StoreUnready
from hansard_writer.sealing import Sealer
from hansard_writer.signing import Signing
from hansard_writer.store import Store
from hansard_writer.transport import Transport
from hansard_writer.vacuuming import Vacuuming
from hansard_writer.wal_governor import WalGovernor
from hansard_writer.wiping import Wiping

REQUESTS_PER_STEP_MAX: Final = 256
LONG_REQUESTS: Final = {*administration.REQUESTS, "stats", "compare"}  # one a step
MESSAGES_PER_STEP_MAX: Final = 4_096  # which may all fill no batch
READ_BYTES_PER_STEP_MAX: Final = 4 << 20  # of frames, and of requests, unless one is larger
ENVELOPE_BYTES_MAX: Final = 1_024  # a REQ's has about ten
ENVELOPE_PARTS_MAX: Final = 8
FULL_TEXT_IDLE_S: Final = 0.1  # without a commit, before entries' text is looked at
PRUNE_INTERVAL_S: Final = 0.05  # between two pieces, unless there is nothing else to do
IN_USE_S: Final = 1.0  # without a commit: then nobody is kept waiting by who asks for much
COMPLAINT_EVERY: Final = 100  # tries that found the store not ready

_LOG: Final = logging.getLogger("hansard.writer")


class Writer:
    """One run of a log's writer, over a store and a transport that it does not own.

    ``require_place`` raises when directory or database are not those any more that it serves. With
    an ``owner_token``, only who knows it takes out of the log, or changes who signs it.
    ``clients`` gives the allow-list as it is now, None where no other host is served.
    """

    def __init__(
        self,
        store: Store,
        transport: Transport,
        adopter: Adopter,
        settings: Settings,
        run_id: bytes,
        signing: Signing,
        *,
        operations: Mapping[str, Function] = MappingProxyType({}),
        read_declared: Callable[[], Sequence[DerivedField]] = lambda: BUILT_IN,
        clock_ns: Callable[[], int] = time.time_ns,
        require_place: Callable[[], None] = lambda: None,
        owner_token: bytes | None = None,
        supervised_restarts: int | None = None,
        turned_away: TurnedAway | None = None,
        clients: Callable[[], tuple[Client, ...]] | None = None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._adopter = adopter
        self._settings = settings
        self._clock_ns = clock_ns
        self._require_place = require_place
        self._owner_token = owner_token
        self._run_id = run_id
        self._supervised_restarts = supervised_restarts
        self._turned_away = turned_away or TurnedAway()
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock_ns() // 10**9))
        self._intake = Intake(
            store.find_producer, store.next_producer_id, store.own_producer(), store.tasks
        )
        self._acks = Acks(run_id, store.log_id, store.epoch, store.outcomes, store.refusals)
        self._producers = Producers(store, self._intake, self._acks, clock_ns)
        own = OwnEntries(store, self._intake.own, clock_ns)
        self._letters = Reconsidering(store, own)
        self._client_entries = ClientEntries(store, own, clients)
        self._sealer = Sealer(store, signing, settings.checkpoint_interval, clock_ns)
        self._calls = Calls(store, operations, clock_ns)
        self._full_text = FullText(store, settings.fts_event_types)
        self._pruning = Pruning(store, own, self._full_text, lambda: self._sealer.sealed_to)
        self._prune_at = 0.0
        self._retaining = Retaining(store, self._pruning, settings, clock_ns)
        self._filling = Filling(store, read_declared, self._is_in_use)
        self._administration = Administration(
            self._letters,
            Redacting(store, own, self._full_text),
            Wiping(store),
            self._pruning,
            Vacuuming(store, settings.wal_bytes_target),
            self._sealer,
            own,
            self._filling,
        )
        self._losses_told = 0
        self._retries = Retries()
        self._disk = Disk(store.path.parent, settings)
        self._governor = WalGovernor(store.handle, settings)
        self._last_commit_at = 0.0
        self._now = 0.0  # of the present step

    def step(self, now: float) -> float:
        """One turn. Returns how long (s) to wait at most, unless something can be read: 0 for
        not at all."""
        self._now = now
        if now >= self._disk.next_look:
            self._look_at_disk(now)
        self._say_who_may_come(now)
        read_all = self._disk.suspended or self._read_messages(now)
        asked_all = self._read_requests(now)
        if now >= self._adopter.next_scan():
            self._require_place()
        if not self._disk.suspended and not self._is_full():
            self._adopter.step(self._intake, now, self._clock_ns())
        if self._should_commit(now, read_all and asked_all):
            self._commit(now)
            asked_all = asked_all and self._read_requests(now)  # of urgent frames, their waits
        if not self._intake.batch:
            self._adopter.committed()
            if self._sweeps(now):
                self._work(self._letters.sweep, now)
        for envelope, content in self._acks.due(now):
            self._transport.reply(envelope, content)
        self._run_calls(now)
        self._keep_full_text(now)
        if not self._disk.suspended and now >= max(self._sealer.due, self._retries.at):
            self._seal()
        self._prune(now)
        self._retain(now)
        self._governor.step(now, is_idle=not self._intake.batch)
        return self._wait_at_most(now, read_all and asked_all)

    @property
    def takes_messages(self) -> bool:
        """Whether a message that can be read would be read."""
        return not self._disk.suspended and not self._is_full()

    def finish(self, now: float) -> None:
        """Commit what was read, answer, and leave a small WAL. Reads nothing more."""
        if self._intake.batch:
            self._commit(now)
        for envelope, content in self._acks.due(now + wire.WAIT_S):
            self._transport.reply(envelope, content)
        self._reply_to_calls(self._calls.refuse_all("the writer stops; it was not run"))
        if self._sealer.due < inf:
            self._seal()
        if not self._intake.batch:
            self._adopter.committed()
        self._adopter.close()
        self._store.handle.checkpoint_truncate()

    def figures(self) -> dict[str, Any]:
        """What `hansard stats` shows. Counts since the start, sizes now."""
        store, batch = self._store, self._intake.batch
        return {
            "log_id": store.log_id.hex(),
            "run_id": self._run_id.hex(),
            "pid": os.getpid(),
            "epoch": store.epoch,
            "started_at": self._started_at,
            "supervised_restarts": self._supervised_restarts,
            "entries": store.size,
            **store.figures(),
            "uncommitted": batch.events,
            **accounts(store, self._intake),
            **self._intake.counters.as_mapping(),
            "full_text_tail": self._full_text.tail,
            "pruned_to": self._pruning.state.pruned_to,
            "to_be_pruned": self._pruning.left,
            **self._retaining.figures(),
            **self._adopter.figures(),
            **self._acks.figures(),
            **self._calls.figures(),
            "busy_retries": self._retries.count,
            "held_up_by": self._retries.why if batch else "",
            "store_errors": dict(store.handle.errors),
            **self._disk.figures(),
            **self._governor.figures(self._now),
            **self._sealer.figures(),
            "turned_away": self._turned_away.figures(),
        }

    def _is_in_use(self) -> bool:
        return self._now - self._last_commit_at < IN_USE_S

    # --- reading ---

    def _read_messages(self, now: float) -> bool:
        """Until the batch is full, or it is others' turn; whether nothing more is to be read."""
        intake, now_ns = self._intake, self._clock_ns()
        room = READ_BYTES_PER_STEP_MAX
        for _ in range(MESSAGES_PER_STEP_MAX):
            if room < 0 or self._is_full():
                break
            message = self._transport.message()
            if message is None:
                return True
            parts, peer = message
            room -= sum(map(len, parts))
            if peer is not None and not self._may_record(peer):
                continue
            outcome = intake.take_message(parts, now, now_ns, peer and peer.name)
            if outcome is Outcome.ANOTHERS:
                self._turned_away.message(ANOTHERS_PRODUCER, "frame", peer)
        return False

    def _may_record(self, peer: Peer) -> bool:
        try:
            rights.require(peer, rights.FRAMES)
        except rights.RightMissing as error:
            self._turned_away.message(error.reason, "frame", peer)
            return False
        return True

    def _read_requests(self, now: float) -> bool:
        room = READ_BYTES_PER_STEP_MAX
        for _ in range(REQUESTS_PER_STEP_MAX):
            if room < 0:
                break
            request = self._transport.request()
            if request is None:
                return True
            room -= len(request[1])
            if self._answer(*request, now) in LONG_REQUESTS:
                break
        return False

    def _answer(self, envelope: list[bytes], content: bytes, peer: Peer | None, now: float) -> str:
        """Answer a request now, or when the commit that it waits for is done; its verb."""
        verb = ""
        if not 2 <= len(envelope) <= ENVELOPE_PARTS_MAX:
            return verb  # no REQ sent this, and nobody could be answered
        if sum(map(len, envelope)) > ENVELOPE_BYTES_MAX:
            return verb
        try:
            asked = wire.unpack_request(content)
            if peer is None:
                verb, arguments = administration.permitted(*asked, self._owner_token)
            else:
                verb, arguments = rights.permitted(*asked, peer)
            reply = self._reply_to(verb, arguments, envelope, peer and peer.name, now)
        except wire.WireError as error:
            if isinstance(error, rights.RightMissing | AnothersProducer):
                self._turned_away.message(error.reason, "request", peer)
            reply = wire.pack_error(str(error))
        if reply is not None:
            self._transport.reply(envelope, reply)
        return verb

    def _reply_to(
        self,
        verb: str,
        arguments: list[Any],
        envelope: list[bytes],
        client: str | None,
        now: float,
    ) -> bytes | None:
        if verb in administration.REQUESTS:
            return wire.pack_reply(verb, self._administer(verb, arguments, now))
        if verb == "call":
            refusal = self._calls.take(envelope, wire.call_of(arguments))
            return None if refusal is None else wire.pack_reply(verb, refusal)
        if verb == "lookup_call":
            call_id = wire.lookup_call_of(arguments).call_id
            return wire.pack_reply(verb, self._calls.look_up(call_id))
        if verb == "stats":
            return wire.pack_reply(verb, self.figures())
        if verb in producers.VERBS:
            return self._producers.reply_to(verb, arguments, envelope, client, now)
        raise wire.WireError(f"{verb!r:.40} is no verb of wire version {wire.WIRE_VERSION}")

    def _administer(self, verb: str, arguments: list[Any], now: float) -> tuple[Any, ...]:
        """In a transaction of its own, behind the batch's."""
        asked = administration.REQUESTS[verb](arguments)
        if known := self._administration.known(asked):
            return known
        if self._disk.suspended and administration.needs_room(asked):
            raise wire.WireError(f"intake is suspended: {self._disk.reason}")
        if self._intake.batch and now >= self._retries.at:
            self._commit(now)
        if self._intake.batch or now < self._retries.at:
            raise wire.WireError(f"{self._retries.why}: try again")
        self._require_place()  # before anything is signed
        try:
            done = self._administration.do(asked, now)
        except StoreUnready as error:
            self._hold_up(error, now)
            raise wire.WireError(f"{error}: try again") from error
        self._require_place()  # before anybody hears of it
        self._governor.wrote(now)
        return done

    # --- letters that come back by themselves ---

    def _sweeps(self, now: float) -> bool:
        """Whether there is a piece to sweep now."""
        return not (self._letters.has_swept or self._disk.suspended) and now >= self._retries.at

    # --- committing ---

    def _is_full(self) -> bool:
        batch, settings = self._intake.batch, self._settings
        return batch.events >= settings.batch_events_max or batch.bytes >= settings.batch_bytes_max

    def _should_commit(self, now: float, read_all: bool) -> bool:
        batch = self._intake.batch
        if not batch or now < self._retries.at:
            return False
        if self._is_full() or (read_all and (batch.is_urgent or self._acks.hurry())):
            return True
        return batch.oldest_at is not None and (
            now - batch.oldest_at >= self._settings.commit_interval
        )

    def _commit(self, now: float) -> None:
        try:
            self._store.write(self._intake.batch, self._clock_ns())
        except StoreUnready as error:
            self._hold_up(error, now)
            return
        self._require_place()  # before anybody hears that it is committed
        self._intake.fresh_batch()
        self._tell_of_losses()
        self._wrote(now)

    def _tell_of_losses(self) -> None:
        """The log says it for ever; who looks after the writer should hear it now."""
        reports = self._intake.counters.lost_reports
        if reports > self._losses_told:
            entries = counted(reports - self._losses_told, "entry", "entries")
            _LOG.warning("%s hansard.lost: see hansard query --event-type hansard.lost", entries)
            self._losses_told = reports

    def _wrote(self, now: float) -> None:
        self._retries.succeeded()
        self._last_commit_at = now
        self._governor.wrote(now)

    def _hold_up(self, error: StoreUnready, now: float) -> None:
        """What was to be written is kept, and tried again; on a full disk there is room first."""
        if self._retries.count % COMPLAINT_EVERY == 0:
            _LOG.warning("%s: intake waits, and tries again", error)
        self._retries.failed(error, now)
        if isinstance(error, StoreFull):
            self._look_at_disk(now)
            self._governor.make_room(now)

    def _look_at_disk(self, now: float) -> None:
        self._require_place()  # or there is no disk to look at
        is_waited_for = bool(self._intake.batch) and bool(self._retries.why)
        self._disk.look(now, self._store.handle.fulls, is_waited_for=is_waited_for)
        self._acks.suspended = self._disk.reason

    def _run_calls(self, now: float) -> None:
        if self._disk.suspended:
            reason = f"the writer takes nothing: {self._disk.reason}"
            self._reply_to_calls(self._calls.refuse_all(reason))
            return
        commits_before = self._store.commits
        self._reply_to_calls(self._calls.run())
        self._calls.forget_old(now)
        if self._store.commits > commits_before:
            self._last_commit_at = now
            self._governor.wrote(now)

    def _reply_to_calls(self, replies: Iterable[tuple[list[bytes], wire.CallReply]]) -> None:
        for envelope, reply in replies:
            if reply.status == wire.COMMITTED:
                self._require_place()  # before anybody hears of it
            self._transport.reply(envelope, wire.pack_reply("call", reply))

    # --- keeping house ---

    def _say_who_may_come(self, now: float) -> None:
        """Before anything is read of them."""
        if now >= self._client_entries_due():
            if self._intake.batch:
                self._commit(now)
            if not self._intake.batch:
                self._work(self._client_entries.say, now)

    def _client_entries_due(self) -> float:
        news = self._client_entries.has_news and not self._disk.suspended
        return self._retries.at if news else inf

    def _work(self, piece: Callable[[], bool], now: float) -> bool:
        """Do a piece of the log's own work; whether something was written."""
        try:
            wrote = piece()
        except StoreUnready as error:
            self._hold_up(error, now)
            return False
        if wrote:
            self._retries.succeeded()
            self._governor.wrote(now)
        return wrote

    def _keep_full_text(self, now: float) -> None:
        """Behind a commit when there is much to do, and whatever is left when nothing is."""
        if self._disk.suspended or now < self._retries.at or not self._full_text.tail:
            return
        if now == self._last_commit_at:
            self._work(self._full_text.keep_up, now)
        elif now >= self._full_text_due():
            self._work(self._full_text.index_piece, now)

    def _full_text_due(self) -> float:
        """The moment from which the writer counts as idle enough to look at entries' text."""
        return inf if self._intake.batch else self._last_commit_at + FULL_TEXT_IDLE_S

    def _seal(self) -> None:
        self._require_place()  # before it is signed
        self._work(lambda: self._sealer.seal(self._now), self._now)

    def _prune(self, now: float) -> None:
        """A piece at a time, and none while a reader makes the WAL grow with each."""
        if now < self._prune_due():
            return
        wrote = False
        if self._disk.suspended:
            self._pruning.held_up_by = f"intake is suspended: {self._disk.reason}"
        elif self._store.handle.wal_bytes > self._settings.wal_bytes_target:
            self._pruning.held_up_by = "the WAL is too large: perhaps a reader keeps it"
        else:
            wrote = self._work(self._pruning.step, now)
        is_idle = now >= self._full_text_due()
        self._prune_at = now if wrote and is_idle else now + PRUNE_INTERVAL_S

    def _prune_due(self) -> float:
        return max(self._prune_at, self._retries.at) if self._pruning.has_work else inf

    def _retain(self, now: float) -> None:
        if now >= self._retention_due():
            is_idle = now >= self._full_text_due()
            self._work(lambda: self._retaining.step(now, is_idle=is_idle), now)

    def _retention_due(self) -> float:
        """Not within a batch, nor while something is being pruned."""
        if self._intake.batch or self._pruning.has_work or self._disk.suspended:
            return inf
        return max(self._retaining.due, self._retries.at)

    def _wait_at_most(self, now: float, read_all: bool) -> float:
        batch = self._intake.batch
        if len(self._calls):
            return 0.0
        if self._adopter.is_working and self.takes_messages and now >= self._retries.at:
            return 0.0
        if not read_all and self.takes_messages:
            return 0.0
        moments = [self._disk.next_look, self._governor.due(is_idle=not batch)]
        if self.takes_messages:
            moments.append(self._adopter.next_scan())
        deadline = self._acks.next_deadline()
        if deadline is not None:
            moments.append(deadline)
        if batch:
            due = (batch.oldest_at or now) + self._settings.commit_interval
            moments.append(max(due, self._retries.at))
        if not self._disk.suspended:
            moments.append(max(self._sealer.due, self._retries.at))
        if self._full_text.tail and not self._disk.suspended:
            moments.append(max(self._full_text_due(), self._retries.at))
        moments += [self._prune_due(), self._retention_due(), self._client_entries_due()]
        if not (self._letters.has_swept or self._disk.suspended or batch):
            moments.append(self._retries.at)
        return max(min(moments) - now, 0.0)
