"""``hansard serve``: be the writer of a directory, or the supervisor of its writer."""

import contextlib
import faulthandler
import logging
import os
import sys
from collections.abc import Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Final

import click

from hansard.settings import load_settings, log_directory
from hansard_writer.cli.exits import NO, TAKEN, USAGE, Refused, errors_as_exits
from hansard_writer.cli.options import directory_option
from hansard_writer.cli.streams import STDERR, OutputFailed, drop_output
from hansard_writer.lifeline import speak_over
from hansard_writer.log_lines import configure_logging
from hansard_writer.sd_notify import Notifier, service_manager

FOR_ONE_START: Final = ("--accept-rollback", "--accept-lost-key", "--migrate")

_GIVEN: Final = "hansard_writer.cli.serve.given"
_LOG: Final = logging.getLogger("hansard.writer")
_EXAMPLES: Final = """\b
Examples:
  hansard serve --dir /var/lib/myapp/audit
  hansard serve --dir /var/lib/myapp/audit --group auditors --supervise
  hansard serve --dir /var/lib/myapp/audit --tcp tcp://10.0.0.7:7461
  hansard serve --dir /var/lib/myapp/audit --metrics :9464
  hansard serve --dir /var/lib/myapp/audit --user myapp --print-unit \\
    > /etc/systemd/system/hansard.service
"""


class _Serve(click.Command):
    """Keeps its arguments as they were given, so that a supervisor passes on whatever there is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = tuple(args)
        return super().parse_args(ctx, args)


@click.command(name="serve", cls=_Serve, epilog=_EXAMPLES)
@directory_option
@click.option("--group", help="Let workers of this group's members record.")
@click.option(
    "--tcp",
    metavar="tcp://HOST:PORT",
    help="Serve other hosts, too, at this port and the next; needs `hansard keys new` and `allow`.",
)
@click.option(
    "--metrics",
    metavar="[HOST]:PORT",
    help="Show metrics, /healthz and /readyz over HTTP; without a host to this host alone.",
)
@click.option(
    "--supervise",
    is_flag=True,
    help="Start the writer again whenever it crashes, from a small parent process.",
)
@click.option(
    "--accept-rollback",
    is_flag=True,
    help="Serve a log that went back in time, say so in it, and begin a new origin. For one start.",
)
@click.option(
    "--accept-lost-key",
    is_flag=True,
    help="Serve a log whose key is lost: take what is in writer.key, or make a new one, say so in "
    "the log, and begin a new origin. For one start.",
)
@click.option(
    "--migrate",
    is_flag=True,
    help="Migrate a log of an earlier schema first, with a backup beside it. For one start.",
)
@click.option("--supervised", type=(int, int), hidden=True)  # lifeline and restarts so far
@click.option("--lifeline", type=int, hidden=True)  # of whoever runs it for a while
@click.option(
    "--print-unit",
    is_flag=True,
    help="Print a hardened systemd unit that runs this command, and do nothing else.",
)
@click.option(
    "--print-dashboard",
    is_flag=True,
    help="Print a Grafana dashboard of the metrics as JSON, and do nothing else.",
)
@click.option(
    "--print-alerts",
    is_flag=True,
    help="Print Prometheus' alerting rules for the metrics as YAML, and do nothing else.",
)
@click.option(
    "--user",
    help="Whom the unit runs the writer as. [default: who owns the directory, else who runs this]",
)
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
    tcp: str | None,
    metrics: str | None,
    operations: tuple[str, ...],
    accept_rollback: bool,
    accept_lost_key: bool,
    migrate: bool,
    supervise: bool,
    supervised: tuple[int, int] | None,
    lifeline: int | None,
    print_unit: bool,
    print_dashboard: bool,
    print_alerts: bool,
    user: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Be the writer of a log until SIGTERM or SIGINT.

    Prints one line `hansard ready …` on stdout once the log can be used, and logs to stderr. On
    SIGTERM it commits what it has read, answers, and exits with 0. Exits with 2 for a mistake in
    arguments or settings, with 4 when another writer serves the directory.

    With --supervise a crash of the writer is followed by a new start and a new ready line; after
    10 restarts within a minute it gives up and exits with 1. An exit with 0 that nobody asked for
    is a crash, and so is a writer that has not moved for a minute. Where another writer serves the
    directory, it waits half a minute for that one to end.

    Under systemd (Type=notify, WatchdogSec=) it says when it is ready, how it is doing, that its
    loop goes round, and when it stops. With --supervise the supervisor is the main process and
    says so for both: NotifyAccess=main is right either way. --print-unit prints a unit for that.

    With --tcp (or the setting tcp) workers of other hosts record here: encrypted (CURVE), and only
    with keys that `hansard keys allow` has let in, each with its own rights and producers. Frames
    come in at the next port. It refuses to listen without a key of its own or anybody allowed.

    With --metrics (or the setting metrics) Prometheus finds the writer's figures at /metrics, and
    whoever starts and stops services finds out at /healthz whether the writer lives, at /readyz
    whether it takes events in now, and if not, why. :9464 is for this host; to let others look,
    name an address that they reach. It needs `pip install 'hansard[metrics]'`.

    It signs a checkpoint of the log behind its commits (setting checkpoint_interval), with the key
    writer.key, which it makes at the first start, and writes it to DIR/checkpoint. A log that is
    not the one that was signed there is refused: somebody has put back an older copy, or another.
    So is a log of an earlier schema, until `hansard migrate` or --migrate has made it one of this.
    """
    if print_unit and (accept_rollback or accept_lost_key or migrate):
        *some, last = FOR_ONE_START
        raise click.UsageError(
            f"{', '.join(some)} and {last} are for one start, and a unit is started again and "
            "again: run `hansard serve` with it once, and stop it."
        )
    if print_dashboard or print_alerts:
        name = "dashboard.json" if print_dashboard else "alerts.yaml"
        text = resources.files("hansard_writer.metrics").joinpath(name).read_text()
        click.echo(text, nl=False)
        return
    if print_unit:
        from hansard_writer.cli.unit import unit_for

        click.echo(unit_for(context), nl=False)
        return
    if user is not None:
        raise click.UsageError("--user is for --print-unit: a writer runs as who starts it.")
    configure_logging(log_level, log_format)
    faulthandler.enable(STDERR)  # who ends us for hanging, by SIGABRT, gets to see where
    lifeline, restarts = supervised or (lifeline, None)
    told = service_manager if lifeline is None else partial(speak_over, lifeline)
    notifier = told(os.environ)
    with _failures_told(notifier, log_format):
        if supervise and lifeline is None:
            context.exit(_supervise(context.meta[_GIVEN], notifier))
        from hansard_writer.process import serve

        path = log_directory(directory)
        settings = load_settings(path, {"group": group, "tcp": tcp, "metrics": metrics})
        ready = partial(_print_ready, must=supervised is None)
        serve(
            path,
            settings,
            ready,
            operations,
            accept_rollback=accept_rollback,
            accept_lost_key=accept_lost_key,
            migrate=migrate,
            supervised_restarts=restarts,
            notifier=notifier,
        )


def _supervise(given: tuple[str, ...], manager: Notifier) -> int:
    """Run this command, with the same arguments, as a writer of our own; what is accepted for one
    start, for the first."""
    from hansard_writer.supervisor import Restarts, supervise

    def writers_command(lifeline: int, restarts: int) -> list[str]:
        # -P: what lies in the working directory is nobody's module
        program = [sys.executable, "-P", "-m", "hansard_writer", "serve"]
        once = set(FOR_ONE_START) if restarts else set()  # a later rollback nobody has accepted
        options = [each for each in given if each not in once]
        return [*program, "--supervised", str(lifeline), str(restarts), *options]

    return supervise(writers_command, {USAGE, TAKEN}, Restarts(), manager)


@contextlib.contextmanager
def _failures_told(notifier: Notifier, log_format: str) -> Iterator[None]:
    """Within, whoever started us hears why it failed; and where the log is JSON, it says so too."""
    as_json = log_format == "json"
    try:
        with errors_as_exits():
            yield
    except click.ClickException as error:
        notifier.failed(error.format_message(), is_refused=isinstance(error, Refused))
        if not as_json:
            raise
        _LOG.error(error.format_message())
        raise click.exceptions.Exit(error.exit_code) from error
    except click.exceptions.Exit:
        raise
    except Exception as error:
        notifier.failed(f"{type(error).__name__}: {error}")
        if not as_json:
            raise
        _LOG.critical("a fault of Hansard's own, or of an operation's module", exc_info=True)
        raise click.exceptions.Exit(NO) from error


def _print_ready(line: str, *, must: bool) -> None:
    """Say that it can be used. Where it ``must`` be said, whoever waits for it is to see it fail;
    a writer that was started again, perhaps at night, does not stay away for that."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # who has seen enough of other output is done; a log is not
        drop_output()
        _LOG.warning("nobody reads stdout, where the writer says that it is ready: serving on")
    except OutputFailed as error:
        if must:
            raise
        drop_output()
        _LOG.warning("%s, where the writer says that it is ready: serving on", error)
