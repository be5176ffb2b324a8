"""Fresh worker processes: started by spawn, so that each is what a service's worker is."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from typing import Final, ParamSpec, TypeVar

SPAWN: Final[SpawnContext] = multiprocessing.get_context("spawn")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_fresh_process(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Call a function of a module in a process of its own; its result, or its exception."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(function, *args, **kwargs).result()
