"""Which part runs, what it does and since when: the last line of a terminal, nothing elsewhere.

What is done stays above it, with the time it took. What broke is said everywhere.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

TICK_S: Final = 1.0


class Progress:
    """The line, for so many parts. Its own thread keeps the time on it going, where there is a
    terminal; `__exit__` wipes it."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self._number = 0
        self._part = self._what = ""
        self._began_at = self._part_began_at = time.monotonic()
        self._is_shown = sys.stderr.isatty()
        self._over = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="progress")

    def __enter__(self) -> Self:
        if self._is_shown:
            self._ticking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._is_shown:
            self._ticking.join()
            self._write("\r\033[K")

    def begin(self, part: str) -> Callable[[str], None]:
        """The next part begins; it may say what it does with what is returned."""
        self._number += 1
        self._part, self._what = part, ""
        self._part_began_at = time.monotonic()
        self._show()
        return self._tell

    def end(self, broken: Sequence[str] = ()) -> None:
        """The part has ended; what broke in it is said in any case."""
        taken = _minutes(time.monotonic() - self._part_began_at)
        self._write(f"\r\033[K{self._place()} {self._part:12} {taken}\n")
        for each in broken:
            print(each, file=sys.stderr, flush=True)

    def _tell(self, what: str) -> None:
        self._what = what
        self._show()

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            self._show()

    def _show(self) -> None:
        now = time.monotonic()
        part_s, all_s = now - self._part_began_at, now - self._began_at
        line = f"{self._place()} {self._part:12} {_minutes(part_s)} of {_minutes(all_s)}"
        columns = shutil.get_terminal_size().columns
        self._write(f"\r\033[K{f'{line}  {self._what}'[: columns - 1]}")

    def _place(self) -> str:
        return f"[{self._number:{len(str(self._parts))}}/{self._parts}]"

    def _write(self, text: str) -> None:
        if self._is_shown:
            sys.stderr.write(text)
            sys.stderr.flush()


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02}"
