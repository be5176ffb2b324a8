"""The export itself: entries out of a reader, through an encoder, to whoever takes the bytes.

It ends at the size that the log had when it began, and says what it has come to. Where the bytes
go is not its business, nor how the reader spares the writer.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Unpack

from hansard.reader import Extent, LogReader, OperationConditions
from hansard_writer.exporting.encoding import FORMATS, Encoder

ENTRIES_PER_PROGRESS: Final = 1_000
WRITE_BYTES: Final = 1 << 16  # handed on at once: a line alone costs whoever compresses too much

Progress = Callable[[int, int, int], None]
"""Hears, again and again, how many ids the export is through, of how many, and how many entries
it has written."""


class Exported(NamedTuple):
    """What an export has come to: how many entries, the first and the last of them (0 where there
    are none), and what the log had when it began.

    ``missing``: how many it should have, and does not, because they were gone before they were
    read; known only where nothing but ids was asked for, else 0. ``pruned_to``: up to where the
    log was pruned when it ended.
    """

    entries: int
    first: int
    last: int
    extent: Extent
    missing: int
    pruned_to: int


def export(
    reader: LogReader,
    format: str | Callable[[Extent], Encoder],  # noqa: A002 - the option's name
    write: Callable[[bytes], object],
    *,
    event_type: str | None = None,
    limit: int | None = None,
    progress: Progress = lambda _through, _of, _written: None,
    **conditions: Unpack[OperationConditions],
) -> Exported:
    """Write the entries that meet all conditions, oldest first, in one of `FORMATS`, or by an
    encoder of your own.

    The conditions are those of `LogReader.events`; those of operations go with the ``event_type``
    env.operation. Entries are read page by page, each in a read transaction of its own. Raises
    what the reader and ``write`` raise, and `ConfigError` for a format whose library is missing.
    """
    extent = reader.extent()
    encoder = (FORMATS[format] if isinstance(format, str) else format)(extent)
    selection = reader.selection(event_type, conditions)
    after_id = max(selection.after_id, extent.pruned_to)
    up_to_id = min(selection.up_to_id, extent.last_id)
    given: dict[str, Any] = {**conditions, "up_to_id": up_to_id}
    found = reader.events(event_type, limit=limit, **given)

    ids, entries, first, last = max(up_to_id - after_id, 0), 0, 0, after_id
    made = bytearray(encoder.begin())
    for event in found:
        made += encoder.add(event)
        if len(made) >= WRITE_BYTES:
            write(bytes(made))
            made.clear()
        first, last = first or event.id, event.id
        entries += 1
        if entries % ENTRIES_PER_PROGRESS == 0:
            progress(last - after_id, ids, entries)
    write(bytes(made) + encoder.end())
    progress(ids, ids, entries)

    is_by_id_alone = not (selection.terms or selection.search) and limit is None
    return Exported(
        entries,
        first,
        last if entries else 0,
        extent,
        ids - entries if is_by_id_alone else 0,
        reader.extent().pruned_to,
    )
