"""``python -m bench``: run the parts, say what they found. Exit 1 for a wrong count, never for a
time."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import (
    backfill,
    crowded,
    ingest,
    limit,
    machine,
    proof,
    proof_cost,
    readers,
    record,
    report,
    search,
    sync,
    verify,
)
from bench.entered import WrongEntries
from bench.figures import Figure
from hansard.settings import ENVIRONMENT_PREFIX

QUICK_PARTS: Final = (ingest.PART, record.PART, sync.PART, proof_cost.PART)
PARTS: Final = (*QUICK_PARTS, readers.PART, search.PART, proof.PART, verify.PART,
                backfill.PART, crowded.PART)  # fmt: skip
WORKERS: Final = 4
EVENTS: Final = 200_000
SYNC_SHARE: Final = 200  # one of so many events is recorded synchronously
CHECKOUT: Final = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    options = _parser().parse_args(arguments)
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        del os.environ[name]  # the defaults are what is measured
    place = Path(tempfile.mkdtemp(prefix="hansard-bench-", dir=options.dir or _default_place()))
    try:
        facts = machine.facts(place)
        parts = options.only or QUICK_PARTS
        figures = run(place, parts, options.workers, options.events, million=options.million)
    except WrongEntries as error:
        print(f"wrong: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(report.table(facts, figures))
    if options.json:
        settings = {"workers": options.workers, "events": options.events}
        options.json.write_text(report.as_json(facts, settings, figures))
    return 0


def run(
    place: Path, parts: Sequence[str], workers: int, events: int, *, million: bool = False
) -> list[Figure]:
    """The figures of the parts; their logs are made in ``place``. Raises `WrongEntries`."""
    figures: list[Figure] = []
    if ingest.PART in parts:
        result = ingest.run(place / "ingest", workers, max(events // workers, 1))
        figures += result.figures
        figures += limit.run(
            place / "ingest", place / "limit", result.events_per_commit, result.writer_cpu_us
        )
    others: dict[str, Callable[[], list[Figure]]] = {
        record.PART: lambda: record.run(place / "record", events),
        sync.PART: lambda: sync.run(place / "sync", place / "bare", max(events // SYNC_SHARE, 1)),
        proof_cost.PART: lambda: proof_cost.run(place / "proof-cost", max(events // 8, 1)),
        readers.PART: lambda: readers.run(place / "readers", max(events // workers, 1)),
        search.PART: lambda: search.run(place / "search"),
        proof.PART: lambda: proof.run(place / "proof"),
        verify.PART: lambda: verify.run(place / "verify"),
        backfill.PART: lambda: backfill.run(place / "backfill", million=million),
        crowded.PART: lambda: crowded.run(place / "crowded"),
    }
    for part, measured in others.items():
        if part in parts:
            figures += measured()
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure Hansard on this machine, beside what it is held against.",
        epilog="Exit 1 when the log does not hold what was recorded, whatever the figures.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="what needs no servers, in under a minute (default)"
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (repeatable)")
    parser.add_argument(
        "--workers", type=_natural, default=WORKERS, help="that ingest (default %(default)s)"
    )
    parser.add_argument(
        "--events", type=_natural, default=EVENTS, help="of a part (default %(default)s)"
    )
    parser.add_argument(
        "--million", action="store_true", help="backfill 1,000,000 entries too: some minutes"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--dir", type=Path, help="where the logs are made, and removed again")
    return parser


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def _default_place() -> Path:
    """A directory on the checkout's file system: /tmp is often memory, and fsync is then free."""
    temporary = Path(tempfile.gettempdir())
    return temporary if temporary.stat().st_dev == CHECKOUT.stat().st_dev else CHECKOUT


if __name__ == "__main__":
    sys.exit(main())
