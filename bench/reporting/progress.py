"""Which part runs, and since when: one line of a terminal, nothing anywhere else."""

import sys
import time
from collections.abc import Callable
from typing import Self


class Progress:
    """The line, for so many parts. It is wiped at the end."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._begun = 0
        self._began_at = time.monotonic()
        self._is_shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._show("")

    def begin(self, part: str) -> Callable[[str], None]:
        """The next part begins; it may say what it does with what is returned."""
        self._begun += 1
        number = self._begun

        def tell(what: str) -> None:
            minutes, seconds = divmod(int(time.monotonic() - self._began_at), 60)
            self._show(f"[{number}/{self._parts}] {minutes}:{seconds:02} {part} {what}".rstrip())

        tell("")
        return tell

    def _show(self, line: str) -> None:
        if self._is_shown:
            print(f"\r\033[K{line:.79}", end="", file=sys.stderr, flush=True)
