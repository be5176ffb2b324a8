"""What producers ask: hello, wait, compare, lookup. The answers, or who is to wait for them.

A producer belongs to the client on whose key it said its first hello, or to this host: nobody else
is told of it, or moves it. Frames are the intake's.
"""

from collections.abc import Callable
from typing import Any, Final

from hansard import entry as outcome
from hansard import wire
from hansard_writer.acks import Acks
from hansard_writer.intake import Intake, ProducerState
from hansard_writer.store import Store

VERBS: Final = frozenset({"hello", "wait", "compare", "lookup"})


class Producers:
    """Those of one log, in one run of its writer. ``client`` is the name of the key on which
    somebody asks, None over ipc."""

    def __init__(
        self, store: Store, intake: Intake, acks: Acks, clock_ns: Callable[[], int]
    ) -> None:
        self._store = store
        self._intake = intake
        self._acks = acks
        self._clock_ns = clock_ns

    def reply_to(
        self,
        verb: str,
        arguments: list[Any],
        envelope: list[bytes],
        client: str | None,
        now: float,
    ) -> bytes | None:
        """The answer to one of `VERBS`, None if it waits for a commit. Raises `WireError`."""
        if verb == "wait":
            wait = wire.wait_of(arguments)
            self._acks.wait(envelope, wait, self._greeted(wait.producer_id, client), now)
            return None
        if verb == "hello":
            return self._greet(envelope, wire.hello_of(arguments), client, now)
        if verb == "compare":
            return wire.pack_reply(verb, self._compare(wire.compare_of(arguments), client))
        return wire.pack_reply(verb, self._look_up(wire.lookup_of(arguments), client))

    def _greet(
        self, envelope: list[bytes], hello: wire.Hello, client: str | None, now: float
    ) -> bytes | None:
        if hello.log_id not in (None, self._store.log_id):
            return self._acks.welcome_stranger()
        if not self._intake.has_room_for(hello):
            raise wire.WireError("too many report losses, and none is committed: hello again")
        state = self._intake.greet(hello, now, self._clock_ns(), client)
        self._acks.greet(envelope, state, now)
        return None

    def _greeted(self, producer_id: bytes, client: str | None) -> ProducerState:
        state = self._intake.state_of(wire.producer_hash(producer_id))
        if state is None:
            raise wire.WireError("this producer is not known: say hello first")
        state.require_of(client)
        return state

    def _compare(self, frame: wire.Frame, client: str | None) -> wire.Ack:
        state = self._greeted(frame.producer_id, client)
        return self._acks.compared(state, frame, self._store.held(state.id, frame))

    def _look_up(self, lookup: wire.Lookup, client: str | None) -> wire.LookupReply:
        """Over ipc of any producer: who gets that far can also read the log."""
        state = self._intake.state_of(lookup.producer_hash)
        number = lookup.producer_seq
        if state is None or not 0 < number <= state.committed_watermark:
            return wire.LookupReply(outcome.UNKNOWN, -1, "", 0)
        if client is not None:
            state.require_of(client)
        runs, dead, _ = self._store.outcomes(state.id, number, number)
        for first, count, first_seq in runs:
            if first <= number < first + count:
                seq = first_seq + number - first
                return wire.LookupReply(outcome.COMMITTED, seq, *self._store.entry_facts(seq))
        is_orphan = bool(dead) and dead[0][2] == wire.ORPHAN
        return wire.LookupReply(outcome.ORPHANED if is_orphan else outcome.REJECTED, -1, "", 0)
