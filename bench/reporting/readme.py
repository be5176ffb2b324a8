"""The README's figures, made from the saved run. It measures nothing, and touches nothing else of
the README."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from bench.reporting import plots, saved, wording
from bench.reporting.saved import Saved
from bench.workloads import TASKS

RUN: Final = Path("bench/runs/full.json")  # in the checkout; its pictures lie beside it
README: Final = Path("README.md")
_WORKLOADS: Final = {TASKS.name, ""}
NAME: Final = "figures"  # of the block
_BEGIN: Final = "<!-- {name}: made by scripts/check --fix -->\n"
_END: Final = "\n<!-- end of {name} -->"


class _Row(NamedTuple):
    """What the README says of a figure, and which one it is: of the first workload, where there are
    several."""

    what: str
    part: str
    name: str


_ROWS: Final = (
    _Row("4 workers → commit (`synchronous=FULL`, all indexes)", "ingest", "to the last commit"),
    _Row("writer CPU an event / bare `executemany` of the same rows, proven", "limit",
         "writer CPU / bare executemany"),
    _Row("writer CPU an event, with the proof / without it", "proof cost",
         "with the proof / without"),
    _Row("`record()` / `logging` QueueHandler, p50", "record", "record() p50 / QueueHandler p50"),
    _Row("`record(sync=True)` / a bare round trip and commit, p50", "sync",
         "record(sync=True) p50 / bare p50"),
)  # fmt: skip


def write(checkout: Path) -> None:
    """Make the pictures and the README's figures of a checkout from its saved run. Raises
    `saved.NoRun` and `plots.NoMatplotlib`."""
    run = saved.read(checkout / RUN)
    directory = (checkout / RUN).parent
    for name in plots.stale(run.found.curves, directory):
        (directory / name).unlink(missing_ok=True)
    plots.draw(run.found.curves, directory)
    page = checkout / README
    page.write_text(with_block(page.read_text(), NAME, block(run)))


def stale_pictures(checkout: Path) -> list[Path]:
    """Those beside the saved run that were not drawn from it, or are missing."""
    run = saved.read(checkout / RUN)
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
    rows = ["| figure | measured | reach |", "|---|---|---|"]
    absent = []
    for row in _ROWS:
        figure = found.get((row.part, row.name))
        if figure is None:
            absent.append(row.what)
            continue
        measured = f"{wording.number(figure.value)} {figure.unit}"
        rows.append(f"| {row.what} | {measured} | {wording.reach(figure)} |")
    sections = ["\n".join(rows)]
    if absent:
        sections.append(f"Not in this run: {'; '.join(absent)}.")
    sections.append(_made_by(run))
    sections += [_picture(plot) for plot in plots.plots(run.found.curves)]
    return "\n\n".join(sections)


def _made_by(run: Saved) -> str:
    machine = run.machine
    command = "scripts/bench --quick" if run.settings["quick"] else "scripts/bench"
    return (
        f"Made by `{command}` on {machine['at'][:10]}: {machine['cpu']}, "
        f"{machine['cores']} cores shared by workers and writer, {machine['file_system']}, "
        f"Python {machine['python']}, SQLite {machine['sqlite']}, libzmq {machine['libzmq']}."
    )


def _picture(plot: str) -> str:
    return f"![{plot}]({RUN.parent / plots.file_name(plot)})"
