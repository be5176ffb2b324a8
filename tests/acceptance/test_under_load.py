"""The campaigns of long load, in small: more than the disk takes, and a soak."""

from faults import overload, soak


def test_workers_faster_than_the_disk_lose_nothing_and_nobody_grows() -> None:
    # A quarter of the campaign's disk: beside other tests, workers may have half a processor.
    rows = overload.run(1, disk_bytes_per_second=overload.DISK_BYTES_PER_SECOND // 4)
    assert [row.fault.partition(" for ")[0] for row in rows] == [
        "workers faster than the disk",
        "the same",
        "memory",
        "the rate",
    ]


def test_a_soaked_log_accounts_for_everything_and_stays_as_it_was() -> None:
    rows = soak.run(6)
    assert rows[0].count > 1_000
    assert len(rows) == 9
