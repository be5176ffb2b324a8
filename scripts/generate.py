"""Make what is made from code, in the README and beside it, or see that it is up to date.

python scripts/generate.py           exit 1 and name what is stale
python scripts/generate.py --write   write it
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from hansard.settings import settings_table
from hansard_writer.cli import main as command

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SAVED_RUN = ROOT / "bench" / "runs" / "quick.json"
BLOCK = "<!-- {name}: made by scripts/check --fix -->\n"
END = "\n<!-- end of {name} -->"


def commands_table() -> str:
    """Each subcommand and what it does, from its own help."""
    rows = ["| command | what it does |", "|---|---|"]
    assert isinstance(command, click.Group)
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        rows.append(f"| `hansard {name}` | {found.get_short_help_str(200)} |")
    return "\n".join(rows)


SHOWN = {
    ("ingest", "to the last commit"): "4 workers → commit (`synchronous=FULL`, all indexes)",
    ("limit", "bare executemany"): "bare `apsw.executemany`, same rows without proof, one process",
    ("limit", "writer CPU / bare executemany"): "writer CPU an event, proven / bare `executemany`",
    ("proof cost", "with the proof / without"): "writer CPU an event, with the proof / without it",
    ("record", "record() p50"): "`record()` p50",
    ("record", "record() p99"): "`record()` p99",
    ("record", "QueueHandler p50"): "`logging` QueueHandler p50, same payload",
    ("record", "record() p50 / QueueHandler p50"): "`record()` / QueueHandler, p50",
    ("sync", "record(sync=True) p50"): "`record(sync=True)` p50, one caller",
    ("sync", "bare REQ/REP and commit p50"): "a bare REQ/REP round trip and a commit of one row",
}


def figures_table() -> str:
    """The figures of the saved run that the README shows, and the machine they were made on."""
    run: dict[str, Any] = json.loads(SAVED_RUN.read_text())
    found = {(figure["part"], figure["name"]): figure for figure in run["figures"]}
    rows = ["| figure | measured | reach |", "|---|---|---|"]
    for key, what in SHOWN.items():
        figure = found[key]
        reach = f"at most {figure['reach_max']:g}" if figure["reach_max"] else ""
        rows.append(f"| {what} | {_number(figure['value'])} {figure['unit']} | {reach} |")
    machine = run["machine"]
    rows += [
        "",
        (
            f"Made by `scripts/bench --quick` on {machine['at'][:10]}: {machine['cpu']}, "
            f"{machine['cores']} cores shared by workers and writer, {machine['file_system']}, "
            f"Python {machine['python']}, SQLite {machine['sqlite']}, libzmq {machine['libzmq']}."
        ),
    ]
    return "\n".join(rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def filled(text: str) -> str:
    """The README with every generated block as it should be."""
    blocks = {
        "settings": settings_table(),
        "commands": commands_table(),
        "figures": figures_table(),
    }
    for name, content in blocks.items():
        begin, end = BLOCK.format(name=name), END.format(name=name)
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no block {name!r}: {begin}{end}")
        text = pattern.sub(lambda _, whole=begin + content + end: whole, text)
    return text


def generated() -> dict[Path, str]:
    """All files that are made here, wholly or in part, as they should be."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tampering import suite

    return {README: filled(README.read_text()), suite.PAGE: suite.page()}


def main() -> int:
    """Check, or write with --write; 1 when something is stale."""
    wanted = generated()
    if "--write" in sys.argv[1:]:
        for path, text in wanted.items():
            path.write_text(text)
        return 0
    stale = [
        str(path.relative_to(ROOT))
        for path, text in wanted.items()
        if not path.exists() or path.read_text() != text
    ]
    if stale:
        print(f"stale: {', '.join(stale)}; run scripts/check --fix", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
