"""What an encoder is, and which there are. Each format is a module of its own."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from hansard.reader import Event, Extent
from hansard_writer.exporting.cloudevents import CloudEvents
from hansard_writer.exporting.comma_separated import CommaSeparated
from hansard_writer.exporting.json_lines import JsonLines
from hansard_writer.exporting.ocsf import Ocsf
from hansard_writer.exporting.parquet import Parquet


class Encoder(Protocol):
    """Entries in, bytes out, no I/O. `begin` MUST be called once and first, `end` once and last;
    what the three return, one after the other, is the export, and each may return nothing."""

    def begin(self) -> bytes:
        """What comes before all entries."""
        ...

    def add(self, event: Event) -> bytes:
        """The next entry, or some that were held back to be encoded together."""
        ...

    def end(self) -> bytes:
        """What was still held back, and what comes behind all entries."""
        ...


FORMATS: Final[Mapping[str, Callable[[Extent], Encoder]]] = {
    "jsonl": JsonLines,
    "csv": CommaSeparated,
    "parquet": Parquet,
    "cloudevents": CloudEvents,
    "ocsf": Ocsf,
}
"""By name, what makes an encoder for an export of this log as it is."""
