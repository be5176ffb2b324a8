"""What a producer does under its lock, and what becomes of whoever interrupts it there.

The hot path is `hansard.producer.Producer.append`, which does the same by hand; the rest is here.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from hansard.producer import Producer

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def exclusively(
    method: Callable[Concatenate["Producer", Arguments], Result],
) -> Callable[Concatenate["Producer", Arguments], Result]:
    """Under the lock, with a flag for whoever interrupts: a finalizer, a signal handler. No context
    manager of ours: a handler that raises inside of it would keep lock and flag with the traceback.
    """

    @functools.wraps(method)
    def inside(self: "Producer", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with self._lock:
            was_busy = self._busy
            try:
                self._busy = True
                return method(self, *args, **kwargs)
            finally:
                self._busy = was_busy
                while self._side and not was_busy:  # until no interruption came in between
                    self._busy = True
                    try:
                        self._drain_side()
                    finally:
                        self._busy = False

    return inside
