"""Fresh worker processes: started by spawn, so that each is what a service's worker is."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any, Final, ParamSpec, TypeVar

SPAWN: Final[SpawnContext] = multiprocessing.get_context("spawn")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_fresh_process(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Call a function of a module in a process of its own; its result, or its exception."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(function, *args, **kwargs).result()


def end_all() -> None:
    """Kill what `started` has started and is still there: it would be in the way of what is
    measured next."""
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def started(target: Callable[..., None], *arguments: Any) -> "Connection[Any, Any]":
    """A process of its own that does ``target``, which gets one argument more: where it sends what
    comes of it, which is received here."""
    ours, theirs = SPAWN.Pipe(duplex=False)
    SPAWN.Process(target=target, args=(*arguments, theirs), daemon=True).start()
    theirs.close()
    return ours
