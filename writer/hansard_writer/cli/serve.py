"""``hansard serve``: be the writer of a directory."""

import sys
from pathlib import Path

import click

from hansard.settings import load_settings, log_directory
from hansard_writer.cli.options import directory_option


@click.command(name="serve", epilog="Example: hansard serve --dir /var/lib/myapp/audit")
@directory_option
@click.option("--group", help="Let workers of this group's members record.")
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
def command(
    directory: Path | None,
    group: str | None,
    operations: tuple[str, ...],
    log_level: str,
    log_format: str,
) -> None:
    """Be the writer of a log until SIGTERM or SIGINT.

    Prints one line `hansard ready …` on stdout once the log can be used, and logs to stderr. On
    SIGTERM it commits what it has read, answers, and exits with 0. Exits with 4 when another
    writer serves the directory.
    """
    from hansard_writer.process import configure_logging, serve

    configure_logging(log_level, log_format)
    path = log_directory(directory)
    serve(path, load_settings(path, {"group": group}), _print_ready, operations)


def _print_ready(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
