"""``hansard record``: enter one event."""

import json
import logging
import sys
from pathlib import Path

import click
import orjson

import hansard
from hansard.entry import ORPHANED
from hansard_writer.cli.exits import AnswerIsNo, Failed, Interrupted, NoWriter
from hansard_writer.cli.options import LEVEL, SECONDS, TEXT, directory_option
from hansard_writer.cli.streams import OutputFailed


@click.command(
    name="record",
    epilog="Example: hansard record user.login '{\"user\": 7}' --actor sshd --task-id T1",
)
@click.argument("event_type", type=TEXT)
@click.argument("payload", required=False, metavar="[PAYLOAD_JSON|-]")
@directory_option
@click.option("--level", type=LEVEL, default="info", show_default=True)
@click.option("--actor", help="Who did it.")
@click.option("--task-id", help="The task that it belongs to.")
@click.option(
    "--sync/--no-sync", default=True, show_default=True, help="Wait for the entry's id, or do not."
)
@click.option("--timeout", type=SECONDS, help="Seconds to wait. [default: ack_timeout]")
def command(
    directory: Path,
    event_type: str,
    payload: str | None,
    level: str,
    actor: str | None,
    task_id: str | None,
    sync: bool,
    timeout: float | None,
) -> None:
    """Record one event and print the entry's id.

    PAYLOAD_JSON is the text of a JSON object and is kept as it is; - reads it from stdin. With
    --no-sync nothing is printed. Exits with 1 when the writer refuses the event, keeps it as an
    orphan until its task is registered, or when it is lost for want of a spool, and with 3 when no
    writer answers: the event then stays in the spool, and a writer enters it when it runs.
    """
    fragment = None if payload is None else orjson.Fragment(_checked(_bytes_of(payload)))
    if sync:
        logging.getLogger("hansard").setLevel(logging.ERROR)  # what it warns of, we say once
    log = hansard.AuditLog(directory, best_effort=False)
    try:
        entry = log.record(event_type, fragment, level=level, actor=actor, task_id=task_id,
                           sync=sync, timeout=timeout)  # fmt: skip
        if log.close() and not log.statistics()["spooled"] and not sync:
            raise Failed("no spool could be made and no writer took the event: it is lost")
    except (hansard.WriterUnavailable, hansard.AckTimeout) as error:
        raise NoWriter(f"{error}; {_what_became_of_it(log)}") from error
    except hansard.Rejected as error:
        raise Failed(f"{error}; see `hansard dlq list --dir {directory}`") from error
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted: {_what_became_of_it(log)}.") from None
    finally:
        log.close(timeout=0)
    if entry.status == ORPHANED:
        raise AnswerIsNo(
            f"The event waits as an orphan: task {task_id!r} is not registered; it is entered "
            "when it is (see hansard dlq list)."
        )
    if sync:
        _print_id(entry.id)


def _print_id(number: int | None) -> None:
    try:
        click.echo(number)
    except OutputFailed as error:
        raise Failed(f"the event is entered, its id is {number}; {error}") from error


def _what_became_of_it(log: hansard.AuditLog) -> str:
    facts = log.statistics()
    if not facts["submitted"]:
        return "nothing was recorded"
    if not facts["waiting"] or (log.is_open and not log.close(timeout=0)):
        return "it was entered meanwhile: see `hansard tail`"
    return (
        "the event is kept in the spool, and a writer enters it when it runs"
        if facts["spooled"]
        else "there is no spool to keep the event in, and it is lost"
    )


def _bytes_of(payload: str) -> bytes:
    """The text of the payload, from stdin where it is a dash."""
    if payload != "-":
        return payload.encode("utf-8", "surrogateescape")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        reason = f"stdin cannot be read: {error.strerror}"
        raise click.BadParameter(reason, param_hint="PAYLOAD_JSON") from error
    except KeyboardInterrupt:
        raise Interrupted("Interrupted: nothing was recorded.") from None


def _checked(text: bytes) -> bytes:
    """The same text; it must be a JSON object to everybody, so NaN and Infinity are none."""
    try:
        value = json.loads(text.decode(), parse_int=str, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"it is no JSON: {error}", param_hint="PAYLOAD_JSON") from error
    if not isinstance(value, dict):
        raise click.BadParameter("it must be a JSON object: {…}", param_hint="PAYLOAD_JSON")
    return text.strip()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not allowed")
