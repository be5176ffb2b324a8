"""``python -m bench``: run the parts, say what they found. Exit 1 for a wrong count or a part that
failed, never for a time."""

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
from bench.measuring.figures import Found
from bench.measuring.run import Run
from bench.measuring.surviving import surviving
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
    """What the parts find; their logs are made in ``place``. A part that fails takes nothing from
    the others, and is said at once."""
    names: Sequence[str] = options.only or (QUICK if options.quick else tuple(PARTS))
    found = Found()
    with Progress(len(names)) as progress:
        for name in names:
            directory = place / name.replace(" ", "-")
            share = Run(directory, options.workers, options.events, options.quick,
                        progress.begin(name))  # fmt: skip
            part = Found()
            with surviving(part, name):
                part.add(PARTS[name].run(share))
            shutil.rmtree(directory, ignore_errors=True)
            progress.end(part.broken)
            found.add(part)
    return found


def _prepared(options: argparse.Namespace) -> Saved | None:
    """The run to compare with. What would fail at the end of a run fails here."""
    if options.plots or options.readme:
        plots.require()
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
    if options.json and not os.access(options.json.parent, os.W_OK):
        raise NotADirectoryError(f"no file can be written in {options.json.parent}")
    if options.json and options.json.exists() and not _is_writable_file(options.json):
        raise FileExistsError(f"{options.json} is no file that can be written")
    if options.dir and not (options.dir.is_dir() and os.access(options.dir, os.W_OK)):
        raise NotADirectoryError(f"{options.dir} is no directory that can be written to")
    return saved.read(options.compare) if options.compare else None


def _is_writable_file(path: Path) -> bool:
    return not path.is_dir() and os.access(path, os.W_OK)


def _measure(options: argparse.Namespace, earlier: Saved | None) -> int:
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        del os.environ[name]  # the defaults are what is measured
    place = Path(tempfile.mkdtemp(prefix="hansard-bench-", dir=options.dir or _default_place()))
    try:
        facts = machine.facts(place)
        found = run(place, options)
    except KeyboardInterrupt:
        print("interrupted; nothing is saved", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(place, ignore_errors=True)
    settings = {"workers": options.workers, "events": options.events, "quick": options.quick}
    is_reported = _report(Saved(facts, settings, found), earlier, options)
    return 0 if is_reported and not found.broken else 1


def _report(whole: Saved, earlier: Saved | None, options: argparse.Namespace) -> bool:
    """Show the figures, and save and draw them where that is asked for; False when a file could not
    be written."""
    print(compare.table(whole, earlier) if earlier else table.table(whole), flush=True)
    try:
        if options.json:
            saved.write(options.json, whole)
        if options.plots:
            for path in plots.draw(whole.found.curves, options.plots):
                print(f"drawn: {path}")
    except OSError as error:
        name = error.filename or options.json or options.plots
        print(f"{name} is not saved: {error.strerror}", file=sys.stderr)
        return False
    return True


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
        epilog="Exit 1 when a log does not hold what was recorded, or a part failed; the others' "
        "figures\nare there all the same. A time never is an error.\n"
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
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


def _default_place() -> Path:
    """A directory on the checkout's file system: /tmp is often memory, and fsync is then free."""
    temporary = Path(tempfile.gettempdir())
    return temporary if temporary.stat().st_dev == CHECKOUT.stat().st_dev else CHECKOUT


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers end, logs are removed
    sys.exit(main())
