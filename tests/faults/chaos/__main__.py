"""``scripts/chaos``: rounds of chaos, a table of what was done, and where every event is."""

import argparse
import signal
import sys
from collections.abc import Callable

from faults.chaos import ROUNDS
from faults.chaos.plan import make_plan
from faults.chaos.tally import Tally, run_rounds

EXAMPLES = """examples:
  scripts/chaos --rounds 20 --seed 7    twenty rounds
  scripts/chaos --seed 7 --round 13     the thirteenth of them once more
  scripts/chaos --seed 7 --round 13 --plan   what is planned for it, as JSON"""


def main() -> int:
    """0 if every event of every round is accounted for, 1 at the first round that is not so."""
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves no process
    if options.plan:
        print(make_plan(options.seed, options.round or 1).to_json())
        return 0
    first, count = (options.round, 1) if options.round else (1, options.rounds)
    show = _progress(count) if sys.stderr.isatty() else lambda _: None
    try:
        tally = run_rounds(count, options.seed, first=first, say=lambda _: None, after_each=show)
    except AssertionError as error:
        print(f"\n{error}" if sys.stderr.isatty() else error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; no process is left", file=sys.stderr)
        return 128 + signal.SIGINT
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(tally.table())
    rounds = "1 round" if tally.rounds == 1 else f"{tally.rounds} rounds"
    print(f"{rounds} of seed {options.seed} in {tally.seconds:.0f} s")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Random load from real processes, random kills and freezes of all of them; "
        "then every event is accounted for, from outside.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=_positive, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--seed", type=int, default=1, help="of all plans (default 1)")
    parser.add_argument("--round", type=_positive, help="this round of the seed only")
    parser.add_argument("--plan", action="store_true", help="print the round's plan, do nothing")
    return parser.parse_args()


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _progress(count: int) -> Callable[[Tally], None]:
    def show(tally: Tally) -> None:
        print(
            f"\rround {tally.rounds}/{count}: {tally.hit.total()} faults, "
            f"{tally.reckoned.recorded:,} events, {tally.seconds / tally.rounds:.1f} s a round ",
            end="",
            file=sys.stderr,
            flush=True,
        )

    return show


if __name__ == "__main__":
    sys.exit(main())
