"""From a stream of batches, of many logs, to a target.

What is in the stream is not trusted: each batch is recomputed behind what the target has of its
log, and held against its checkpoint; with keys, against their signatures too. What the target has
already is passed over. So is what does not verify, or is no batch: it is told, and if it was needed
nothing of that log can come behind it, which is told as well, and the other logs go on.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from hansard_writer.proof.checkpoint import open_checkpoint
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.signed_note import NoteError, VerifierKey
from hansard_writer.shipping.batch import Batch, DoesNotVerify, MalformedBatch
from hansard_writer.shipping.delivery import TRIES_ONCE, Open, backoff_s
from hansard_writer.shipping.jetstream.messages import Joiner, Message, read_batch
from hansard_writer.shipping.target import Gathers, Target, TargetUnavailable

EDGES_REMEMBERED_MAX: Final = 10_000


class Source(Protocol):
    """Messages of a stream, in its order, each until it is acked. One thread's. It raises
    `TargetUnavailable` and `TargetRefused`, and is to be closed then."""

    name: str
    """For people, without passwords."""

    end: int
    """The number of the last message that was there when it was opened."""

    def fetch(self) -> list[Message]:
        """Those that come next, after a while none."""

    def ack(self, messages: list[Message]) -> None:
        """They are in the target, or will never be, and need not come again."""

    def is_at_end(self) -> bool:
        """Whether nothing is left, where nothing was fetched."""

    def close(self) -> None:
        """Let go of it. Idempotent, and raises nothing."""


class Relayed(NamedTuple):
    """What it came to: batches and entries that are in the target now, and messages of which
    nothing is, though it did not have it."""

    batches: int = 0
    entries: int = 0
    refused: int = 0


class Observer:
    """Hears how it goes. Nothing that it does changes it."""

    def goes_on(self, pending: int) -> None:
        """A message is done with, and so many are behind it."""

    def is_held_up(self, why: str, wait_s: float) -> None:
        """The stream or the target cannot go on now; the next try is in so many seconds."""

    def refused(self, message: Message, why: str) -> None:
        """Nothing of a message is shipped."""


class Relay:
    """Ships what comes through a stream to a target. `run` once; `stop` from anywhere."""

    def __init__(
        self,
        open_source: Callable[[], Source],
        open_target: Open,
        observer: Observer,
        keys: Sequence[VerifierKey] = (),
    ) -> None:
        self._open_source = open_source
        self._open_target = open_target
        self._observer = observer
        self._keys = keys
        self._stopping = threading.Event()
        self._relayed = Relayed()
        self._failures = 0
        self._edges: dict[str, Edge] = {}
        self._joiner = Joiner()
        self._stranded: set[str] = set()  # logs of which it was told that something is missing

    def stop(self) -> None:
        """End behind the message that is on its way. For signal handlers, too."""
        self._stopping.set()

    def run(self, *, once: bool = False) -> Relayed:
        """Ship until told to stop, or, with ``once``, what is in the stream now. Raises
        `TargetRefused`, `TargetTaken`; with ``once`` `TargetUnavailable` too, after a few tries."""
        while not self._stopping.is_set():
            try:
                self._relay(once)
                break
            except TargetUnavailable as error:
                self._failures += 1
                if once and self._failures >= TRIES_ONCE:
                    raise
                wait_s = backoff_s(self._failures)
                self._observer.is_held_up(str(error), wait_s)
                self._stopping.wait(wait_s)
        return self._relayed

    def _relay(self, once: bool) -> None:
        """Over one connection to each."""
        target = self._open_target()
        try:
            source = self._open_source()
            try:
                self._edges.clear()
                self._joiner = Joiner()
                while not self._stopping.is_set():
                    messages = source.fetch()
                    for message in messages:
                        self._take(message, source, target)
                    if isinstance(target, Gathers):
                        target.put_away_due()
                    last = messages[-1].number if messages else 0
                    if once and (last >= source.end or (not messages and source.is_at_end())):
                        break
            finally:
                source.close()
        finally:
            target.close()

    def _take(self, message: Message, source: Source, target: Target) -> None:
        """Ship what a message completes, then ack it."""
        done = [message]
        try:
            joined = self._joiner.take(message)
            if joined is None:
                return
            done = joined.messages
            self._ship(read_batch(joined), target)
        except (DoesNotVerify, MalformedBatch) as error:
            self._count(refused=1)
            self._observer.refused(message, str(error))
        except _Gap as gap:
            self._count(refused=1)
            if gap.origin not in self._stranded:
                self._stranded.add(gap.origin)
                self._observer.refused(message, str(gap))
        source.ack(done)
        self._failures = 0
        self._observer.goes_on(message.pending)

    def _ship(self, batch: Batch, target: Target) -> None:
        edge = self._edge(batch.origin, target)
        if batch.last <= edge.size:
            return
        batch = batch.behind(edge.size)
        if batch.before > edge.size and batch.begun is None:
            raise _Gap(batch.origin, edge.size + 1, batch.before, target.name)
        self._require_signed(batch)
        checked = batch.checked(edge)
        self._edges.pop(batch.origin)  # until it is known where it stands
        target.append(batch, checked)
        self._remember(batch.origin, checked.edge)
        self._stranded.discard(batch.origin)
        self._count(batches=1, entries=len(batch.rows))

    def _require_signed(self, batch: Batch) -> None:
        """Raises `DoesNotVerify` unless given keys have signed all its checkpoints."""
        if not self._keys:
            return
        for note in batch.notes:
            try:
                open_checkpoint(note, self._keys, origin=batch.origin)
            except NoteError as error:
                raise DoesNotVerify(f"a checkpoint of {batch.origin}: {error}") from error

    def _edge(self, origin: str, target: Target) -> Edge:
        edge = self._edges.pop(origin, None)
        if edge is None:
            edge = target.edge(origin)
        self._remember(origin, edge)
        return edge

    def _remember(self, origin: str, edge: Edge) -> None:
        self._edges[origin] = edge
        if len(self._edges) > EDGES_REMEMBERED_MAX:
            del self._edges[next(iter(self._edges))]  # the one that was used longest ago

    def _count(self, batches: int = 0, entries: int = 0, refused: int = 0) -> None:
        was = self._relayed
        self._relayed = Relayed(was.batches + batches, was.entries + entries, was.refused + refused)


class _Gap(Exception):
    """Entries that the target needs have not come through the stream."""

    def __init__(self, origin: str, first: int, last: int, target: str) -> None:
        super().__init__(
            f"the entries {first:,} to {last:,} of {origin} have not come through the stream, and "
            f"nothing can come behind them: end this, and on the log's host run once "
            f"`hansard ship --once {target}`; then start this again"
        )
        self.origin = origin
