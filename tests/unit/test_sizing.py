"""The sizing page's arithmetic, on figures that anybody can follow."""

import pytest

from bench.measuring.figures import Figure, Found
from bench.reporting import sizing
from bench.reporting.saved import Saved
from bench.reporting.sizing import Cost, batches, interval, machines

COST = Cost([(1, 0.002), (10, 0.004), (100, 0.008)], 10_000.0)

FIGURES = {
    "to PostgreSQL": (40_000, "entries/s"),
    "to PostgreSQL, a batch of 1": (2, "ms"),
    "to PostgreSQL, a batch of 10": (3, "ms"),
    "to PostgreSQL, a batch of 100": (5, "ms"),
    "PostgreSQL, table, an entry": (500, "bytes"),
    "PostgreSQL, indexes, an entry": (100, "bytes"),
    "to JetStream": (80_000, "entries/s"),
    "to JetStream, a batch of 1": (1, "ms"),
    "to JetStream, a batch of 10": (1.5, "ms"),
    "to JetStream, a batch of 100": (2, "ms"),
    "JetStream, a replica, an entry": (100, "bytes"),
    "Parquet, an entry": (50, "bytes"),
}


@pytest.mark.parametrize(
    ("entries", "seconds"),
    [(1, 0.002), (10, 0.004), (5.5, 0.003), (55, 0.006), (100, 0.008), (1_100, 0.108)],
)
def test_a_batch_costs_what_lies_between_the_measured_ones(entries: float, seconds: float) -> None:
    assert COST.seconds(entries) == pytest.approx(seconds)


def test_a_machine_is_half_busy_at_most() -> None:
    assert machines(250, 1, 1, COST) == 1  # 250 batches of 2 ms are half a second
    assert machines(251, 1, 1, COST) == 2


def test_entries_gather_for_as_long_as_it_takes_for_one_machine_to_be_enough() -> None:
    assert interval(250, 1, COST) == 1
    assert interval(251, 1, COST) == 10
    assert interval(1_251, 1, COST) == 60  # 125.1 batches of 4 ms are too many
    assert interval(10**9, 1, COST) == 60  # and nothing is enough
    assert interval(10, 1, COST, Cost([(1, 1.0)], 1.0)) == 60  # for the slower of two


def test_what_one_batch_does_not_hold_takes_more() -> None:
    assert batches(60, 1, 60) == 1
    assert batches(60, 80, 60) == 1  # 4,800 entries each
    assert batches(60, 100, 60) == 2  # 6,000


def run() -> Saved:
    figures = [Figure("ship", name, value, unit) for name, (value, unit) in FIGURES.items()]
    machine = {"at": "2026-11-22", "cpu": "c", "cores": 2, "file_system": "ext4", "python": "3"}
    return Saved(machine, {"events": 200_000, "quick": False}, Found([*figures]))


def test_the_page_has_every_measured_figure_and_a_row_for_each_case() -> None:
    blocks = sizing.blocks(run())
    assert all(f"| {name} |" in blocks[sizing.MEASURED] for name in FIGURES)
    rows = blocks[sizing.HOSTS_BLOCK].splitlines()[2:]
    assert len(rows) == len(sizing.HOSTS) * len(sizing.RATES)
    assert rows[0] == ("| 10 | 1 | 864,000 | 1 s | 10 | 259 MB | 3 | 10 | 518 MB | 1 | 43.2 MB |")


def test_what_was_not_measured_makes_no_page() -> None:
    whole = run()
    whole.found.figures.pop()
    with pytest.raises(KeyError, match="Parquet"):
        sizing.blocks(whole)
