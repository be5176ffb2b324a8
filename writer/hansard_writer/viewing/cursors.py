"""Where a page of entries begins, as its address says it. Pure.

In the order of the log that is an id; in the order of time a time and an id, because many entries
may be of one nanosecond.
"""

import re
from typing import NamedTuple, Self

from hansard.wire import INT64_MAX

_CURSOR = re.compile(r"(?:(\d{1,19})\.)?(\d{1,19})", re.ASCII)


class Cursor(NamedTuple):
    """An entry, by its id, and in the order of time by its ``created_at_ns`` first."""

    id: int
    created_at_ns: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ValueError` for text that is none."""
        said = _CURSOR.fullmatch(text)
        if not said or int(said[2]) > INT64_MAX or int(said[1] or 0) > INT64_MAX:
            raise ValueError(f"{text!r:.60} is no place in the log: follow a page's own links")
        return cls(int(said[2]), int(said[1]) if said[1] else None)

    def __str__(self) -> str:
        return str(self.id) if self.created_at_ns is None else f"{self.created_at_ns}.{self.id}"
