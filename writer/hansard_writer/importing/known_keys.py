"""The keys that a log has of a source: whole numbers as runs, which are few; others one by one."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any


class KnownKeys:
    """A set of keys, which grows."""

    def __init__(self) -> None:
        self._firsts: list[int] = []  # of runs, in order, none within or beside another
        self._lasts: list[int] = []
        self._others: set[Any] = set()

    def __contains__(self, key: Any) -> bool:
        if type(key) is not int:
            return key in self._others
        index = bisect_right(self._firsts, key) - 1
        return index >= 0 and key <= self._lasts[index]

    def add(self, keys: Iterable[Any]) -> None:
        """Know these too."""
        for first, last in runs(keys, self._others):
            self._add_run(first, last)

    def _add_run(self, first: int, last: int) -> None:
        """One run, and those that it touches, are one."""
        start = bisect_left(self._lasts, first - 1)
        stop = bisect_right(self._firsts, last + 1)
        if start < stop:
            first, last = min(first, self._firsts[start]), max(last, self._lasts[stop - 1])
        self._firsts[start:stop], self._lasts[start:stop] = [first], [last]


def runs(keys: Iterable[Any], others: set[Any]) -> list[tuple[int, int]]:
    """The whole numbers among keys as runs, in the order given; the rest goes to ``others``."""
    found: list[tuple[int, int]] = []
    for key in keys:
        if type(key) is not int:
            others.add(key)
        elif found and found[-1][1] == key - 1:
            found[-1] = (found[-1][0], key)
        else:
            found.append((key, key))
    return found
