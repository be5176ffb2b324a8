"""Make what is made from code, in the README and beside it, or see that it is up to date: tables,
pages, and the manual page of all commands.

python scripts/generate.py           exit 1 and name what is stale
python scripts/generate.py --write   write it
"""

import sys
from pathlib import Path

import click

from hansard.settings import settings_table
from hansard_writer.cli import main as command

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]  # which are not installed

import man_page  # noqa: E402

from bench.reporting import readme, sizing  # noqa: E402
from tampering import suite  # noqa: E402

README = ROOT / "README.md"


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


def filled(text: str) -> str:
    """The README with every generated block as it should be."""
    blocks = {
        "settings": settings_table(),
        "commands": commands_table(),
        readme.NAME: readme.block(readme.saved_run(ROOT)),
    }
    for name, content in blocks.items():
        text = readme.with_block(text, name, content)
    return text


def sized(text: str) -> str:
    """The sizing page with its tables as they should be."""
    for name, content in sizing.blocks(sizing.saved_run(ROOT)).items():
        text = readme.with_block(text, name, content)
    return text


def generated() -> dict[Path, str]:
    """All files that are made here, wholly or in part, as they should be."""
    assert isinstance(command, click.Group)
    scale = ROOT / sizing.PAGE
    return {
        README: filled(README.read_text()),
        suite.PAGE: suite.page(),
        scale: sized(scale.read_text()),
        man_page.PAGE: man_page.page(command),
    }


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
    pictures = [str(path) for path in readme.stale_pictures(ROOT)]
    if pictures:
        print(f"not of {readme.RUN}: {', '.join(pictures)}; run scripts/bench --readme",
              file=sys.stderr)  # fmt: skip
    return 1 if stale or pictures else 0


if __name__ == "__main__":
    sys.exit(main())
