"""One look at a log, in one moment: how far it reaches, and whether its tree ends where it does."""

from typing import Final, NamedTuple

from hansard import wire
from hansard.reader_connection import ReadConnection
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, ROW_HASHES, ROW_HEIGHT
from hansard_writer.proof.verifying.findings import FINDINGS_NAMED_MAX, Findings

OWN_PRODUCER: Final = 0

FIRST: Final = "SELECT min(seq) FROM entries WHERE seq > 0"

_SIZE: Final = "SELECT coalesce(max(seq), 0) FROM entries"
_NO_ENTRIES: Final = "SELECT seq FROM entries WHERE seq < 1 ORDER BY seq DESC LIMIT ?"
_LEVELS: Final = "SELECT coalesce(min(level), 0), coalesce(max(level), -1) FROM tree"
_LAST_ROW: Final = "SELECT idx, length(hashes) FROM tree WHERE level = ? ORDER BY idx DESC LIMIT 1"
_FIRST_ROW: Final = "SELECT idx FROM tree WHERE level = ? ORDER BY idx LIMIT 1"
_BEYOND: Final = (
    "SELECT size, CAST(note AS BLOB) FROM checkpoints WHERE size > ? ORDER BY size DESC LIMIT ?"
)
_LOG_ID: Final = "SELECT value FROM meta WHERE key = 'log_id'"
_WRITER: Final = f"SELECT producer_hash FROM producers WHERE id = {OWN_PRODUCER}"  # noqa: S608


class Look(NamedTuple):
    """How many entries the log has, how many leaves its tree, and the checkpoints that say it was
    larger: size and note, the largest first."""

    size: int
    leaves: int
    beyond: list[tuple[int, bytes]]


def look(connection: ReadConnection, findings: Findings) -> Look:
    """Look, and note what does not end where the entries end; but not that the tree has leaves of
    entries that are not there."""
    rows = connection.rows
    with connection.snapshot():
        size = max(rows(_SIZE)[0][0], 0)
        leaves = _check_tree(connection, size, findings)
        for (seq,) in rows(_NO_ENTRIES, FINDINGS_NAMED_MAX):
            findings.add("no log has such an entry", seq)
        return Look(size, leaves, rows(_BEYOND, size, FINDINGS_NAMED_MAX))


def check_identity(connection: ReadConnection, findings: Findings) -> str | None:
    """Note it where the first producer is not the writer of this log; the log's id in hex."""
    found = connection.rows(_LOG_ID)
    log_id = found[0][0] if found else None
    if not isinstance(log_id, bytes):
        findings.add("the log has lost its id: nothing says whose writer has made entries")
        return None
    own = connection.rows(_WRITER)
    if not own or own[0][0] != wire.producer_hash(b"hansard writer " + log_id):
        findings.add("producer 0 is not the writer of the log with this id")
    return log_id.hex()


def _check_tree(connection: ReadConnection, size: int, findings: Findings) -> int:
    """Hold the last row of each level against the size; how many leaves there are."""
    lowest, highest = connection.rows(_LEVELS)[0]
    leaves, level = _nodes(connection, 0), 0
    if leaves < size:
        findings.add(f"the tree has {leaves:,} leaves, and the log {size:,} entries")
    while leaves == size and (expected := size >> (ROW_HEIGHT * level)):
        found = _nodes(connection, level)
        if found != expected:
            findings.add(
                f"level {level} of the tree has {found:,} nodes where there should be {expected:,}"
            )
        level += 1
    first = connection.rows(_FIRST_ROW, 0)
    if lowest < 0 or (leaves == size and highest >= level) or (first and first[0][0] < 0):
        findings.add("there are rows of the tree that no tree has")
    return leaves


def _nodes(connection: ReadConnection, level: int) -> int:
    """How many nodes a level has, by its last row; a part of a hash counts as one more."""
    found = connection.rows(_LAST_ROW, level)
    if not found:
        return 0
    idx, length = found[0]
    return int(idx * ROW_HASHES + -(-length // HASH_BYTES))
