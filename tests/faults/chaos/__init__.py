"""Chaos: random load from real processes, random kills and freezes of every one of them.

``plan`` and ``load`` say what is to happen, from a seed alone; ``round`` and ``families`` make it
happen; ``worker`` is the load and ``notes`` what it leaves behind; ``reckoning`` holds that against
the log; ``tally`` adds rounds up. Light to import, because the worker processes do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faults.results import Row

TITLE: Final = "Chaos: processes killed, frozen, replaced and forked under load"
ROUNDS: Final = 300


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], None] = print) -> list[Row]:
    """``size`` rounds, by default 300. Raises `AssertionError` with the command that repeats the
    round that failed, and its directory."""
    from faults.chaos.tally import run_rounds

    return run_rounds(ROUNDS if size is None else size, seed, say=say).rows()
