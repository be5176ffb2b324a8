"""Many rounds, one after the other, and what they come to together: the table, and the page's rows.

It makes no fault itself.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from faults.chaos.plan import make_plan
from faults.chaos.reckoning import Reckoned
from faults.chaos.round import Outcome, Round
from faults.results import Row

REPORT_EVERY: Final = 25
RUNS_AGAIN: Final = "the plan is the same each time, what the processes make of it is not"

# What was done, to whom; how the page says it: fault, and how it is made.
FAULTS: Final = {
    ("kill", "writer"): ("writer killed", "SIGKILL under load"),
    ("freeze", "writer"): ("writer frozen", "SIGSTOP, and SIGCONT later"),
    ("terminate", "writer"): ("writer asked to end", "SIGTERM, beside its supervisor"),
    ("kill", "supervisor"): ("supervisor killed", "SIGKILL"),
    ("freeze", "supervisor"): ("supervisor frozen", "SIGSTOP, and SIGCONT later"),
    ("terminate", "supervisor"): ("supervisor asked to end", "SIGTERM"),
    ("restart", "writer"): ("writer restarted", "SIGTERM, then a start with other settings"),
    ("rival", "writer"): ("second writer", "`hansard serve` beside one that runs"),
    ("kill", "worker"): ("worker killed", "SIGKILL while it records; its children live on"),
    ("kill", "family"): ("worker killed with its children", "SIGKILL to the process group"),
    ("freeze", "worker"): ("worker frozen", "SIGSTOP, and SIGCONT later"),
    ("terminate", "worker"): ("worker asked to end", "SIGTERM: dies of it, or exits with hooks"),
    ("unlink", "sockets"): ("sockets removed", "unlinked under a running writer"),
}


class Tally:
    """The sum of rounds."""

    def __init__(self) -> None:
        self.rounds = 0
        self.seconds = 0.0
        self.made: Counter[tuple[str, str]] = Counter()
        self.hit: Counter[tuple[str, str]] = Counter()
        self.reckoned = Reckoned()

    def add(self, outcome: Outcome) -> None:
        """One more round."""
        self.rounds += 1
        self.seconds += outcome.seconds
        for fault in outcome.faults:
            self.made[fault.do, fault.whom] += 1
            self.hit[fault.do, fault.whom] += fault.hit
        self.reckoned = self.reckoned.plus(outcome.reckoned)

    def table(self) -> str:
        """Faults made and events accounted, for people."""
        lines = [f"{'fault':<34}{'made':>8}{'hit':>8}"]
        for key, (name, _) in FAULTS.items():
            lines.append(f"{name:<34}{self.made[key]:>8,}{self.hit[key]:>8,}")
        lines.append(f"{'all':<34}{self.made.total():>8,}{self.hit.total():>8,}")
        return "\n".join([*lines, "", self.equation(), self.remarks()])

    def equation(self) -> str:
        """The sum that must hold, with its figures."""
        all_ = self.reckoned
        return (
            f"recorded {all_.recorded:,} = entered {all_.entered:,} + dead-lettered "
            f"{all_.dead_lettered:,} + waiting 0 + dropped and counted {all_.dropped:,}"
        )

    def remarks(self) -> str:
        """What else became of events."""
        all_ = self.reckoned
        return (
            f"{all_.unheard:,} of them without their caller having heard; {all_.returned:,} came "
            f"back from dead letters; {all_.lost_entries:,} entries tell of the drops; "
            f"{all_.raised:,} more were refused with QueueFull"
        )

    def rows(self) -> list[Row]:
        """For the page."""
        fine = "nothing lost, doubled or out of order"
        rows = [
            Row(name, how, self.hit[key], fine)
            for key, (name, how) in FAULTS.items()
            if self.made[key]
        ]
        load = "2 to 4 workers with threads, forks, asyncio, full queues, reopened logs"
        return [*rows, Row("all of these in rounds", load, self.rounds, self.equation())]


def run_rounds(
    count: int,
    seed: int,
    *,
    first: int = 1,
    say: Callable[[str], None] = print,
    after_each: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Rounds ``first`` and following. Raises `AssertionError` as soon as one fails, with the
    command that repeats it; its directory stays."""
    tally = Tally()
    for number in range(first, first + count):
        tally.add(run_round(seed, number))
        after_each(tally)
        if tally.rounds % REPORT_EVERY == 0:
            say(f"  {tally.rounds} rounds, {tally.hit.total()} faults: {tally.equation()}")
    return tally


def run_round(seed: int, number: int) -> Outcome:
    """One round, in a directory that is removed if all is well."""
    home = Path(tempfile.mkdtemp(prefix=f"hansard-chaos-{seed}-{number}-"))
    current = Round(make_plan(seed, number), home)
    try:
        outcome = current.run()
    except BaseException as error:
        current.close()
        if not isinstance(error, Exception):
            shutil.rmtree(home, ignore_errors=True)
            raise
        raise AssertionError(
            f"round {number} failed: {error or repr(error)}\n"
            f"  what there is of it: {home}\n"
            f"  again: scripts/chaos --seed {seed} --round {number} ({RUNS_AGAIN})"
        ) from error
    current.close()
    shutil.rmtree(home)
    return outcome
