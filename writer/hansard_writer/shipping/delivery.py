"""Shipping itself: from a log to a target, batch by batch, until it is told to end.

It decides when to try again, and nothing about what is shipped or how.
"""

import random
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import DoesNotVerify
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.reading_ahead import ReadAhead
from hansard_writer.shipping.standing import (
    ENDED,
    FAILED,
    HELD_UP,
    SHIPPING,
    WAITING,
    Standing,
)
from hansard_writer.shipping.target import (
    Gathers,
    TakesLess,
    Target,
    TargetRefused,
    TargetTaken,
    TargetUnavailable,
)

INTERVAL_S: Final = 1.0  # between two batches, unless there is more than one: that of checkpoints
BACKOFF_S_MIN: Final = 0.5
BACKOFF_S_MAX: Final = 30.0
TRIES_ONCE: Final = 5  # in a row without a batch, before `--once` gives up

Open = Callable[[], Target]
"""Connects to the target. Raises as `Target` does."""


def backoff_s(failures: int) -> float:
    """How long to wait behind so many failures in a row."""
    longest: float = min(BACKOFF_S_MIN * 2 ** min(failures - 1, 10), BACKOFF_S_MAX)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that hosts do not come at once


class Shipped(NamedTuple):
    """What it came to: entries shipped, up to where, and how many the log has that are covered."""

    origin: str
    entries: int
    shipped_to: int
    covered: int


class Observer:
    """Hears how it goes. Nothing that it does changes it."""

    def begins(self, shipped: Shipped) -> None:
        """A connection stands, and it is known what the target has."""

    def goes_on(self, shipped: Shipped) -> None:
        """A batch is in the target, or all is."""

    def is_held_up(self, why: str, wait_s: float) -> None:
        """The target cannot take anything now; the next try is in so many seconds."""

    def skipped(self, origin: str, first: int, last: int) -> None:
        """The log was pruned of entries before they were shipped."""


class Delivery:
    """Ships the log in a directory to a target. `run` once; `stop` from anywhere.

    Once it has caught up, it lets entries gather for ``interval_s``: a batch costs PostgreSQL about
    as much as a hundred entries do.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        open_: Open,
        observer: Observer,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._directory = directory
        self._name = name
        self._open = open_
        self._observer = observer
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._entries = 0
        self._edge = Edge()
        self._is_known = False  # what the target has; until it is reached, what was last told
        self._failures = 0

    def stop(self) -> None:
        """End behind the batch that is on its way. For signal handlers, too."""
        self._stopping.set()

    def run(self, *, once: bool = False) -> Shipped:
        """Ship until told to stop, or, with ``once``, what the log has now.

        Raises `DoesNotVerify` where the log is not what was signed, `TargetRefused`, `TargetTaken`;
        with ``once`` `TargetUnavailable` too, after a few tries.
        """
        with Standing(self._directory, self._name) as standing:
            while True:
                source = LogSource(self._directory)
                try:
                    if self._try(source, standing, once=once):
                        return self._said(source, standing, ENDED)
                except (TargetUnavailable, TargetRefused, TargetTaken, DoesNotVerify) as error:
                    self._said(source, standing, FAILED, str(error))
                    raise
                finally:
                    source.close()

    def _try(self, source: LogSource, standing: Standing, *, once: bool) -> bool:
        """Ship as far as it goes, and wait where the target is away; whether that was all."""
        try:
            return self._ship(source, standing, once=once)
        except TargetUnavailable as error:
            self._hold_up(error, source, standing, once=once)
            return self._stopping.is_set()

    def _ship(self, source: LogSource, standing: Standing, *, once: bool) -> bool:
        """Over one connection; whether that was all."""
        goal = source.covered() if once else None
        self._is_known = False
        with closing(self._open()) as target:
            bytes_max = target.batch_bytes_max if isinstance(target, TakesLess) else None
            with closing(ReadAhead(lambda: LogSource(self._directory), bytes_max)) as batches:
                self._edge, self._is_known = target.edge(source.origin), True
                source.require_continues(self._edge)
                self._observer.begins(self._shipped(source, standing))
                while not self._stopping.is_set() and batches.origin == source.origin:
                    if self._ship_next(batches, source, target, standing):
                        continue
                    if goal is not None and self._edge.size >= goal:
                        break
                    if source.has_new_origin():
                        return False
                    self._said(source, standing, WAITING)
                    if isinstance(target, Gathers):
                        target.put_away_due()
                    self._stopping.wait(self._interval_s)
                return batches.origin == source.origin

    def _ship_next(
        self, batches: ReadAhead, source: LogSource, target: Target, standing: Standing
    ) -> bool:
        """The next batch, if there is one; whether there is more."""
        ready = batches.next(self._edge)
        if ready is None:
            return False
        batch, checked = ready
        target.append(batch, checked)
        if batch.before > self._edge.size:
            self._observer.skipped(source.origin, self._edge.size + 1, batch.before)
        self._edge, self._failures = checked.edge, 0
        self._entries += len(batch.rows)
        shipped = self._said(source, standing, SHIPPING)
        return shipped.shipped_to < shipped.covered

    def _hold_up(
        self, error: TargetUnavailable, source: LogSource, standing: Standing, *, once: bool
    ) -> None:
        self._failures += 1
        self._said(source, standing, HELD_UP, str(error))
        if once and self._failures >= TRIES_ONCE:
            raise error
        wait_s = backoff_s(self._failures)
        self._observer.is_held_up(str(error), wait_s)
        self._stopping.wait(wait_s)

    def _said(self, source: LogSource, standing: Standing, state: str, why: str = "") -> Shipped:
        shipped = self._shipped(source, standing)
        standing.note(
            state, why=why, origin=shipped.origin, shipped_to=shipped.shipped_to,
            covered=shipped.covered,
        )  # fmt: skip
        self._observer.goes_on(shipped)
        return shipped

    def _shipped(self, source: LogSource, standing: Standing) -> Shipped:
        shipped_to = self._edge.size if self._is_known else standing.told(source.origin)
        return Shipped(source.origin, self._entries, shipped_to, source.covered())
