"""``hansard serve``: be the writer of a directory, or the supervisor of its writer."""

import logging
import sys
from pathlib import Path
from typing import Final

import click

from hansard.settings import load_settings, log_directory
from hansard_writer.cli.exits import DONE, TAKEN, USAGE
from hansard_writer.cli.options import directory_option
from hansard_writer.cli.streams import drop_output
from hansard_writer.log_lines import configure_logging

_GIVEN: Final = "hansard_writer.cli.serve.given"
_LOG: Final = logging.getLogger("hansard.writer")


class _Serve(click.Command):
    """Keeps its arguments as they were given, so that a supervisor passes on whatever there is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)


@click.command(name="serve", cls=_Serve, epilog="Example: hansard serve --dir /var/lib/myapp/audit")
@directory_option
@click.option("--group", help="Let workers of this group's members record.")
@click.option(
    "--supervise",
    is_flag=True,
    help="Start the writer again whenever it crashes, from a small parent process.",
)
@click.option("--supervised", type=(int, int), hidden=True)  # lifeline and restarts so far
@click.option(
    "--operations",
    multiple=True,
    metavar="MODULE",
    help="Load named operations from this module (package.module), for log.call(). Repeatable.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.pass_context
def command(
    context: click.Context,
    directory: Path | None,
    group: str | None,
    operations: tuple[str, ...],
    supervise: bool,
    supervised: tuple[int, int] | None,
    log_level: str,
    log_format: str,
) -> None:
    """Be the writer of a log until SIGTERM or SIGINT.

    Prints one line `hansard ready …` on stdout once the log can be used, and logs to stderr. On
    SIGTERM it commits what it has read, answers, and exits with 0. Exits with 4 when another
    writer serves the directory.

    With --supervise a crash of the writer is followed by a new start and a new ready line; after
    10 restarts within a minute it gives up and exits with 1.
    """
    configure_logging(log_level, log_format)
    if supervise and supervised is None:
        context.exit(_supervise(context.meta[_GIVEN]))
    lifeline, restarts = supervised or (None, None)
    from hansard_writer.process import serve
    from hansard_writer.supervisor import end_without_supervisor

    if lifeline is not None:
        end_without_supervisor(lifeline)
    path = log_directory(directory)
    settings = load_settings(path, {"group": group})
    serve(path, settings, _print_ready, operations, supervised_restarts=restarts)


def _supervise(given: tuple[str, ...]) -> int:
    """Run this command, with the same arguments, as a writer of our own."""
    from hansard_writer.supervisor import Restarts, supervise

    def writers_command(lifeline: int, restarts: int) -> list[str]:
        program = [sys.executable, "-m", "hansard_writer", "serve"]
        return [*program, "--supervised", str(lifeline), str(restarts), *given]

    return supervise(writers_command, {DONE, USAGE, TAKEN}, Restarts())


def _print_ready(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # who has seen enough of other output is done; a log is not
        drop_output()
        _LOG.warning("nobody reads stdout, where the writer says that it is ready: serving on")
