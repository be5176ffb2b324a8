"""``hansard prove``: proofs that others check, and the check of theirs."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from hansard.errors import AuditLogError
from hansard.reader_connection import ReadConnection
from hansard.refusals import timestamp
from hansard_writer.anchoring import take_newest
from hansard_writer.cli.exits import AnswerIsNo, Failed, Unusable
from hansard_writer.cli.given_files import read_given
from hansard_writer.cli.options import SECONDS, TEXT, Number, directory_option
from hansard_writer.cli.output import printable
from hansard_writer.cli.verifier_keys import keys_in, keys_option
from hansard_writer.proof import ProvenConsistency, ProvenEntry, check_proof
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.proofs import PROOF_BYTES_MAX
from hansard_writer.proof.proving import (
    NotCovered,
    checkpoint_of_size,
    newest_checkpoint,
    prove_consistency,
    prove_entry,
)
from hansard_writer.proof.signed_note import (
    NOTE_BYTES_MAX,
    MalformedNote,
)

TIMEOUT_S: Final = 5.0
LATEST: Final = "latest"
SIZE_DIGITS_MAX: Final = 18
INPUT: Final = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
WHICH: Final = f"a size, '{LATEST}', or the file of one"


@click.command(
    name="prove",
    epilog="""\b
Examples:
  hansard prove 168 > entry-168.tlog-proof
  hansard prove --consistency 1000 latest > growth.proof
  hansard prove --consistency kept-checkpoint latest
  hansard prove --check entry-168.tlog-proof --key writer.pub
""",
)
@click.argument("seq", required=False, type=Number(1))
@directory_option
@click.option(
    "--checkpoint",
    "within",
    type=TEXT,
    metavar="CHECKPOINT",
    help=f"Prove that the entry is in this one: {WHICH}. [default: {LATEST}]",
)
@click.option(
    "--consistency",
    "pair",
    nargs=2,
    type=TEXT,
    metavar="OLD NEW",
    help=f"Prove that the log only grew between two checkpoints, each {WHICH}.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there.")
@click.option("--check", "checked", type=INPUT, metavar="FILE", help="Check a proof; - for stdin.")
@keys_option
@click.option(
    "--timeout",
    type=SECONDS,
    default=TIMEOUT_S,
    show_default=True,
    help="How long to wait for the writer's checkpoint, where there is none yet, in seconds.",
)
@click.option("--origin", type=TEXT, help="Check that the proof is of the log of this name.")
def command(
    seq: int | None,
    directory: Path,
    within: str | None,
    pair: tuple[str, str] | None,
    output: Path | None,
    checked: Path | None,
    key_files: tuple[Path, ...],
    timeout: float,
    origin: str | None,
) -> None:
    """Prove that an entry is in the log, or that the log only grew. Or check such a proof.

    The proof of entry SEQ holds the entry, its path in the log's tree and a signed checkpoint
    (C2SP tlog-proof). It is printed; who gets it checks it with --check and the log's public key,
    without the log. A redacted entry is proven too, by what is left of it.

    An entry that no checkpoint covers yet is covered by one that the writer is asked for. An
    outsider's checkpoint file may take the place of a size. Exits with 1 when there is no proof,
    or when the one to check proves nothing; --check says what is proven.
    """
    if sum([seq is not None, pair is not None, checked is not None]) != 1:
        raise click.UsageError("Name one: SEQ, --consistency OLD NEW, or --check FILE.")
    if checked is not None:
        if within is not None or output is not None:
            raise click.UsageError("--checkpoint and --output go with no --check.")
        _check(checked, key_files, origin)
        return
    if key_files or origin is not None:
        raise click.UsageError("--key and --origin go with --check.")
    if seq is None and within is not None:
        raise click.UsageError("--checkpoint goes with SEQ.")
    with closing(ReadConnection(directory)) as log:
        if pair is not None:
            older, newer = (_checkpoint(log, each) for each in pair)
            proof = prove_consistency(log, older, newer)
        elif seq is not None:
            if within is not None:
                proof = prove_entry(log, seq, _checkpoint(log, within))
            else:
                proof = _prove_entry(log, seq, timeout)
    _write(proof, output)


# --- proving ---


def _prove_entry(log: ReadConnection, seq: int, timeout: float) -> str:
    """In the newest checkpoint; the writer is asked for one where that is too old."""
    try:
        return prove_entry(log, seq)
    except NotCovered:
        taken = take_newest(log.directory, timeout)
    try:
        return prove_entry(log, seq, taken.note)
    except NotCovered as error:
        raise NotCovered(
            f"{error} ({taken.notice}); start its writer with `hansard serve --dir {log.directory}`"
        ) from error


def _checkpoint(log: ReadConnection, named: str) -> str:
    """The note of a checkpoint that somebody names: one of the log's own, or one in a file."""
    if named == LATEST:
        return newest_checkpoint(log)
    if named.isascii() and named.isdigit() and len(named) <= SIZE_DIGITS_MAX:
        return checkpoint_of_size(log, int(named))
    try:
        with Path(named).open("rb") as file:
            note = file.read(NOTE_BYTES_MAX + 1)
        read_checkpoint(note)
    except OSError as error:
        raise Unusable(f"{named!r} is no size, and no file: {error.strerror}") from error
    except MalformedNote as error:
        raise Unusable(f"{named} is no checkpoint: {error}") from error
    return note.decode()


def _write(proof: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(proof.encode())
        sys.stdout.buffer.flush()
        return
    try:
        output.write_text(proof, encoding="utf-8", newline="\n")
    except OSError as error:
        raise Failed(f"cannot write {output}: {error.strerror}") from error


# --- checking ---


def _check(path: Path, key_files: Sequence[Path], origin: str | None) -> None:
    if not key_files:
        raise click.UsageError("--check goes with --key: whose signature is to be trusted?")
    keys = keys_in(key_files)
    text = read_given(path, PROOF_BYTES_MAX)
    try:
        proven = check_proof(text, keys, origin=origin)
    except AuditLogError as error:
        raise AnswerIsNo(f"Not proven: {error}.") from error
    for line in _said(proven):
        click.echo(line)


def _said(proven: ProvenEntry | ProvenConsistency) -> Iterator[str]:
    """What is proven, for people, and every fact of it on a line of its own."""
    if isinstance(proven, ProvenEntry):
        entry, checkpoint = proven.entry, proven.checkpoint
        yield f"Proven: entry {entry.seq:,} is in the log of {checkpoint.size:,} entries."
        facts = _facts(proven)
    else:
        older, newer = proven.older, proven.newer
        yield (
            f"Proven: the log of {older.size:,} entries is the beginning of the log of "
            f"{newer.size:,}."
        )
        facts = [("origin", newer.origin)]
        if older.origin != newer.origin:
            facts.append(("older origin", older.origin))
    facts += [("signed by", str(key)) for key in proven.signers]
    for name, value in facts:
        yield f"  {name:<12}  {printable(value)}"


def _facts(proven: ProvenEntry) -> list[tuple[str, str]]:
    entry = proven.entry
    payload = entry.payload if entry.payload is not None else "(none)"
    facts = [
        ("created_at", timestamp(entry.created_at)),
        ("event_type", entry.event_type),
        ("level", entry.level),
        ("actor", entry.actor),
        ("task_id", entry.task_id),
        ("payload", "(redacted)" if entry.is_redacted else payload),
        ("producer", entry.producer_hash.hex()),
        ("producer_seq", str(entry.producer_seq)),
        ("origin", proven.checkpoint.origin),
    ]
    return [(name, value) for name, value in facts if value is not None]
