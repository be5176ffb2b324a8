"""What the log's own entries say about the log: what was redacted and pruned, and whose keys sign.

Pure. It believes what it is given: whether these entries are the log's, the tree says.
"""

import json
from array import array
from collections.abc import Iterator
from typing import Final

from hansard_writer.proof.key_chain import KEY_EVENTS, ROLLBACK

REDACTED: Final = "hansard.redacted"
PRUNED: Final = "hansard.pruned"

TYPES_FROM_THE_BEGINNING: Final = (PRUNED, *KEY_EVENTS)  # that count for what comes behind them
TYPES: Final = (REDACTED, *TYPES_FROM_THE_BEGINNING)


class Ranges:
    """Numbers, as ranges with both ends, in 16 bytes a range."""

    def __init__(self) -> None:
        self._firsts = array("q")
        self._lasts = array("q")
        self.count = 0  # of numbers, each as often as it was added

    def add(self, first: int, last: int) -> None:
        """Add the numbers from ``first`` to ``last``."""
        self.count += last - first + 1
        if self._lasts and self._lasts[-1] == first - 1:
            self._lasts[-1] = last
        else:
            self._firsts.append(first)
            self._lasts.append(last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges in order, each number once."""
        first, last = 0, -1
        for next_first, next_last in sorted(zip(self._firsts, self._lasts, strict=True)):
            if next_first <= last:
                last = max(last, next_last)
                continue
            if first <= last:
                yield first, last
            first, last = next_first, next_last
        if first <= last:
            yield first, last

    def without(self, others: "Ranges") -> Iterator[tuple[int, int]]:
        """The ranges of what is in these and not in the others."""
        taken = iter(others)
        from_, to = next(taken, (0, -1))
        for first, last in self:
            while first <= last:
                while to < first and (following := next(taken, None)):
                    from_, to = following
                if to < first or last < from_:
                    yield first, last
                    break
                if first < from_:
                    yield first, from_ - 1
                first = to + 1  # noqa: PLW2901 - what is left of the range


class Statements:
    """What the writer's own entries say, heeded in their order."""

    def __init__(self) -> None:
        self.redacted = Ranges()
        self.redacted_at = 0  # the last entry that says so
        self.of_keys: list[tuple[int, str, str]] = []
        self._pruned: list[tuple[int, int]] = []  # which entry says up to where, each farther

    def pruned_to(self, size: int) -> int:
        """How far the first ``size`` entries say that the log is pruned."""
        return max((last for seq, last in self._pruned if seq <= size), default=0)

    @property
    def accepted(self) -> frozenset[tuple[int, str]]:
        """The checkpoints, size and root, over which a rollback was accepted."""
        found = set()
        for _, event_type, payload in self.of_keys:
            size, root = _of(payload, "checkpoint_size"), _of(payload, "checkpoint_root")
            if event_type == ROLLBACK and isinstance(size, int) and isinstance(root, str):
                found.add((size, root))
        return frozenset(found)

    def heed(self, seq: int, event_type: str, payload: str) -> None:
        """Take note of an entry. One that says something about itself or what comes behind it, or
        says it in another way than the writer, says nothing."""
        if event_type in KEY_EVENTS:
            self.of_keys.append((seq, event_type, payload))
        elif event_type == PRUNED:
            last = _of(payload, "last")
            if isinstance(last, int) and self.pruned_to(seq) < last < seq:
                self._pruned.append((seq, last))
        elif event_type == REDACTED:
            entries = _of(payload, "entries")
            for each in entries if isinstance(entries, list) else []:
                match each:
                    case [int(first), int(last)] if 1 <= first <= last < seq:
                        self.redacted.add(first, last)
                        self.redacted_at = seq


def _of(payload: str, name: str) -> object:
    try:
        facts = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return facts.get(name) if isinstance(facts, dict) else None
