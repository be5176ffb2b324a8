"""Calls of named operations: who waits for which, when each is run, and what became of it.

It runs them one at a time, each in a transaction of its own, and keeps the outcome there. It reads
no sockets; what SQL an operation may use is `hansard_writer.operation_connection`'s business.
"""

import contextlib
import faulthandler
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgpack

from hansard import wire
from hansard.calls import pack_value, unpack_value
from hansard.wording import counted
from hansard_writer.operation_connection import OperationConnection, OperationError, guarded
from hansard_writer.operations import Function, place_of, text_of
from hansard_writer.retries import StoreUnready
from hansard_writer.store import Store

WAITING_MAX: Final = 1_000
WAITING_BYTES_MAX: Final = 16 << 20  # of their parameters
RUN_PER_STEP_MAX: Final = 32
SLICE_S: Final = 0.02  # after it no further call is begun in a step: frames must flow

OPERATION_S_MAX: Final = 5.0
HANG_GRACE_S: Final = 1.0  # on top, before the watchdog takes Python for hung
REASON_CHARS_MAX: Final = 500

KEPT_S: Final = 3_600  # how long an outcome is kept
FORGET_INTERVAL_S: Final = 60.0
FORGOTTEN_AT_ONCE_MAX: Final = 1_000
REJECTIONS_KEPT_MAX: Final = 1_000  # an interval; of the others nothing is lost but the reason

_STDERR: Final = 2
_NS: Final = 1_000_000_000
_INSERT: Final = (
    "INSERT INTO calls(call_id, created_at, name, outcome) VALUES(?,?,?,?) ON CONFLICT DO NOTHING"
)
_FORGET: Final = (
    "DELETE FROM calls WHERE call_id IN"
    " (SELECT call_id FROM calls WHERE created_at < ? ORDER BY created_at LIMIT ?)"
)

_LOG: Final = logging.getLogger("hansard.writer")

Envelope = list[bytes]


class _Waiting(NamedTuple):
    envelope: Envelope
    call: wire.Call


class Calls:
    """The calls of one run of a writer. `take` queues one, `run` runs some and yields replies.

    A call id that has an outcome is answered from it and MUST NOT be run again.
    """

    def __init__(
        self,
        store: Store,
        operations: Mapping[str, Function],
        clock_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._operations = operations
        self._clock_ns = clock_ns
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._forget_at = 0.0
        self._rejections_kept = 0  # since the last look for old ones
        self._run_count = 0
        self._rejected_count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def figures(self) -> dict[str, int]:
        """For `hansard stats`."""
        return {
            "calls_run": self._run_count,
            "calls_rejected": self._rejected_count,
            "calls_waiting": len(self._waiting),
        }

    def take(self, envelope: Envelope, call: wire.Call) -> wire.CallReply | None:
        """Queue a call; the reply where it is refused at once."""
        if call.name not in self._operations:
            return self._refused(self._unknown_name(call.name))
        size = len(call.params)
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_BYTES_MAX:
            waiting = f"{len(self._waiting):,} calls wait"
            return self._refused(f"the writer is busy: {waiting}; try again later")
        self._waiting.append(_Waiting(envelope, call))
        self._waiting_bytes += size
        return None

    def look_up(self, call_id: bytes) -> wire.CallReply:
        """What is known of a call."""
        if any(waiting.call.call_id == call_id for waiting in self._waiting):
            return wire.CallReply(wire.QUEUED, None)
        kept = self._store.call_outcome(call_id)
        return wire.CallReply(wire.UNKNOWN, None) if kept is None else _unpacked(kept)

    def run(self) -> Iterator[tuple[Envelope, wire.CallReply]]:
        """Run what waits, for a moment. A reply is yielded after the commit that it speaks of."""
        until = time.monotonic() + SLICE_S
        rejected: list[tuple[_Waiting, wire.CallReply]] = []
        for _ in range(min(len(self._waiting), RUN_PER_STEP_MAX)):
            waiting = self._next()
            kept = self._store.call_outcome(waiting.call.call_id)
            if kept is not None:
                yield waiting.envelope, _unpacked(kept)
                continue
            reply = self._outcome(waiting.call)
            if reply.status == wire.COMMITTED:
                yield waiting.envelope, reply
            else:
                rejected.append((waiting, reply))
            if time.monotonic() >= until:
                break
        self._keep_rejections(rejected)
        for waiting, reply in rejected:
            yield waiting.envelope, reply

    def refuse_all(self, reason: str) -> Iterator[tuple[Envelope, wire.CallReply]]:
        """Answer all that wait: they are not run."""
        while self._waiting:
            yield self._next().envelope, self._refused(reason)

    def forget_old(self, now: float) -> None:
        """Delete outcomes that are older than `KEPT_S`, in pieces: at most one a call, and no
        further look for `FORGET_INTERVAL_S` when none is left."""
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_INTERVAL_S
        self._rejections_kept = 0
        before = self._clock_ns() - KEPT_S * _NS
        if not self._store.has_calls_before(before):
            return
        with contextlib.suppress(StoreUnready), self._store.transaction() as connection:
            connection.execute(_FORGET, (before, FORGOTTEN_AT_ONCE_MAX))
            if connection.changes() == FORGOTTEN_AT_ONCE_MAX:
                self._forget_at = now

    # --- inside ---

    def _next(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self._waiting_bytes -= len(waiting.call.params)
        return waiting

    def _outcome(self, call: wire.Call) -> wire.CallReply:
        """Run a call whose time is not over, and keep its outcome if it succeeds."""
        left_s = (call.deadline - self._clock_ns()) / _NS
        if left_s <= 0:
            return self._refused("its deadline passed before it could be run; it was not run")
        try:
            params = unpack_value(call.params)
        except Exception as error:  # noqa: BLE001 - msgpack raises a dozen unrelated types
            return self._refused(f"its params are no msgpack: {error}")
        function = self._operations[call.name]
        try:
            with self._store.transaction() as connection:
                with watchdog(), guarded(connection, min(left_s, OPERATION_S_MAX)) as given:
                    packed = _run(function, given, params)
                reply = wire.CallReply(wire.COMMITTED, packed)
                self._keep(connection, call, reply)
        except StoreUnready as error:
            return self._refused(f"{error}: nothing of it was kept; try again later")
        except OperationError as error:
            where = place_of(error, function)
            _LOG.warning("operation %r was rejected: %s (%s)", call.name, error, where)
            return self._refused(str(error))
        self._run_count += 1
        return reply

    def _keep_rejections(self, rejected: list[tuple[_Waiting, wire.CallReply]]) -> None:
        """In one transaction. Where that fails nothing is lost but the reason: they did nothing."""
        rejected = rejected[: max(REJECTIONS_KEPT_MAX - self._rejections_kept, 0)]
        if not rejected:
            return
        self._rejections_kept += len(rejected)
        try:
            with self._store.transaction() as connection:
                for waiting, reply in rejected:
                    self._keep(connection, waiting.call, reply)
        except StoreUnready as error:
            calls = counted(len(rejected), "rejected call")
            _LOG.warning("%s: the reasons of %s are not kept", error, calls)

    def _keep(self, connection: Any, call: wire.Call, reply: wire.CallReply) -> None:
        outcome = msgpack.packb(reply)
        connection.execute(_INSERT, (call.call_id, self._clock_ns(), call.name, outcome))

    def _refused(self, reason: str) -> wire.CallReply:
        self._rejected_count += 1
        return wire.CallReply(wire.REJECTED, reason[:REASON_CHARS_MAX])

    def _unknown_name(self, name: str) -> str:
        if not self._operations:
            return (
                f"this writer knows no operation {name!r}: start it with "
                "`hansard serve --operations package.module`"
            )
        known = ", ".join(sorted(self._operations))
        return f"this writer knows no operation {name!r}; it knows {known}"


@contextlib.contextmanager
def watchdog() -> Iterator[None]:
    """End the process, with a traceback of it on stderr, if the block hangs: also where it holds
    the interpreter's lock. What a supervisor starts then finds nothing half done: the transaction
    was open. A caller in a hurry MUST NOT be able to cause that, so it allows everybody the same.
    """
    faulthandler.dump_traceback_later(OPERATION_S_MAX + HANG_GRACE_S, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _run(function: Function, connection: OperationConnection, params: Any) -> bytes:
    """The packed result; raises `OperationError` for whatever goes wrong in the function."""
    writer = os.getpid()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout may be a pipe that nobody reads
            result = function(connection, params)
    except OperationError:
        raise
    except BaseException as error:  # of signals too: theirs only set a flag here
        raise OperationError(text_of(error)) from error
    finally:
        if os.getpid() != writer:  # a child of the function's own: no second writer may go on
            os._exit(1)
    try:
        return pack_value("its result", result)
    except ValueError as error:
        raise OperationError(str(error)) from error


def _unpacked(kept: bytes) -> wire.CallReply:
    return wire.call_reply_of(msgpack.unpackb(kept))
