"""The derived fields of what is being entered. It draws values, and writes none."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from hansard_writer.derived.definitions import DerivedField
from hansard_writer.derived.extraction import Cause, Extractor, Payload, Value

TYPES_REMEMBERED_MAX: Final = 1_000

INSERT_VALUE: Final = (
    "INSERT INTO derived_values(field, seq, value) VALUES(?,?,?)"
    " ON CONFLICT DO UPDATE SET value = excluded.value"
)


class StoredField(NamedTuple):
    """A field as the database has it. Entries behind ``declared_at`` had it drawn when they were
    entered; of earlier ones those up to ``filled_to`` were looked at since."""

    id: int
    field: DerivedField
    declared_at: int
    filled_to: int

    @property
    def left(self) -> int:
        """How many earlier entries are still to be looked at."""
        return max(self.declared_at - self.filled_to, 0)


class Deriving:
    """Draws the fields that a log has now."""

    def __init__(self, fields: Sequence[StoredField] = ()) -> None:
        self._extractors = [(each.id, Extractor(each.field)) for each in fields]
        self._of_type: dict[str, list[tuple[int, Extractor]]] = {}

    def concerns(self, event_types: set[str]) -> bool:
        """Whether one of some event types has a field."""
        return bool(self._extractors) and any(map(self.extractors, event_types))

    def rows(
        self, first_seq: int, event_types: Sequence[str], payloads: Sequence[str | bytes | None]
    ) -> Iterator[tuple[int, int, Value]]:
        """Rows of ``derived_values`` for entries from ``first_seq`` on."""
        concerned = {each for each in set(event_types) if self.extractors(each)}
        if not concerned:
            return
        for seq, (event_type, text) in enumerate(
            zip(event_types, payloads, strict=True), start=first_seq
        ):
            if event_type in concerned:
                payload = Payload(text)
                for field, extractor in self.extractors(event_type):
                    value = extractor.draw(payload)
                    if not isinstance(value, Cause):
                        yield field, seq, value

    def extractors(self, event_type: str) -> list[tuple[int, Extractor]]:
        """Those of an event type, with the ids of their fields."""
        found = self._of_type.get(event_type)
        if found is None:
            if len(self._of_type) >= TYPES_REMEMBERED_MAX:
                self._of_type.clear()
            found = [each for each in self._extractors if each[1].field.concerns(event_type)]
            self._of_type[event_type] = found
        return found
