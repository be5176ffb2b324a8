"""Entries as JSON lines: an object an entry, as ``hansard query --format jsonl`` prints them. Pure.

The members are the columns of the view `events`, in its order. ``id``, ``created_at_ns`` (ns since
1970 UTC), ``producer_seq`` and ``pid`` are integers; ``created_at`` is the same time as ISO 8601
text, cut to microseconds; ``redacted`` is true or false. ``payload`` is the object that was
recorded, character by character but for line breaks; null where there was none, or where it is
redacted. ``actor`` and ``task_id`` may be null too.
"""

from operator import attrgetter
from typing import Final

from hansard.reader import Event, Extent
from hansard_writer.spliced_json import json_line

_COLUMNS: Final = tuple(Event.__dataclass_fields__)
_VALUES: Final = attrgetter(*_COLUMNS)


class JsonLines:
    """An `Encoder`."""

    def __init__(self, extent: Extent) -> None:
        """Every line says all that there is: the log's extent is no part of it."""

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        return json_line(dict(zip(_COLUMNS, _VALUES(event), strict=True)), "payload")

    def end(self) -> bytes:
        return b""
