"""What a log's database says of itself: which log it is, how far it reaches, who signs it.

It reads one database, in a directory by itself or in a log's, and judges nothing.
"""

from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from hansard.errors import AuditLogError
from hansard.reader_connection import ReadConnection
from hansard_writer.proof.key_chain import BrokenChain, KeyChain, read_key_chain
from hansard_writer.proof.signed_note import MalformedKey
from hansard_writer.proof.stored_tree import NodeMissing, stored_tree

_LOG_ID: Final = "SELECT lower(hex(value)) FROM meta WHERE key = 'log_id'"
_ENTRIES: Final = "SELECT coalesce(max(seq), 0) FROM entries"
_CHECKPOINT: Final = "SELECT max(size) FROM checkpoints"


class Contents(NamedTuple):
    """``entries`` is the size of the log, ``checkpoint`` that of its newest checkpoint, None where
    there is none, ``chain`` its keys, None where it was never signed."""

    log_id: str
    entries: int
    checkpoint: int | None
    chain: KeyChain | None


def contents_of(log: ReadConnection) -> Contents:
    """Look, in one moment. Raises `hansard.AuditLogError` where it does not say what a log does."""
    with log.snapshot():
        ids = log.rows(_LOG_ID)
        if not ids:
            raise AuditLogError(f"the log in {log.directory} has lost its id: see `hansard verify`")
        try:
            chain = read_key_chain(log.rows)
        except (BrokenChain, MalformedKey) as error:
            raise AuditLogError(
                f"the log in {log.directory} does not say who signs it: {error}"
            ) from error
        return Contents(ids[0][0], log.rows(_ENTRIES)[0][0], log.rows(_CHECKPOINT)[0][0], chain)


def contents_in(directory: Path) -> Contents:
    """The same, of the log in a directory. Raises `hansard.ConfigError` too."""
    with closing(ReadConnection(directory)) as log:
        return contents_of(log)


def have_one_history(one: Path, other: Path, size: int) -> bool:
    """Whether the logs in two directories have the same first ``size`` entries, as their trees say.
    Where one cannot say it any more (pruned), they have."""
    roots = []
    for directory in (one, other):
        with closing(ReadConnection(directory)) as log:
            try:
                roots.append(stored_tree(log.rows).root(size))
            except NodeMissing:
                return True
    return roots[0] == roots[1]
