"""Python's collector of cyclic garbage, kept away from a command that makes millions of tuples."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG_MAX: Final = 200_000  # objects; 700 by default


@contextmanager
def without_collector() -> Iterator[None]:
    """No collection within: it would walk all that is made, and no cycle holds any of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Within, the collector waits for so many more young objects than by default: for a command
    that makes as many, and runs for ever."""
    before = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
