"""``python -m bench``: run the parts, say what they found. Exit 1 for a wrong count, never for a
time."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.measuring import machine
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Found
from bench.measuring.run import Run
from bench.parts import PARTS, QUICK
from bench.peers import PEERS
from bench.reporting import compare, plots, readme, saved, table
from bench.reporting.progress import Progress
from bench.reporting.saved import Saved
from hansard.settings import ENVIRONMENT_PREFIX

WORKERS: Final = 4
EVENTS: Final = 200_000
CHECKOUT: Final = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        earlier = _prepared(options)
        if options.readme:
            readme.write(CHECKOUT)
    except (saved.NoRun, plots.NoMatplotlib, OSError) as error:
        parser.error(str(error))
    if options.list:
        print(_list())
    return 0 if options.list or options.readme else _measure(options, earlier)


def run(place: Path, options: argparse.Namespace) -> Found:
    """What the parts find; their logs are made in ``place``. Raises `WrongEntries`."""
    names: Sequence[str] = options.only or (QUICK if options.quick else tuple(PARTS))
    found = Found()
    with Progress(len(names)) as progress:
        for name in names:
            directory = place / name.replace(" ", "-")
            share = Run(directory, options.workers, options.events, options.quick,
                        progress.begin(name))  # fmt: skip
            found.add(PARTS[name].run(share))
            shutil.rmtree(directory, ignore_errors=True)
            progress.end()
    return found


def _prepared(options: argparse.Namespace) -> Saved | None:
    """The run to compare with. What would fail at the end of a run fails here."""
    if options.plots or options.readme:
        plots.require()
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
    if options.json and not os.access(options.json.parent, os.W_OK):
        raise NotADirectoryError(f"no file can be written in {options.json.parent}")
    return saved.read(options.compare) if options.compare else None


def _measure(options: argparse.Namespace, earlier: Saved | None) -> int:
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        del os.environ[name]  # the defaults are what is measured
    place = Path(tempfile.mkdtemp(prefix="hansard-bench-", dir=options.dir or _default_place()))
    try:
        facts = machine.facts(place)
        found = run(place, options)
    except WrongEntries as error:
        print(f"wrong: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is saved", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(place, ignore_errors=True)
    settings = {"workers": options.workers, "events": options.events, "quick": options.quick}
    _report(Saved(facts, settings, found), earlier, options)
    return 0


def _report(whole: Saved, earlier: Saved | None, options: argparse.Namespace) -> None:
    if options.json:
        saved.write(options.json, whole)
    print(compare.table(whole, earlier) if earlier else table.table(whole))
    if options.plots:
        for path in plots.draw(whole.found.curves, options.plots):
            print(f"drawn: {path}")


def _list() -> str:
    """What there is to be run, and what it is held against; of both what stands in the way."""
    parts = {f"{'*' if name in QUICK else ' '} {name}": each.about for name, each in PARTS.items()}
    peers = {}
    for name, peer in PEERS.items():
        missing = peer.missing()
        peers[f"  {name}"] = f"skipped: {missing}" if missing else peer.durability
    return f"parts (* with --quick):\n{_columns(parts)}\n\npeers:\n{_columns(peers)}"


def _columns(rows: Mapping[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {says}" for name, says in rows.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure Hansard on this machine, beside what people would use instead.",
        epilog="Exit 1 when the log does not hold what was recorded, whatever the figures.\n"
        "Example: scripts/bench --only ingest --json run.json --plots pictures",
    )
    parser.add_argument("--quick", action="store_true", help="under a minute, no servers")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART",
                        help="this part, as --list names it (repeatable)")  # fmt: skip
    parser.add_argument(
        "--workers", type=_natural, default=WORKERS, help="that record (default %(default)s)"
    )
    parser.add_argument(
        "--events", type=_natural, default=EVENTS, help="of a part (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the curves there, as SVG")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="beside the figures of a run saved there"
    )
    parser.add_argument("--dir", type=Path, help="where the logs are made, and removed again")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="show parts and peers; run nothing")
    instead.add_argument(
        "--readme", action="store_true",
        help=f"make the README's figures and pictures from {readme.RUN}; run nothing",
    )  # fmt: skip
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers end, logs are removed
    sys.exit(main())
