"""Dead letters reconsidered: entered after all, or given up for good.

It goes in pieces, each one transaction, with an entry of the writer's own that says what was done.
What is refused, and when there is time for a piece, others decide.
"""

import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from hansard import wire
from hansard.wording import counted
from hansard_writer.dead_letters import Again
from hansard_writer.own_entries import OwnEntries
from hansard_writer.store import DryRun, Store

REPLAYED: Final = "hansard.replayed"
DROPPED: Final = "hansard.dropped"

_LOG: Final = logging.getLogger("hansard.writer")


class Reconsidering:
    """The letters of one log, in one run of its writer.

    MUST NOT be used while a batch holds what is not committed. All raise
    `hansard_writer.retries.StoreUnready`, with nothing changed.
    """

    def __init__(self, store: Store, own: OwnEntries) -> None:
        self._store = store
        self._read = store.handle.read
        self._own = own
        self._swept_to = 0  # the orphans up to this letter
        self.has_swept = False

    def replay(self, replay: wire.Replay) -> wire.Replayed:
        """Try to enter the next letters that are asked for."""
        ids, is_last = self._read(lambda: self._store.letters.selected(replay))
        again = self._try_again(ids, replay.reason, dry_run=replay.dry_run)
        return wire.Replayed(
            sum(again.entered.values()),
            sum(again.refused.values()),
            again.hopeless,
            ids[-1] if ids else 0,
            is_last,
        )

    def drop(self, drop: wire.DropLetters) -> wire.LettersDropped:
        """Give up the next letters that are asked for: their numbers stay refused for ever. Those
        that are entered cost no event."""
        letters = self._store.letters
        ids, is_last = self._read(lambda: letters.selected(drop, entered=drop.entered))
        given_up = self._read(lambda: letters.given_up(ids))
        if ids and not drop.dry_run:
            facts = {
                "reason": drop.reason,
                "letters": ids,
                "events": given_up.events,
                "producers": given_up.runs,
            }
            with self._own.entering() as entering:
                letters.drop(ids)
                level = "warning" if given_up.events else "info"
                self._own.enter(DROPPED, level, facts, entering)
        return wire.LettersDropped(len(ids), given_up.events, ids[-1] if ids else 0, is_last)

    def sweep(self) -> bool:
        """At the start, the next piece of orphans whose task was registered meanwhile, or is not
        asked for any more; whether some were entered. Each is tried once a start at most, and no
        more once it is refused: it waits for another task then, or for none."""
        ids, is_last = self._read(lambda: self._store.letters.returnable(self._swept_to))
        entered = sum(self._try_again(ids, wire.ORPHAN).entered.values())
        if entered:
            orphans = counted(entered, "orphan")
            _LOG.info("%s entered: nothing keeps them out any more", orphans)
        self.has_swept = is_last
        self._swept_to = ids[-1] if ids else 0
        return entered > 0

    def _try_again(self, ids: Sequence[int], reason: str | None, *, dry_run: bool = False) -> Again:
        again = Again({}, {})
        if not ids:
            return again
        letters = self._store.letters
        with contextlib.suppress(DryRun), self._own.entering() as entering:
            again = letters.try_again(ids, entering)
            for task_id in list(entering.registered):
                again = again.and_then(letters.return_orphans(task_id, entering))
            if dry_run:
                raise DryRun
            if again.entered:
                facts = {
                    "reason": reason,
                    "entered": sum(again.entered.values()),
                    "refused": sum(again.refused.values()),
                    "letters": sorted(again.entered),
                }
                self._own.enter(REPLAYED, "info", facts, entering)
        return again
