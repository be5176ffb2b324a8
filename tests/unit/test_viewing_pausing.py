"""When the view reads nothing, so that the writer's WAL can begin anew."""

import asyncio
from contextlib import AsyncExitStack

from hansard_writer.viewing.pausing import Pauses


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_readers_that_never_leave_a_gap_are_given_one() -> None:
    async def main() -> None:
        clock = Clock()
        pauses = Pauses(busy_s_max=5, pause_s=0.01, clock=clock)
        seen: list[str] = []

        async def third() -> None:
            async with pauses.reading():
                seen.append("third")

        async with AsyncExitStack() as first, AsyncExitStack() as second:
            await first.enter_async_context(pauses.reading())
            clock.now = 4.9
            await second.enter_async_context(pauses.reading())
            await first.aclose()
            clock.now = 5.0
            waiting = asyncio.create_task(third())
            await asyncio.sleep(0)
            assert seen == []  # although one still reads, and more might
            seen.append("second has left")
        await waiting
        assert seen == ["second has left", "third"]

    asyncio.run(main())


def test_who_reads_now_and_then_never_waits() -> None:
    async def main() -> None:
        clock = Clock()
        pauses = Pauses(busy_s_max=5, pause_s=1, clock=clock)
        for _ in range(20):
            async with asyncio.timeout(0.5), pauses.reading():
                clock.now += 1
            clock.now += 1

    asyncio.run(main())


def test_one_that_takes_long_holds_up_the_others_for_a_while_only() -> None:
    async def main() -> None:
        clock = Clock()
        pauses = Pauses(busy_s_max=5, pause_s=60, wait_s=0.01, clock=clock)
        async with pauses.reading():
            clock.now = 6.0
            async with pauses.reading():
                pass

    asyncio.run(main())
