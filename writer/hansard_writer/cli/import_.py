"""``hansard import``: files of lines, other systems' records and tables into a log."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from hansard import directory as layout
from hansard.settings import load_settings
from hansard.wording import counted
from hansard_writer import importing
from hansard_writer.cli.exits import AnswerIsNo, Failed, Interrupted, NoWriter, Taken, Unusable
from hansard_writer.cli.import_help import HELP
from hansard_writer.cli.import_reports import (
    SHOWN_MAX,
    Progress,
    by_cause,
    progress,
    sample,
    say,
    summary,
)
from hansard_writer.cli.options import (
    SECONDS,
    SOURCE_FILE,
    TEXT,
    Function,
    Number,
    log_directory_option,
)

WORKERS_MAX: Final = 256
_PRESETS: Final = (*importing.RECORDS, *importing.TABLES)


def _path_option(name: str, help: str) -> Callable[[Function], Function]:  # noqa: A002
    """An option that passes an `importing.Path`."""

    def parsed(
        _context: click.Context, _parameter: click.Parameter, value: str | None
    ) -> importing.Path | None:
        try:
            return None if value is None else importing.Path(value)
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from error

    return click.option(name, type=TEXT, metavar="PATH", callback=parsed, help=help)


def _fields_to_columns(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> Mapping[str, str]:
    pairs = [each.partition("=") for each in given]
    for field, _, column in pairs:
        if not (field and column):
            raise click.BadParameter("it must be FIELD=COLUMN, such as event_type=kind.")
    return {field: column for field, _, column in pairs}


@click.command(
    name="import",
    help=HELP,
    epilog="Example: hansard import events.jsonl.gz --type-field kind --time-field meta.at",
)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=SOURCE_FILE)
@log_directory_option
@click.option(
    "--preset",
    type=click.Choice(_PRESETS),
    help="What FILE or --table is of: see above.",
)
@click.option(
    "--sqlite",
    "old_database",
    type=SOURCE_FILE,
    metavar="OLD.db",
    help="Enter the rows of a table of this SQLite database.",
)
@click.option("--table", type=TEXT, help="The table, or view, of --sqlite.")
@click.option(
    "--map",
    "columns",
    type=TEXT,
    multiple=True,
    metavar="FIELD=COLUMN",
    callback=_fields_to_columns,
    help="Which column is event_type, level, actor, task_id, created_at, payload or key (several: "
    "key=A,B).",
)
@click.option("--source", type=TEXT, metavar="NAME", help="What rows are known under: see above.")
@click.option("--dry-run", is_flag=True, help="Print what would come of it, and write nothing.")
@click.option("--verbose", is_flag=True, help="Report every row and record that does not fit.")
@click.option(
    "--workers",
    type=Number(1, WORKERS_MAX),
    help=f"Worker processes, at most {WORKERS_MAX}. [default: one a processor]",
)
@click.option(
    "--event-type",
    type=TEXT,
    metavar="TYPE",
    help="Type of all events; where it is said elsewhere, of those where that is no valid one.",
)
@_path_option("--type-field", "Where a line has its event type.")
@_path_option("--time-field", "Where a line has its time. [default: now]")
@_path_option("--actor-field", "Where a line has its actor, if it has one.")
@_path_option("--task-field", "Where a line has its task id, if it has one.")
@click.option(
    "--wait",
    type=SECONDS,
    default=60.0,
    show_default=True,
    help="How long to wait for a writer that is away.",
)
def command(
    files: tuple[Path, ...],
    directory: Path,
    preset: str | None,
    old_database: Path | None,
    table: str | None,
    columns: Mapping[str, str],
    source: str | None,
    dry_run: bool,
    verbose: bool,
    workers: int | None,
    event_type: str | None,
    type_field: importing.Path | None,
    time_field: importing.Path | None,
    actor_field: importing.Path | None,
    task_field: importing.Path | None,
    wait: float,
) -> None:
    _check_usage(files, preset, old_database, table, columns)
    if old_database is not None and any((type_field, time_field, actor_field, task_field)):
        raise click.UsageError("PATHs are of lines: of a table say --map FIELD=COLUMN.")
    given = importing.Given(
        event_type=event_type,
        type_path=type_field,
        time_path=time_field,
        actor_path=actor_field,
        task_path=task_field,
    )
    if not dry_run:
        layout.prepare_for_client(directory)
    load_settings(directory)  # what is wrong with them is better said once than by each worker
    run = _Run(directory, workers or _processors(), wait, verbose=verbose)
    try:
        if old_database is None and preset is None:
            if dry_run or source:
                raise click.UsageError("--dry-run and --source go with --preset or --sqlite.")
            run.enter_lines(files, given)
        elif old_database is None:
            assert preset is not None
            name = source or preset
            reading = importing.Drawing(preset, name, given)
            contents = run.examine(files)
            run.take_over(
                name, [importing.RecordSource(each, reading) for each in contents], dry_run=dry_run
            )
        else:
            assert table is not None
            name = source or old_database.name
            with importing.OldDatabase(old_database) as database:
                mapped = importing.mapped(
                    database,
                    table,
                    source=name,
                    preset_name=preset,
                    given=columns,
                    event_type=event_type,
                )
                if not mapped.table.has_lasting_keys:
                    say(
                        f"{table} has no primary key: its rows are known by their rowid, which a "
                        "VACUUM of the old database may change"
                    )
                run.take_over(name, [mapped], dry_run=dry_run)
    except (importing.Unreadable, importing.UnreadableDatabase) as error:
        raise Failed(str(error)) from error
    except importing.BadMap as error:
        raise Unusable(str(error)) from error
    except importing.ImportTaken as error:
        raise Taken(str(error)) from error


def _check_usage(
    files: Sequence[Path],
    preset: str | None,
    old_database: Path | None,
    table: str | None,
    columns: Mapping[str, str],
) -> None:
    if old_database is None:
        if not files:
            raise click.UsageError("Name at least one FILE, or --sqlite OLD.db and --table.")
        if table or columns:
            raise click.UsageError("--table and --map go with --sqlite OLD.db.")
        if preset in importing.TABLES:
            raise click.UsageError(f"--preset {preset} goes with --sqlite OLD.db.")
    else:
        if files:
            raise click.UsageError("--sqlite goes with no FILE.")
        if table is None:
            raise click.UsageError("Say which --table of OLD.db.")
        if preset in importing.RECORDS:
            raise click.UsageError(f"--preset {preset} goes with files, not with --sqlite.")


class _Run:
    """One import, and what is said of it."""

    def __init__(self, directory: Path, workers: int, wait: float, *, verbose: bool) -> None:
        self._directory = directory
        self._workers = workers
        self._wait = wait
        self._shown_max = None if verbose else SHOWN_MAX

    def examine(self, files: Sequence[Path]) -> list[importing.Content]:
        """The files to import; one whose content has come already is left out."""
        contents: dict[bytes, importing.Content] = {}
        for path in files:
            content = importing.examine(path)
            first = contents.setdefault(content.sha256, content)
            if first is not content:
                say(f"{path}: the same content as {first.path}, so the same lines: left out")
        return list(contents.values())

    def enter_lines(self, files: Sequence[Path], given: importing.Given) -> None:
        """Lines whose key is their place in a file."""
        if given.event_type is None and given.type_path is None:
            raise click.UsageError("Say --event-type TYPE or --type-field PATH, or --preset.")
        fields = importing.Fields(
            event_type=given.event_type,
            type_path=given.type_path,
            time_path=given.time_path,
            actor_path=given.actor_path,
            task_path=given.task_path,
        )
        contents = self.examine(files)
        reports = [importing.Report(each.path, each.lines) for each in contents]

        def enter(observer: Progress) -> None:
            run = importing.Import(
                self._directory, workers=self._workers, wait_s=self._wait, observer=observer
            )
            run.run(
                (content, report, fields) for content, report in zip(contents, reports, strict=True)
            )

        self._watched(enter, reports, "line", shown_max=None)

    def take_over(
        self, name: str, sources: Sequence[importing.KeyedSource], *, dry_run: bool
    ) -> None:
        """Rows and records that have keys of their own."""
        reports = [importing.Report(each.path, each.count()) for each in sources]
        if dry_run:
            self._look_at(name, sources, sum(report.total for report in reports))
            return

        def enter(observer: Progress) -> None:
            importing.take_over(
                self._directory,
                name,
                list(zip(sources, reports, strict=True)),
                workers=self._workers,
                wait_s=self._wait,
                observer=observer,
            )

        self._watched(enter, reports, "row", shown_max=self._shown_max)

    def _look_at(self, name: str, sources: Sequence[importing.KeyedSource], total: int) -> None:
        try:
            with progress(total, self._directory, shown_max=self._shown_max) as observer:
                found = importing.preview(self._directory, name, sources, observer)
        except importing.ImportFailed as error:
            raise Failed(str(error)) from error
        for path, place, event in found.samples:
            click.echo(sample(path, place, event))
        click.echo(
            f"{counted(found.total, 'row')} of {name}: {found.fit:,} would be entered, "
            f"{found.already:,} are there already, {found.unfit:,} would be dead letters"
        )
        if found.unfit:
            raise AnswerIsNo(f"They do not fit: {by_cause(observer.causes, self._shown_max)}.")

    def _watched(
        self,
        enter: Callable[[Progress], None],
        reports: Sequence[importing.Report],
        noun: str,
        *,
        shown_max: int | None,
    ) -> None:
        """Import, and say what became of it, also where it ends early."""
        began = time.monotonic()
        total = sum(report.total for report in reports)
        complaint: BaseException | None = None
        with progress(total, self._directory, self._wait, shown_max) as observer:
            try:
                enter(observer)
            except (
                importing.NoWriter, importing.ImportFailed, importing.Unreadable,
                importing.UnreadableDatabase, KeyboardInterrupt,
            ) as error:  # fmt: skip
                complaint = error
        say(summary(reports, noun, time.monotonic() - began))
        if sum(report.kept for report in reports):
            say(
                f"refused: {by_cause(observer.causes, shown_max)}; kept as dead letters: "
                "`hansard dlq list --reason unfit`"
            )
        if isinstance(complaint, importing.NoWriter):
            raise NoWriter(f"{complaint}: start one, and the same command continues")
        if isinstance(complaint, KeyboardInterrupt):
            raise Interrupted(
                "Interrupted: what was recorded is kept, and a writer enters it; "
                "the same command enters the rest."
            )
        if complaint:
            raise Failed(str(complaint))
        if any(report.refused for report in reports):
            raise click.exceptions.Exit(AnswerIsNo.exit_code)


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
