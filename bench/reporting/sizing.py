"""The sizing page's tables: what was measured of shipping, and what many hosts need by that. Pure
arithmetic on a saved run; it measures nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.measuring.figures import Figure
from bench.reporting import saved, wording
from bench.reporting.readme import table
from bench.reporting.saved import Saved
from hansard_writer.shipping.log_source import BATCH_ENTRIES_MAX

RUN: Final = Path("bench/runs/ship.json")  # in the checkout
PAGE: Final = Path("writer/hansard_writer/SCALE.md")
MEASURED: Final = "measured"  # the blocks
HOSTS_BLOCK: Final = "hosts"

PART: Final = "ship"
HOSTS: Final = (10, 1_000, 100_000)
RATES: Final = (1, 100)  # events/s of a host, on average
INTERVALS_S: Final = (1, 10, 60)  # that entries gather
SHARE_MAX: Final = 0.5  # of a machine like the measured one: the rest is for queries and peaks
REPLICAS: Final = 3
DAY_S: Final = 86_400
_UNITS: Final = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"))


class Cost(NamedTuple):
    """What batches cost a target: measured (entries, seconds), ascending, and entries/s of large
    ones."""

    measured: Sequence[tuple[int, float]]
    rate: float

    def seconds(self, entries: float) -> float:
        """Of one batch: along the line between the two measured sizes that it lies between, and
        behind the largest at the rate of large ones."""
        (below, took), *more = self.measured
        for above, takes in more:
            if entries <= above:
                return took + (takes - took) * (entries - below) / (above - below)
            below, took = above, takes
        return took + (entries - below) / self.rate


def machines(hosts: int, rate: float, interval_s: float, cost: Cost) -> int:
    """How many machines like the measured one take in so many hosts' entries, each as busy as it
    may be, if they gather for so long."""
    busy = hosts / interval_s * cost.seconds(max(rate * interval_s, 1.0))
    return math.ceil(busy / SHARE_MAX)


def batches(hosts: int, rate: float, interval_s: float) -> float:
    """How many a second so many hosts send: one each interval, or as many as their entries fill."""
    return hosts / interval_s * max(math.ceil(rate * interval_s / BATCH_ENTRIES_MAX), 1)


def interval(hosts: int, rate: float, *costs: Cost) -> int:
    """The shortest interval (s) with which one machine is enough for each; else the longest."""
    for interval_s in INTERVALS_S:
        if all(machines(hosts, rate, interval_s, each) == 1 for each in costs):
            return interval_s
    return INTERVALS_S[-1]


def saved_run(checkout: Path) -> Saved:
    """The run that a checkout's page is made from. Raises `saved.NoRun`, also for a broken one."""
    run = saved.read(checkout / RUN)
    if run.found.broken:
        raise saved.NoRun(f"{RUN} is of a run that is not whole: {run.found.broken[0]}")
    return run


def blocks(run: Saved) -> dict[str, str]:
    """The page's generated blocks, by name."""
    figures = [each for each in run.found.figures if each.part == PART]
    return {
        MEASURED: f"{_measured(figures)}\n\n{_made_by(run)}",
        HOSTS_BLOCK: _hosts({each.name: each for each in figures}),
    }


def cost(figures: Mapping[str, Figure], target: str) -> Cost:
    """What batches cost a target. Raises `KeyError` for one that was not measured."""
    begins = f"to {target}, a batch of "
    measured = sorted(
        (int(name.removeprefix(begins)), figure.value / 1e3)
        for name, figure in figures.items()
        if name.startswith(begins)
    )
    return Cost(measured, figures[f"to {target}"].value)


def _measured(figures: Sequence[Figure]) -> str:
    rows = [
        (each.name, f"{wording.number(each.value)} {each.unit}", wording.verdict(each))
        for each in figures
    ]
    return table(("figure", "measured", "reach"), rows)


def _hosts(figures: Mapping[str, Figure]) -> str:
    heading = (
        "hosts", "events/s each", "entries a day", "`--interval`", "JetStream: messages/s",
        f"stored a day, {REPLICAS} replicas", "servers", "PostgreSQL: batches/s", "stored a day",
        "servers", "Parquet: stored a day",
    )  # fmt: skip
    return table(heading, list(_rows(figures)))


def _rows(figures: Mapping[str, Figure]) -> Iterator[tuple[str, ...]]:
    postgresql, jetstream = cost(figures, "PostgreSQL"), cost(figures, "JetStream")
    table_bytes = figures["PostgreSQL, table, an entry"].value
    table_bytes += figures["PostgreSQL, indexes, an entry"].value
    stream_bytes = figures["JetStream, a replica, an entry"].value
    file_bytes = figures["Parquet, an entry"].value
    for hosts in HOSTS:
        for rate in RATES:
            interval_s = interval(hosts, rate, postgresql, jetstream)
            sent = f"{batches(hosts, rate, interval_s):,.0f}"
            entries = hosts * rate * DAY_S
            yield (
                f"{hosts:,}",
                f"{rate:,}",
                _rounded(entries),
                f"{interval_s} s",
                sent,
                _bytes(entries * stream_bytes * REPLICAS),
                f"{machines(hosts, rate, interval_s, jetstream) * REPLICAS:,}",
                sent,
                _bytes(entries * table_bytes),
                f"{machines(hosts, rate, interval_s, postgresql):,}",
                _bytes(entries * file_bytes),
            )


def _rounded(count: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M")):
        if count >= unit:
            return f"{count / unit:,.3g} {name}"
    return f"{count:,.0f}"


def _bytes(count: float) -> str:
    unit, name = next((each for each in _UNITS if count >= each[0]), _UNITS[-1])
    return f"{count / unit:.3g} {name}"


def _made_by(run: Saved) -> str:
    machine = run.machine
    return (
        f"`scripts/bench --only {PART} --json {RUN}`, {run.settings['events']:,} events, on "
        f"{machine['at'][:10]}: {machine['cpu']}, {machine['cores']} cores that log, shipper and "
        f"server share, {machine['file_system']}, Python {machine['python']}."
    )
