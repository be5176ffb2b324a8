"""Run fault campaigns in full, and write what they found into ``tests/FAULTS.md``."""

import argparse
import importlib
import signal
import sys
import time
from types import FrameType

from faults import results

INTERRUPTED = 128 + signal.SIGINT  # as shells have it


def _end(number: int, _frame: FrameType | None) -> None:
    """As an exception: then what a campaign has started is ended with it."""
    sys.exit(128 + number)


def main() -> int:
    """Run what is asked for, one after the other; 1 as soon as a fault had a bad outcome."""
    signal.signal(signal.SIGTERM, _end)
    try:
        return _run_all()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run_all() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/faults",
        description="Make faults in numbers; the results go into tests/FAULTS.md.",
        epilog="Example: scripts/faults power_cut --size 200",
    )
    parser.add_argument(
        "campaigns", nargs="*", metavar="CAMPAIGN", help=", ".join(results.CAMPAIGNS)
    )
    parser.add_argument("--size", type=int, help="about so many faults; then nothing is written")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    options = parser.parse_args()
    unknown = sorted(set(options.campaigns) - set(results.CAMPAIGNS))
    if unknown:
        parser.error(
            f"no such campaign: {', '.join(unknown)}; there are {', '.join(results.CAMPAIGNS)}"
        )
    for name in options.campaigns or results.CAMPAIGNS:
        campaign = importlib.import_module(f"faults.{name}")
        print(f"{campaign.TITLE} …", flush=True)
        began = time.monotonic()
        try:
            rows = campaign.run(options.size, seed=options.seed, say=print)
        except AssertionError as error:
            print(f"{campaign.TITLE}: {error}", file=sys.stderr)
            return 1
        seconds = time.monotonic() - began
        for row in rows:
            print(f"  {row.count:>9,}  {row.fault}: {row.outcome}")
        print(f"  {seconds:.0f} s", flush=True)
        if options.size is None:
            command = f"scripts/faults {name} --seed {options.seed}"
            results.save(name, campaign.TITLE, rows, command=command, seconds=seconds)
            results.PAGE.write_text(results.page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
