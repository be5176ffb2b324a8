"""Python's collector of cyclic garbage, kept away from a command that makes millions of tuples."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
