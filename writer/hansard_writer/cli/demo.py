"""``hansard demo``: see for yourself that nothing is lost and nothing doubled."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from hansard.wording import counted
from hansard_writer import demo, importing
from hansard_writer.cli.exits import AnswerIsNo, Failed, NoWriter
from hansard_writer.cli.options import DIRECTORY, SOURCE_FILE, Number

SAMPLE_ENTRIES: Final = 3
WORKERS_MAX: Final = 64
WIDTH_MAX: Final = 100
_ROW: Final = "  {:<30}{:>9}{:>11}{:>10}"


@click.command(name="demo", epilog="Example: hansard demo tests/data/*.jsonl.gz")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=SOURCE_FILE,
)
@click.option(
    "--dir",
    "directory",
    type=DIRECTORY,
    help="Directory of the new log. [default: a temporary one, which stays]",
)
@click.option(
    "--workers",
    type=Number(1, WORKERS_MAX),
    default=4,
    show_default=True,
    help=f"Worker processes that record, at most {WORKERS_MAX}.",
)
@click.option(
    "--kill/--no-kill",
    default=True,
    show_default=True,
    help="Kill the writer with -9 in the middle, and start it again.",
)
def command(files: tuple[Path, ...], directory: Path | None, workers: int, kill: bool) -> None:
    """Record files and commands, and count what arrives.

    The files are JSON Lines, plain or gzip. Starts a writer in a fresh directory, kills it with -9
    while events are on their way, starts it again, and holds every entry in the database against
    the line that it came from. Then it runs three commands as operations, finds the failed one by
    search, and verifies the log, and a copy that somebody has changed. Exits with 1 unless all
    lines are there, each once.
    """
    directory = (directory or Path(tempfile.mkdtemp(prefix="hansard-demo-"))).absolute()
    click.echo(
        f"{counted(len(files), 'file')}, {counted(workers, 'worker process', 'worker processes')}, "
        f"a new log in {directory}\n"
    )
    try:
        outcome = demo.run(
            directory,
            list(files),
            workers=workers,
            kill=kill,
            tell=lambda message: click.echo(f"  {message}"),
        )
    except importing.NoWriter as error:
        raise NoWriter(str(error)) from error
    except (importing.ImportFailed, importing.Unreadable) as error:
        raise Failed(str(error)) from error
    if kill and not outcome.was_killed:
        click.echo("  (all was committed before the writer could be killed in the middle)")
    _print_table(outcome)
    _print_entries(directory)
    commands = demo.run_commands(directory)
    _print_commands(commands)
    _print_proof(demo.tamper(directory, commands.operations[-1].id))
    click.echo(
        f"\nWhat to type next:\n  export HANSARD_DIR={shlex.quote(str(directory))}\n"
        + _alias()
        + "  hansard query --limit 10\n  hansard serve &\n  hansard stats\n"
    )
    click.echo(f"lost {outcome.lost}, doubled {outcome.doubled}")
    if outcome.lost or outcome.doubled:
        raise click.exceptions.Exit(AnswerIsNo.exit_code)


def _print_table(outcome: demo.Outcome) -> None:
    click.echo("\n" + _ROW.format("events of", "in file", "recorded", "entered"))
    for each in outcome.sets:
        click.echo(_row(each.name, each.lines, each.recorded, each.entered))
    lines, recorded, entered = (
        sum(getattr(each, column) for each in outcome.sets)
        for column in ("lines", "recorded", "entered")
    )
    name = "all, with the restart" if outcome.was_killed else "all"
    rate = f"   {entered / outcome.seconds:,.0f} events/s"
    click.echo(_row(name, lines, recorded, entered) + rate)
    refused = sum(each.refused for each in outcome.sets)
    if refused:
        click.echo(f"\n  Refused, because it is no JSON object: {counted(refused, 'line')}.")
    if times := outcome.record_ns:
        p50, p99 = (times[len(times) * percent // 100] / 1_000 for percent in (50, 99))
        click.echo(f"\n  record() took a worker {p50:.1f} µs (p50), {p99:.1f} µs (p99).")


def _row(name: str, lines: int, recorded: int, entered: int) -> str:
    shown = name if len(name) <= 28 else name[:27] + "…"
    return _ROW.format(shown, f"{lines:,}", f"{recorded:,}", f"{entered:,}")


def _print_entries(directory: Path) -> None:
    """By the command itself, for what it really prints."""
    arguments = ["query", "--limit", str(SAMPLE_ENTRIES), "--format", "table"]
    click.echo(f"\nThe log, as `hansard {' '.join(arguments[:3])}` shows it:")
    columns = min(shutil.get_terminal_size((80, 24)).columns, WIDTH_MAX)
    printed = subprocess.run(
        [sys.executable, "-P", "-m", "hansard_writer", *arguments, "--dir", str(directory)],
        env={**os.environ, "COLUMNS": str(columns - 2)},
        capture_output=True,
        check=False,
    )
    for line in (printed.stdout or printed.stderr).decode(errors="replace").splitlines():
        click.echo(f"  {line}")


def _print_commands(commands: demo.Commands) -> None:
    click.echo("\nThree commands, each recorded as an operation by `op.run`:")
    for each in commands.operations:
        milliseconds = f"{each.duration_ms or 0:,.0f} ms"
        click.echo(
            f"  {each.id:>5}  {each.operation:<11}{each.status:<8} exit {each.exit_code}"
            f"{milliseconds:>10}"
        )
    click.echo(f"\nWhich one failed? `hansard query --search '{demo.SEARCHED}'` found:")
    for event in commands.found:
        error = str((event.data or {}).get("stderr", "")).strip().splitlines()
        click.echo(f"  {event.id:>5}  {error[-1] if error else ''}"[:WIDTH_MAX])
    click.echo(f"        in {commands.search_s * 1_000:.1f} ms")


def _print_proof(tampered: demo.Tampered) -> None:
    """The command's own words, but for what the reader cannot judge yet."""
    before, after = tampered.before, tampered.after
    click.echo(f"\n`hansard verify` recomputes all {before.entries:,} entries, hash by hash:")
    click.echo(f"  {before.verdict}, in {before.seconds:.2f} s")
    click.echo(f"In a copy, somebody with all rights makes operation {tampered.seq} a success:")
    named = ", ".join(map(str, after.findings))
    click.echo(f"  {after.verdict}: {named}"[:WIDTH_MAX])


def _alias() -> str:
    """A line that makes `hansard` mean this very command, empty where it does already."""
    program = Path(sys.argv[0])
    if program.name != "hansard":
        return f"  alias hansard={shlex.quote(f'{sys.executable} -m hansard_writer')}\n"
    on_path = shutil.which("hansard")
    if on_path and Path(on_path).samefile(program):
        return ""
    return f"  alias hansard={shlex.quote(str(program.absolute()))}\n"
