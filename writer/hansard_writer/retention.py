"""Which of a log's oldest entries may go, and their archive. It reads the log, and changes nothing.

What goes is a prefix, because what stays is proven with the edge of the tree in front of it.
"""

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from hansard.reader.paging import Rows
from hansard_writer.durable_files import sync_directory
from hansard_writer.proof import LoggedEntry, MalformedEntry, NotProven, VerifierKey
from hansard_writer.proof.archive import (
    Archived,
    Head,
    Progress,
    Seal,
    archive_lines,
    check_archive,
)
from hansard_writer.proof.logged_entry import READ_ENTRIES
from hansard_writer.proof.merkle_hash_tree import consistency_proof
from hansard_writer.proof.proofs import MalformedProof
from hansard_writer.proof.proving import NotCovered
from hansard_writer.proof.stored_tree import stored_tree

ENTRIES_PER_LOOK: Final = 10_000  # in one read transaction
ROWS_PER_PAGE: Final = 100  # of entries with their payloads
COMPRESSION_LEVEL: Final = 6
ENTRY_BYTES: Final = 250  # besides its text: keys, hashes, tree, indexes
LINE_BYTES_MAX: Final = 16 << 20  # an entry of 1 MiB is 6 MiB in the worst case
ARCHIVE_MODE: Final = 0o600
PARTIAL_SUFFIX: Final = ".partial"

_PRUNED_TO: Final = "SELECT coalesce(max(value), 0) FROM meta WHERE key = 'pruned_to'"
_NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM entries"
_BYTES: Final = (  # of one entry, about
    "octet_length(concat(event_type, level, actor, task_id))"
    f" + coalesce(octet_length(payload), 0) + {ENTRY_BYTES}"
)
_FACTS: Final = (
    f"SELECT min(created_at), max(created_at), sum({_BYTES})"  # noqa: S608 - our own words
    " FROM entries WHERE seq > ? AND seq <= ?"
)
_FIRST_REACHING: Final = (
    f"SELECT min(seq) FROM (SELECT seq, sum({_BYTES}) OVER (ORDER BY seq) AS bytes"  # noqa: S608
    " FROM entries WHERE seq > ? AND seq <= ?) WHERE bytes >= ?"
)
_FIRST_NEWER: Final = (
    "SELECT min(seq), created_at FROM entries WHERE seq > ? AND seq <= ? AND created_at >= ?"
)
_ENTRIES: Final = f"{READ_ENTRIES} WHERE e.seq > ? AND e.seq <= ? ORDER BY e.seq LIMIT ?"
_LOG_ID: Final = "SELECT value FROM meta WHERE key = 'log_id'"
_COVERING: Final = "SELECT size, note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT 1"


class Prefix(NamedTuple):
    """The entries from ``first`` to ``last``, none if that is smaller: when the oldest and the
    newest of them were created (ns since 1970 UTC), and about how many bytes they take. The entry
    behind them is ``kept_since``, where its time is what keeps it."""

    first: int
    last: int
    oldest: int = 0
    newest: int = 0
    bytes: int = 0
    kept_since: int | None = None

    @property
    def entries(self) -> int:
        return self.last - self.first + 1


def find_prefix(
    rows: Rows, before: int, keep_last: int = 0, progress: Progress = lambda _: None
) -> Prefix:
    """The longest prefix of entries that were all created before a time (ns since 1970 UTC), with
    ``keep_last`` entries behind it at least. Looks at no entry behind the first that is not."""
    pruned_to: int = rows(_PRUNED_TO)[0][0]
    end: int = rows(_NEWEST)[0][0] - keep_last
    found = Prefix(pruned_to + 1, pruned_to)
    while found.last < end and found.kept_since is None:
        at = found.last
        found = longer(rows, found, min(at + ENTRIES_PER_LOOK, end), before)
        progress(found.last - at)
    return found


def longer(rows: Rows, found: Prefix, stop: int, before: int) -> Prefix:
    """A prefix with the entries behind it up to ``stop``, as far as all were created before a
    time."""
    newer, created_at = rows(_FIRST_NEWER, found.last, stop, before)[0]
    last = stop if newer is None else newer - 1
    return _extended(rows, found, last)._replace(kept_since=created_at)


def heavier(rows: Rows, found: Prefix, stop: int, size: int) -> Prefix:
    """A prefix with the entries behind it up to ``stop``, or with as many as take so many bytes in
    all."""
    (reaching,) = rows(_FIRST_REACHING, found.last, stop, size - found.bytes)[0]
    return _extended(rows, found, stop if reaching is None else reaching)


def is_covered(rows: Rows, last: int) -> bool:
    """Whether a checkpoint covers the entries up to one."""
    return bool(rows(_COVERING, last))


def write_archive(
    rows: Rows, path: Path, prefix: Prefix, progress: Progress = lambda _: None
) -> None:
    """Write entries to a gzip file that MUST NOT be there yet (FileExistsError). It is whole and
    durable when this returns, and what it holds leads to a root that was signed.

    Raises `NotCovered` and `NotProven`, and OSError; then there is no such file.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists: name another file, or move it away")
    head = Head(_log_id(rows), prefix.last, stored_tree(rows).edge(prefix.first - 1))
    seal = _seal(rows, prefix.last)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    partial.unlink(missing_ok=True)  # of one that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(partial, flags, ARCHIVE_MODE), "wb") as file:
            _compress(file, archive_lines(head, _entries(rows, prefix), seal, progress))
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike a rename, it replaces nothing
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.absolute().parent)


def read_archive(path: Path, keys: Iterable[VerifierKey]) -> Archived:
    """What an archive proves; as `check_archive`. Raises OSError too."""
    try:
        with gzip.open(path, "rb") as file:
            return check_archive(_lines(file), keys)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise MalformedProof(f"{path} is no gzip file, or cut short ({error})") from error


# --- inside ---


def _extended(rows: Rows, found: Prefix, last: int) -> Prefix:
    oldest, newest, size = rows(_FACTS, found.last, last)[0]
    if oldest is None:  # no more entries, or none any more
        return found._replace(last=last)
    return found._replace(
        last=last,
        oldest=min(found.oldest or oldest, oldest),
        newest=max(found.newest, newest),
        bytes=found.bytes + size,
    )


def _compress(file: IO[bytes], lines: Iterable[bytes]) -> None:
    with gzip.GzipFile("", "wb", COMPRESSION_LEVEL, file) as compressed:
        compressed.writelines(lines)


def _lines(file: gzip.GzipFile) -> Iterator[bytes]:
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def _entries(rows: Rows, prefix: Prefix) -> Iterator[LoggedEntry]:
    at = prefix.first - 1
    while page := rows(_ENTRIES, at, prefix.last, ROWS_PER_PAGE):
        for columns in page:
            try:
                yield LoggedEntry(*columns)
            except MalformedEntry as error:
                raise NotProven(f"entry {columns[0]:,} was altered: {error}") from error
        at = page[-1][0]


def _seal(rows: Rows, size: int) -> Seal:
    """The smallest checkpoint that covers so many entries."""
    covering = rows(_COVERING, size)
    if not covering:
        raise NotCovered(f"no checkpoint covers entry {size:,} yet")
    new, note = covering[0]
    return Seal(note, consistency_proof(size, new, stored_tree(rows).node))


def _log_id(rows: Rows) -> str:
    return bytes(rows(_LOG_ID)[0][0]).hex()
