"""The README's figures, made from the saved run. It measures nothing, and touches nothing else of
the README."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.measuring.figures import Figure
from bench.reporting import plots, saved, wording
from bench.reporting.saved import Saved
from bench.workloads import TASKS

RUN: Final = Path("bench/runs/full.json")  # in the checkout; its pictures lie beside it
README: Final = Path("README.md")
NAME: Final = "figures"  # of the block
_BEGIN: Final = "<!-- {name}: made by scripts/check --fix -->\n"
_END: Final = "\n<!-- end of {name} -->"

_WORKLOADS: Final = {TASKS.name, ""}  # those that are shown
_PEERS: Final = "peers"  # the part that has them, and us among them
_RATE: Final = "events/s"
_CALLER: Final = ("caller's p50", "caller's p99")
_NONE: Final = "—"

_Found = Mapping[tuple[str, str], Figure]  # by part and name


class Row(NamedTuple):
    """What the README says of a figure, and which one it is."""

    what: str
    part: str
    name: str


ROWS: Final = (
    Row("4 workers → commit (`synchronous=FULL`, proof, all indexes)",
        "ingest", "to the last commit"),
    Row("ingest of 4 workers / stdlib `sqlite3` from 4 processes",
        _PEERS, "Hansard / sqlite3, one commit an event"),
    Row("ingest / Redis Streams, `appendfsync always`", _PEERS, "Hansard / Redis Streams always"),
    Row("ingest / PostgreSQL INSERT", _PEERS, "Hansard / PostgreSQL INSERT"),
    Row("ingest / JetStream, fsync every 2 min, `publish_async`",
        _PEERS, "Hansard / JetStream, publish_async"),
    Row("… with acks counted by hand, the fastest that its client can be made",
        _PEERS, "Hansard / JetStream, acks counted"),
    Row("writer CPU an event / bare `executemany` of the same rows, without the proof",
        "proof cost", "writer without / bare"),
    Row("… with the proof, which the bare rows have not",
        "proof cost", "writer with the proof / bare"),
    Row("`record()` / `logging` QueueHandler, calls in a row, p50",
        "record", "record() p50 / QueueHandler p50"),
    Row("`record()` / `logging` QueueHandler, calls in a row, p99",
        "record", "record() p99 / QueueHandler p99"),
    Row("… with SimpleQueue, the cheapest there is, p50", "record",
        "record() p50 / QueueHandler, SimpleQueue p50"),
    Row("`record(sync=True)` / a bare round trip and commit, p50",
        "sync", "record(sync=True) p50 / bare p50"),
    Row("acks/s of 64 synchronous callers / of one", "sync", "acks/s of 64 callers / of 1"),
    Row("ingest at 10 million entries / at 100,000, tasks with a life",
        "growth", "ingest at 10,000,000 / at 100,000"),
    Row("`hansard verify`, on one core", "verify", "verified, on one processor"),
    Row("`kill -9` of the writer: first new ack",
        "recover", "workers alive: first new ack"),
    Row("`kill -9` of the writer: 100,000 spooled events in",
        "recover", "workers alive: 100,000 spooled events in"),
    Row("`kill -9` of writer and workers: 100,000 spooled events in",
        "recover", "workers killed too: 100,000 spooled events in"),
)  # fmt: skip


def saved_run(checkout: Path) -> Saved:
    """The run that a checkout's README is made from. Raises `saved.NoRun`, also for one that has
    entered something else than was recorded: its other figures are not to be believed either."""
    run = saved.read(checkout / RUN)
    if run.found.wrong:
        raise saved.NoRun(f"{RUN} is of a run with wrong entries: {run.found.wrong[0]}")
    return run


def write(checkout: Path) -> None:
    """Make the pictures and the README's figures of a checkout from its saved run. Raises
    `saved.NoRun` and `plots.NoMatplotlib`."""
    run = saved_run(checkout)
    directory = (checkout / RUN).parent
    for name in plots.stale(run.found.curves, directory):
        (directory / name).unlink(missing_ok=True)
    plots.draw(run.found.curves, directory)
    page = checkout / README
    page.write_text(with_block(page.read_text(), NAME, block(run)))


def stale_pictures(checkout: Path) -> list[Path]:
    """Those beside the saved run that were not drawn from it, or are missing."""
    run = saved_run(checkout)
    return [RUN.parent / name for name in plots.stale(run.found.curves, (checkout / RUN).parent)]


def with_block(page: str, name: str, content: str) -> str:
    """The page with one of its generated blocks made anew. Raises `LookupError` where it has no
    such block."""
    begin, end = _BEGIN.format(name=name), _END.format(name=name)
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise LookupError(f"the page has no block {name!r}: {begin}{end}")
    return pattern.sub(lambda _: begin + content + end, page)


def block(run: Saved) -> str:
    """What the README shows of a run; what the run does not have is left out, and named."""
    found = {
        (each.part, each.name): each for each in run.found.figures if each.workload in _WORKLOADS
    }
    peers = list(_peers(found))
    reached = [(row.what, *_cells(found[row[1:]])) for row in ROWS if row[1:] in found]
    absent = dict.fromkeys(row.part for row in ROWS if row[1:] not in found)
    heading = ("", "durability", "events/s", "caller p50", "p99", "Hansard is … times as fast")
    sections = [
        table(heading, peers) if peers else "",
        table(("figure", "measured", "reach"), reached),
        f"Not in this run, or not all of it: {', '.join(absent)}." if absent else "",
        *(f"{note}." for note in (*run.found.broken, *run.found.notes)),
        _made_by(run),
        *map(_picture, plots.plots(run.found.curves)),
    ]
    return "\n\n".join(section for section in sections if section)


def _peers(found: _Found) -> Iterator[tuple[str, ...]]:
    """A row for each contestant: its name stands before the colon, how it keeps events behind."""
    rates = {
        name.partition(": ")[0]: (name.partition(": ")[2], figure.value)
        for (part, name), figure in found.items()
        if part == _PEERS and figure.unit == _RATE
    }
    _, our_rate = rates.get(plots.OURS, ("", 0.0))
    for peer, (durability, rate) in rates.items():
        held = [found.get((_PEERS, f"{peer}: {what}")) for what in _CALLER]
        ratio = found.get((_PEERS, f"{plots.OURS} / {peer}"))
        times = ratio.value if ratio else our_rate / rate
        is_ours = peer.startswith(plots.OURS)
        yield (
            f"**{peer}**" if is_ours else peer,
            durability,
            wording.number(rate),
            *(f"{wording.number(each.value)} {each.unit}" if each else _NONE for each in held),
            wording.number(times) if our_rate and not is_ours else "",
        )


def _cells(figure: Figure) -> tuple[str, str]:
    return f"{wording.number(figure.value)} {figure.unit}", wording.verdict(figure)


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table."""
    head, *lines = (f"| {' | '.join(row)} |" for row in (heading, *rows))
    return "\n".join([head, "|" + "---|" * len(heading), *lines])


def _made_by(run: Saved) -> str:
    machine = run.machine
    command = "scripts/bench --quick" if run.settings["quick"] else "scripts/bench"
    return (
        f"Made by `{command}` on {machine['at'][:10]}: {machine['cpu']}, {machine['cores']} cores "
        f"shared by all processes (load {machine['load_before']:.1f} before it), "
        f"{machine['file_system']}, Python {machine['python']}, SQLite {machine['sqlite']}, "
        f"libzmq {machine['libzmq']}. "
        "What each figure is, and how to make it: [bench/README.md](bench/README.md)."
    )


def _picture(plot: str) -> str:
    return f"![{plot}]({RUN.parent / plots.file_name(plot)})"
