"""Rows on stdout, as a table, json, jsonl or csv, always in UTF-8.

Tables are for people: fitted to the terminal, cells cut, control characters escaped so that no
payload can drive the terminal. The other formats are for programs and cut nothing. ``payload``
is JSON text and goes into JSON as the object that it is, without being encoded again.
"""

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, islice
from typing import Any, Final

from hansard_writer.spliced_json import as_hex, json_line
from hansard_writer.terminal_text import cut, escaped, fitted, width_of

Row = Mapping[str, Any]

PAYLOAD: Final = "payload"
NEVER_CUT: Final = frozenset({"id", "created_at", "received_at", "level", "key"})
WHOLE: Final = "verifier_key"
"""A column of use only where nothing of it is cut: its lines may be longer than the terminal's."""
SAMPLE_ROWS: Final = 100  # that say how wide the columns of a table are
COLUMN_MIN: Final = 5
WIDTH_WITHOUT_TERMINAL: Final = 120
GAP: Final = "  "


def print_rows(
    rows: Iterable[Row],
    columns: Sequence[str],
    format: str,  # noqa: A002 - the option's name
    *,
    sample_rows: int = SAMPLE_ROWS,
    at_once: bool = False,
) -> int:
    """Print the rows as they come and return how many they were.

    A table waits for its first ``sample_rows`` rows. ``at_once`` flushes after every line.
    """
    counted = _Counted(rows)
    if format == "table":
        lines = _table(counted, columns, sample_rows)
    else:
        lines = _FORMATS[format](counted, columns)
    stdout = sys.stdout.buffer
    for line in lines:
        stdout.write(line.encode("utf-8", "backslashreplace"))
        if at_once:
            stdout.flush()
    stdout.flush()
    return counted.count


class _Counted:
    """An iterable that knows how many it has given."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


# --- for programs ---


def _jsonl(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[str]:
    for row in rows:
        yield json_line({name: row[name] for name in columns}, PAYLOAD).decode()


def _json(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[str]:
    before = "[\n"
    for line in _jsonl(rows, columns):
        yield before + line.removesuffix("\n")
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for cells in chain([columns], ([_plain(row[name]) for name in columns] for row in rows)):
        writer.writerow(cells)
        yield line.getvalue()
        line.seek(0)
        line.truncate()


_FORMATS: Final = {"json": _json, "jsonl": _jsonl, "csv": _csv}


def _plain(value: object) -> object:
    """A cell of text: JSON for what is nested, and for true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=as_hex, separators=(",", ":"), ensure_ascii=False)
    return value


# --- for people ---


def _table(rows: Iterable[Row], columns: Sequence[str], sample_rows: int) -> Iterator[str]:
    """A header and the rows, every line within the terminal's width."""
    cells = ([printable(row[name]) for name in columns] for row in rows)
    sample = list(islice(cells, sample_rows))
    if 0 < len(sample) < sample_rows:  # all of it: columns that say nothing make room for others
        told = [any(column) for column in zip(*sample, strict=True)]
        columns = list(compress(columns, told))
        sample = [list(compress(line, told)) for line in sample]
    terminal = shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 24)).columns
    longest = sys.maxsize if WHOLE in columns else terminal
    widths = _widths(columns, [list(columns), *sample], longest)
    for line in chain([list(columns)], sample, cells):
        padded = [fitted(cell, width) for cell, width in zip(line, widths, strict=True)]
        yield cut(GAP.join(padded).rstrip(), longest) + "\n"


def _widths(columns: Sequence[str], sample: list[list[str]], terminal: int) -> list[int]:
    """What each column needs; where that is too much, the widest ones share what there is."""
    widths = [max(map(width_of, column)) for column in zip(*sample, strict=True)]
    room = terminal - len(GAP) * (len(columns) - 1)
    elastic = [index for index, name in enumerate(columns) if name not in NEVER_CUT]
    while elastic and sum(widths) > room:
        widest = max(elastic, key=widths.__getitem__)
        if widths[widest] <= COLUMN_MIN:
            break
        others = max((widths[each] for each in elastic if each != widest), default=COLUMN_MIN)
        too_much = sum(widths) - room
        widths[widest] -= min(too_much, max(widths[widest] - max(others, COLUMN_MIN), 1))
    return widths


def printable(value: object) -> str:
    """Text that only prints."""
    return escaped("" if value is None else str(_plain(value)))
