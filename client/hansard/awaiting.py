"""`record` and `flush` for asyncio: the event loop's thread never waits, for a lock or a writer.

What takes no time is done in the loop's own thread. What may wait (for room, for the spool to be
made, for a lock that another thread holds) is done in the loop's executor; a wait for the writer
takes no thread at all: the ticket calls back. Loaded at the first use, because it loads asyncio.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TypeVar

from hansard.entry import Entry
from hansard.producer import NO_ROOM, TELL, Producer
from hansard.settling import Facts, Settling
from hansard.tickets import Ticket

Result = TypeVar("Result")


async def append(
    producer: Producer, settling: Settling, data: bytes, facts: Facts, seq: int
) -> Entry:
    """`AuditLog.record` from where `Producer.append_at_once` gave no number but ``seq``."""
    if seq == NO_ROOM:
        seq = await asyncio.to_thread(producer.append, data)
    return settling.queued(seq, facts)


async def record(
    producer: Producer, settling: Settling, data: bytes, facts: Facts, wait_s: float
) -> Entry:
    """`AuditLog.record` from where the event is encoded, and its caller waits for the ack."""
    seq, ticket, is_settled = await _append_awaited(producer, data, wait_s)
    return settling.outcome(seq, ticket, is_settled, facts)


async def _append_awaited(
    producer: Producer, data: bytes, wait_s: float
) -> tuple[int, Ticket | None, bool]:
    """`Producer.append_awaited`, and whether the ticket was settled within ``wait_s`` seconds."""
    settled, callback = _signal()
    deadline = monotonic() + wait_s
    ticket: Ticket | None = None
    with producer.at_once() as is_free:
        if is_free:
            seq, ticket = producer.append_awaited(data, TELL, callback)
        else:
            seq = NO_ROOM
    if seq == NO_ROOM:
        seq, ticket = await _in_thread(
            partial(producer.append_awaited, data, None, callback),
            undo=lambda result: _give_up(producer, result[1]),
        )
    if ticket is None:
        return seq, None, False
    return seq, ticket, await _is_settled(producer, ticket, settled, deadline - monotonic())


async def flush(producer: Producer, wait_s: float) -> tuple[Ticket, bool]:
    """A ticket for all that was recorded, and whether it was settled within ``wait_s`` seconds."""
    settled, callback = _signal()
    take = partial(producer.ticket, producer.seq, wants_outcome=False, on_settled=callback)
    ticket: Ticket | None = None
    with producer.at_once() as is_free:
        if is_free:
            ticket = take()
    if ticket is None:
        ticket = await _in_thread(take, undo=lambda result: _give_up(producer, result))
    return ticket, await _is_settled(producer, ticket, settled, wait_s)


def _signal() -> tuple["asyncio.Future[None]", Callable[[], None]]:
    """A future, and what to call from any thread to have it done."""
    loop = asyncio.get_running_loop()
    settled: asyncio.Future[None] = loop.create_future()

    def resolve() -> None:
        if not settled.done():
            settled.set_result(None)

    def callback() -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(resolve)

    return settled, callback


async def _is_settled(
    producer: Producer, ticket: Ticket, settled: "asyncio.Future[None]", wait_s: float
) -> bool:
    """Wait; who is cancelled or has waited long enough gives the ticket up."""
    try:
        await asyncio.wait([settled], timeout=max(wait_s, 0))
        return settled.done()
    finally:
        if not settled.done():
            _give_up(producer, ticket)


def _give_up(producer: Producer, ticket: Ticket | None) -> None:
    if ticket is None:
        return
    with producer.at_once() as is_free:
        if is_free:
            producer.give_up(ticket)
            return
    try:
        asyncio.get_running_loop().run_in_executor(None, producer.give_up, ticket)
    except RuntimeError:  # the loop has ended: there is none to block
        producer.give_up(ticket)


async def _in_thread(work: Callable[[], Result], undo: Callable[[Result], None]) -> Result:
    """What ``work`` returns; if the caller is cancelled meanwhile, ``undo`` gets it."""

    def undone(future: "asyncio.Future[Result]") -> None:
        if not future.cancelled() and future.exception() is None:
            undo(future.result())

    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(undone)
        raise
