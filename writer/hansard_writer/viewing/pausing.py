"""Pauses in which the view reads nothing, so that the writer's WAL can begin anew.

It does so only when nobody reads, for a moment. Many who look at pages at once leave no such moment
by themselves: each reads shortly, and one begins before another ends. Then the WAL would grow for
as long as they go on.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

BUSY_S_MAX: Final = 5.0  # without a pause
WAIT_S: Final = 2.0  # for those who read already
PAUSE_S: Final = 1.2  # in which a busy writer commits and moves its WAL's pages


class Pauses:
    """Within `reading` the log may be read. One event loop's."""

    def __init__(
        self,
        busy_s_max: float = BUSY_S_MAX,
        pause_s: float = PAUSE_S,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._busy_s_max = busy_s_max
        self._pause_s = pause_s
        self._wait_s = wait_s
        self._clock = clock
        self._readers = 0
        self._quiet_since_s = float("-inf")  # while nobody reads
        self._busy_since_s = 0.0
        self._pause: asyncio.Task[None] | None = None
        self._left = asyncio.Event()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Waits for the pause that is due, or on."""
        await self._pass()
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._quiet_since_s = self._clock()
                self._left.set()

    async def _pass(self) -> None:
        now = self._clock()
        if not self._readers and now - self._quiet_since_s >= self._pause_s:
            self._busy_since_s = now
        if self._pause is None and now - self._busy_since_s >= self._busy_s_max:
            self._pause = asyncio.create_task(self._rest())
        if self._pause is not None:
            await asyncio.shield(self._pause)

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):  # one that takes so long is not waited for
            async with asyncio.timeout(self._wait_s):
                while self._readers:
                    self._left.clear()
                    await self._left.wait()
            await asyncio.sleep(self._pause_s)
        self._busy_since_s = self._clock()
        self._pause = None
