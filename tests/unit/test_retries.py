"""What may pass is tried again: without end where waiting helps, and so many times where it may."""

import apsw
import pytest

from hansard_writer.retries import (
    FALTERS_MAX,
    FULL_RETRY_S,
    RETRY_S,
    Retries,
    StoreBusy,
    StoreFaltered,
    StoreFull,
    StoreUnready,
)


def falter() -> StoreFaltered:
    error = StoreFaltered("log.db could not be used (SQLITE_IOERR_READ)")
    error.__cause__ = apsw.exception_for(apsw.SQLITE_IOERR_READ)
    return error


@pytest.mark.parametrize("error", [StoreBusy("held"), StoreFull("full")])
def test_a_lock_and_a_full_disk_are_waited_for_without_end(error: StoreUnready) -> None:
    retries = Retries()
    for _ in range(10 * FALTERS_MAX):
        retries.failed(error, 5.0)
    assert retries.count == 10 * FALTERS_MAX
    assert retries.why == str(error)


def test_a_full_disk_is_tried_less_often() -> None:
    retries = Retries()
    retries.failed(StoreBusy("held"), 5.0)
    assert retries.at == 5.0 + RETRY_S
    retries.failed(StoreFull("full"), 5.0)
    assert retries.at == 5.0 + FULL_RETRY_S


def test_what_falters_again_and_again_is_raised_as_what_it_is() -> None:
    retries = Retries()
    for _ in range(FALTERS_MAX - 1):
        retries.failed(falter(), 5.0)
    retries.failed(StoreBusy("held"), 5.0)
    with pytest.raises(apsw.IOError):
        retries.failed(falter(), 5.0)


def test_a_success_in_between_begins_the_count_anew() -> None:
    retries = Retries()
    for _ in range(3):
        for _ in range(FALTERS_MAX - 1):
            retries.failed(falter(), 5.0)
        retries.succeeded()
    assert retries.why == ""
