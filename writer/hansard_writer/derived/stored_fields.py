"""The derived fields that a log has, as its database says. It reads only."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from hansard_writer.derived.definitions import DerivedField
from hansard_writer.derived.deriving import StoredField

_FIELDS: Final = (
    "SELECT id, name, definition, declared_at, filled_to FROM derived_fields"
    " WHERE is_current ORDER BY id"
)


def stored_fields(rows: Callable[[str], Iterable[Any]]) -> list[StoredField]:
    """The fields that a log has now, in the order of their declaration; ``rows`` asks for them."""
    return [
        StoredField(id_, DerivedField.from_definition(name, definition), declared_at, filled_to)
        for id_, name, definition, declared_at, filled_to in rows(_FIELDS)
    ]
