"""Rings of objects go away by the clock, young ones soon and old ones later, and never else."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from hansard_writer.collecting import ALL_S, YOUNG_S, Collector


class Ring:
    """It holds itself."""

    def __init__(self) -> None:
        self.ring = self


@pytest.fixture
def collector() -> Iterator[Collector]:
    """From the time 0 on."""
    with Collector(0.0) as collector:
        yield collector
    gc.unfreeze()


def test_python_collects_nothing_by_itself(collector: Collector) -> None:
    ring = weakref.ref(Ring())
    assert [[] for _ in range(10_000)]
    collector.run(YOUNG_S - 0.01)
    assert ring()
    assert not gc.isenabled()


def test_what_was_made_lately_is_collected_each_second(collector: Collector) -> None:
    for second in (1, 2, 3):
        ring = weakref.ref(Ring())
        collector.run(second * YOUNG_S)
        assert not ring(), f"second {second}"


def test_what_has_grown_old_is_collected_each_minute(collector: Collector) -> None:
    for minute in (1, 2):
        ring = Ring()
        known = weakref.ref(ring)
        for moment in range(1, 59):
            collector.run((minute - 1) * ALL_S + moment)
        del ring
        collector.run(minute * ALL_S - 0.5)
        assert known(), "a look at what is young does not find it"
        collector.run(minute * ALL_S + YOUNG_S)
        assert not known()


def test_python_collects_by_itself_again_behind_the_block() -> None:
    with Collector(0.0):
        pass
    gc.unfreeze()
    assert gc.isenabled()
