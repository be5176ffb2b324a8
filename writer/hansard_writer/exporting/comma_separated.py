"""Entries as comma-separated values, RFC 4180: a header, then a line an entry, CR LF ended. Pure.

The columns are those of the view `events`, in its order, and cut nothing. Text is always between
quotes, numbers and true or false never are; so an empty field is NULL, and ``""`` is an empty text
(as PostgreSQL's COPY reads it). ``payload`` is its JSON text as it was recorded; NULL where there
was none, or where ``redacted`` is true.

A spreadsheet takes text that begins with ``=`` or the like for a formula, and an actor or a task
may be called so by whoever records. With `EscapedFormulas` such text gets an apostrophe in front
(https://owasp.org/www-community/attacks/CSV_Injection). By default it does not: a program that
reads the file is to get what was recorded.
"""

from operator import attrgetter
from typing import Final

from hansard.reader import Event, Extent

_COLUMNS: Final = tuple(Event.__dataclass_fields__)
_VALUES: Final = attrgetter(*_COLUMNS)
_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class CommaSeparated:
    """An `Encoder`."""

    def __init__(self, extent: Extent) -> None:
        """Every line says all that there is: the log's extent is no part of it."""

    def begin(self) -> bytes:
        return ",".join(_COLUMNS).encode() + b"\r\n"

    def add(self, event: Event) -> bytes:
        text = self._text
        cells = [
            text(value) if type(value) is str else "" if value is None else _bare(value)
            for value in _VALUES(event)
        ]
        return ",".join(cells).encode() + b"\r\n"

    def end(self) -> bytes:
        return b""

    def _text(self, text: str) -> str:
        return '"' + text.replace('"', '""') + '"'


class EscapedFormulas(CommaSeparated):
    """The same for spreadsheets: no text of it is a formula."""

    def _text(self, text: str) -> str:
        return super()._text("'" + text if text.startswith(_BEGINS_A_FORMULA) else text)


def _bare(value: object) -> str:
    """A cell without quotes: a number, a word; in hex what only an altered log can have."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value).lower()
