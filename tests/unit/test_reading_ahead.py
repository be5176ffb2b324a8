"""Reading ahead: what is read when, and who hears of what goes wrong."""

import threading
from typing import Any

import pytest

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import DoesNotVerify
from hansard_writer.shipping.reading_ahead import ReadAhead

DEADLINE_S = 30.0


class Checks:
    """A batch of one entry."""

    def __init__(self, last: int) -> None:
        self.last = last

    def checked(self, edge: Edge) -> Any:
        assert edge.size == self.last - 1
        if self.last == 4:
            raise DoesNotVerify("entry 4")
        return Checked(Edge(self.last))


class Checked:
    def __init__(self, edge: Edge) -> None:
        self.edge = edge


class Source:
    """Of so many entries as are covered. It notes which it was asked for, and by which thread."""

    origin = "hansard/00"

    def __init__(self) -> None:
        self.covered = 3
        self.asked: list[int] = []
        self.threads = {threading.get_ident()}
        self.news = threading.Condition()

    def next(self, before: int, bytes_max: int | None) -> Any:
        assert bytes_max == 7
        with self.news:
            self.asked.append(before)
            self.threads.add(threading.get_ident())
            self.news.notify_all()
        return Checks(before + 1) if before < self.covered else None

    def await_asked(self, *expected: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: self.asked == list(expected), DEADLINE_S), self.asked

    def close(self) -> None:
        self.threads.add(threading.get_ident())


@pytest.fixture
def source() -> Source:
    return Source()


def opened(source: Source) -> ReadAhead:
    def open_() -> Any:
        source.threads = {threading.get_ident()}
        return source

    return ReadAhead(open_, 7)


def size_of(reading: ReadAhead, size: int) -> int | None:
    ready = reading.next(Edge(size))
    return ready.checked.edge.size if ready else None


def test_the_next_batch_is_read_while_the_one_before_is_on_its_way(source: Source) -> None:
    reading = opened(source)
    assert size_of(reading, 0) == 1
    source.await_asked(0, 1)  # and nobody has asked for it yet
    assert [size_of(reading, 1), size_of(reading, 2)] == [2, 3]
    source.await_asked(0, 1, 2, 3)
    reading.close()


def test_what_was_covered_since_it_looked_ahead_is_read(source: Source) -> None:
    source.covered = 1
    reading = opened(source)
    assert size_of(reading, 0) == 1
    source.await_asked(0, 1)  # in vain
    assert size_of(reading, 1) is None
    source.covered = 2
    assert size_of(reading, 1) == 2
    reading.close()


def test_what_does_not_verify_is_told_when_it_is_its_turn(source: Source) -> None:
    source.covered = 4
    reading = opened(source)
    assert [size_of(reading, size) for size in range(3)] == [1, 2, 3]
    with pytest.raises(DoesNotVerify, match="entry 4"):
        reading.next(Edge(3))
    reading.close()


def test_one_thread_reads_and_ends_with_it(source: Source) -> None:
    reading = opened(source)
    size_of(reading, 0)
    reading.close()
    (reader,) = source.threads
    assert reader != threading.get_ident()
    assert reader not in {each.ident for each in threading.enumerate()}


def test_a_source_that_cannot_be_opened_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="gone"):
        ReadAhead(lambda: (_ for _ in ()).throw(OSError("gone")), None)
    assert threading.active_count() == before
