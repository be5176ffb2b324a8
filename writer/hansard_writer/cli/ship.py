"""``hansard ship``: a log's entries on their way to an engine for many logs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click
from click.core import ParameterSource

from hansard.wording import counted
from hansard_writer.cli.collector import collecting_rarely
from hansard_writer.cli.exits import Failed, Taken
from hansard_writer.cli.options import Number, Seconds, directory_option
from hansard_writer.cli.progress import Phases
from hansard_writer.cli.verifier_keys import keys_in, keys_option
from hansard_writer.proof.signed_note import VerifierKey
from hansard_writer.shipping.delivery import INTERVAL_S, Delivery, Observer, Shipped
from hansard_writer.shipping.jetstream.messages import Message
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.relay import Observer as RelayObserver
from hansard_writer.shipping.relay import Relay
from hansard_writer.shipping.target import TargetRefused, TargetTaken, TargetUnavailable
from hansard_writer.shipping.targets import (
    Named,
    TargetOptions,
    kind_of,
    target_named,
    without_password,
)

PARTITIONS_MAX: Final = 1_024
REPLICAS_MAX: Final = 5  # of JetStream
_DEFAULTS: Final = TargetOptions()
_SHIPPING: Final = "shipping"


@click.command(
    name="ship",
    epilog="""\b
Examples:
  hansard ship postgresql://audit@db.example/audit
  hansard ship nats://a.example:4222,b.example:4222,c.example:4222
  hansard ship --from nats://a.example:4222 postgresql://audit@db.example/audit --key web1.pub
  hansard ship --once /mnt/archive && hansard verify /mnt/archive --key writer.pub
""",
)
@click.argument("target")
@directory_option
@click.pass_context
@click.option(
    "--from",
    "source",
    metavar="nats://…",
    help="Ship what comes through NATS JetStream, of all logs, instead of one log.",
)
@keys_option
@click.option("--once", is_flag=True, help="Ship what there is now, and end.")
@click.option(
    "--interval",
    type=Seconds(),
    default=INTERVAL_S,
    show_default=True,
    metavar="SECONDS",
    help="To let entries gather once all are shipped: a batch costs as much as many entries.",
)
@click.option(
    "--replicas",
    type=Number(1, REPLICAS_MAX),
    default=_DEFAULTS.replicas,
    show_default=True,
    help="Of a JetStream stream that is made.",
)
@click.option(
    "--partitions",
    type=Number(1, PARTITIONS_MAX),
    default=_DEFAULTS.partitions,
    show_default=True,
    help="Of the table entries in PostgreSQL, when it is made: logs are spread over them.",
)
@click.option(
    "--rows-per-file",
    type=Number(1),
    default=_DEFAULTS.rows_per_file,
    show_default=True,
    help="Of a Parquet file, at most.",
)
@click.option(
    "--file-age",
    type=Seconds(),
    default=_DEFAULTS.file_age_s,
    show_default=True,
    metavar="SECONDS",
    help="After which a Parquet file is written with fewer rows.",
)
def command(
    context: click.Context,
    target: str,
    directory: Path,
    source: str | None,
    key_files: tuple[Path, ...],
    once: bool,
    interval: float,
    replicas: int,
    partitions: int,
    rows_per_file: int,
    file_age: float,
) -> None:
    """Forward a log to PostgreSQL, NATS JetStream, or Parquet files.

    TARGET is one of:

    \b
      postgresql://USER@HOST/DATABASE   the tables are made, and migrated, by this command
      nats://HOST:4222                  a stream with one subject a log
      /mnt/archive                      Parquet files, with the checkpoints beside them

    Entries go in order, each once, with the signed checkpoint that covers them; what no checkpoint
    covers yet waits for the next one. Each batch is recomputed first: a log that was altered is not
    shipped. Where shipping goes on after an end of any kind, TARGET itself says. Redactions and
    prunes follow. `hansard stats` shows how far it has got; `hansard verify TARGET` verifies it
    there.

    With --from, what comes through NATS is verified once more, and each log goes on behind what
    TARGET has of it. Without --key only the tree is recomputed, up to a checkpoint that anybody
    might have signed who may publish there; with it, only what these keys have signed is shipped
    (behind a rotation of a log's key, give both). A message that does not verify is told and passed
    over, and so is what comes behind entries that are missing; the other logs go on.

    Runs until SIGTERM or SIGINT, through any fault of the target that may pass, or with --once
    until all is shipped. Exits with 1 when the target refuses, the log does not verify, or a
    message was passed over, with 4 when another `hansard ship` ships this log there.
    """
    named = target_named(target, TargetOptions(replicas, partitions, rows_per_file, file_age))
    if source is not None:
        if context.get_parameter_source("directory") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--dir names one log, and --from ships all of a stream.")
        _relay(source, named, keys_in(key_files), once)
        return
    if key_files:
        raise click.UsageError("--key is for --from: what a log has signed itself, it knows.")
    with Phases({_SHIPPING: ("entries", 1.0)}) as phases, collecting_rarely(), _errors_as_exits():
        if once:
            _tell_unsigned(directory)
        observer = _Telling(phases, named.name)
        delivery = Delivery(directory, named.name, named.open, observer, interval)
        with _signals_stop(delivery):
            shipped = delivery.run(once=once)
    behind = shipped.covered - shipped.shipped_to
    left = f"; {counted(behind, 'entry is', 'entries are')} left" if behind else ""
    click.echo(
        f"Shipped {counted(shipped.entries, 'entry', 'entries')} of {shipped.origin} to "
        f"{named.name}, which has {shipped.shipped_to:,} now{left}.",
        err=True,
    )


class _Telling(Observer):
    """Says on stderr what there is to say, and shows progress on a terminal."""

    def __init__(self, phases: Phases, name: str) -> None:
        self._phases = phases
        self._name = name
        self._has_begun = False

    def begins(self, shipped: Shipped) -> None:
        if not self._has_begun:  # once, and not at each new connection
            self._has_begun = True
            click.echo(
                f"Shipping {shipped.origin} to {self._name}, which has {shipped.shipped_to:,} of "
                f"{shipped.covered:,} entries.",
                err=True,
            )

    def goes_on(self, shipped: Shipped) -> None:
        self._phases(_SHIPPING, shipped.shipped_to, max(shipped.covered, shipped.shipped_to))

    def is_held_up(self, why: str, wait_s: float) -> None:
        self._phases.end()
        click.echo(f"{why}; tried again in {wait_s:.1f} s", err=True)

    def skipped(self, origin: str, first: int, last: int) -> None:
        self._phases.end()
        click.echo(
            f"WARNING: the entries {first:,} to {last:,} of {origin} were pruned before they were "
            f"shipped, and {self._name} will never have them",
            err=True,
        )


def _tell_unsigned(directory: Path) -> None:
    """Have all signed that is committed, and say what cannot be."""
    source = LogSource(directory)
    try:
        notice = source.seal()
    finally:
        source.close()
    if notice:
        click.echo(notice, err=True)


def _relay(source: str, target: Named, keys: list[VerifierKey], once: bool) -> None:
    """Ship what comes through a stream."""
    if kind_of(source) != "nats" or target.kind == "nats":
        raise click.UsageError("--from is a stream of NATS, nats://…, and TARGET something else.")
    from hansard_writer.shipping.jetstream import source_opener

    with Phases({_SHIPPING: ("messages", 1.0)}) as phases, collecting_rarely(), _errors_as_exits():
        relay = Relay(source_opener(source, target.name), target.open, _TellingRelay(phases), keys)
        with _signals_stop(relay):
            relayed = relay.run(once=once)
    click.echo(
        f"Shipped {counted(relayed.entries, 'entry', 'entries')} in "
        f"{counted(relayed.batches, 'batch', 'batches')} from {without_password(source)} to "
        f"{target.name}.",
        err=True,
    )
    if relayed.refused:
        raise Failed(f"{counted(relayed.refused, 'message was', 'messages were')} passed over.")


class _TellingRelay(RelayObserver):
    """Says on stderr what there is to say, and shows progress on a terminal."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases
        self._done = 0

    def goes_on(self, pending: int) -> None:
        self._done += 1
        self._phases(_SHIPPING, self._done, self._done + pending)

    def is_held_up(self, why: str, wait_s: float) -> None:
        self._phases.end()
        click.echo(f"{why}; tried again in {wait_s:.1f} s", err=True)

    def refused(self, message: Message, why: str) -> None:
        self._phases.end()
        click.echo(f"WARNING: message {message.number} of {message.subject}: {why}", err=True)


@contextmanager
def _signals_stop(shipping: Delivery | Relay) -> Iterator[None]:
    """Within, SIGTERM and SIGINT end shipping behind the batch that is on its way."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        shipping.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _errors_as_exits() -> Iterator[None]:
    try:
        yield
    except TargetTaken as error:
        raise Taken(str(error)) from error
    except (TargetRefused, TargetUnavailable) as error:
        raise Failed(str(error)) from error
