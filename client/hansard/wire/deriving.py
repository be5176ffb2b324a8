"""Derived fields on the wire: which a log has, and the values of earlier entries.

Whoever fills a field reads the entries and draws the values; the writer keeps them.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from hansard.wire.limits import INT64_MAX
from hansard.wire.values import WireError, is_natural

FILL_BYTES_MAX: Final = 256 << 10
FILL_VALUES_MAX: Final = 10_000  # of one field
_FIELD_COLUMNS: Final = 5


class Declare(NamedTuple):
    """Asks which derived fields there are, once what is declared is looked at again. Those that
    ``anew`` names are to be filled from the beginning, as if they had just been declared."""

    anew: Sequence[str] = ()


class DerivedFields(NamedTuple):
    """The fields: id, name, definition (JSON text), how many entries there were when it was
    declared, and up to which of those it is filled. Whether values of retired definitions are
    there to be cleared; and whether others are using the writer now. ``as_of`` is another number
    once anything was taken out of the log."""

    fields: Sequence[Sequence[Any]]
    as_of: int
    has_retired: bool
    is_in_use: bool


class FieldValues(NamedTuple):
    """A field's id, ids of entries, and the values that those have."""

    field: int
    seqs: Sequence[int]
    values: Sequence[int | float | str]


class Fill(NamedTuple):
    """Asks to keep values of entries behind ``after`` up to ``upto``: ``packed`` are those of each
    field that is to be filled, as `pack_values` packs them. Of no field: to clear some of the
    values of retired definitions. The entries were read once `DerivedFields` had said ``as_of``."""

    after: int
    upto: int
    as_of: int
    packed: bytes  # or a long request would not be flat


class Filled(NamedTuple):
    """Up to where; whether retired definitions still have values; whether others use the writer."""

    filled_to: int
    has_retired: bool
    is_in_use: bool


def pack_values(fields: Sequence[FieldValues]) -> bytes:
    """The values of a `Fill`."""
    packed: bytes = msgpack.packb(fields)
    return packed


def values_of(fill: Fill) -> list[FieldValues]:
    """The checked values of a `Fill`; raises `WireError`."""
    try:
        fields = msgpack.unpackb(fill.packed, max_map_len=0, max_array_len=FILL_VALUES_MAX)
    except Exception as error:  # msgpack raises a dozen unrelated types
        raise WireError(f"the values of a fill: {type(error).__name__}") from error
    if type(fields) is not list:
        raise WireError("the values of a fill are a list")
    for each in fields:
        _check_values(each, fill.after, fill.upto)
    return [FieldValues(*each) for each in fields]


def declare_of(arguments: list[Any]) -> Declare:
    """A checked `Declare`; raises `WireError`."""
    if len(arguments) != len(Declare._fields):
        raise WireError(f"declare takes {len(Declare._fields)} argument")
    (anew,) = arguments
    if type(anew) is not list or not all(type(name) is str for name in anew):
        raise WireError("what is to be filled anew is a list of names")
    return Declare(anew)


def derived_fields_of(content: Any) -> DerivedFields:
    """The `DerivedFields` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(DerivedFields._fields):
        raise WireError(f"the answer to declare has {len(DerivedFields._fields)} fields")
    answer = DerivedFields(*content)
    if type(answer.fields) is not list or not is_natural(answer.as_of):
        raise WireError("derived fields are a list, as of a natural number")
    for each in answer.fields:
        if type(each) is not list or len(each) != _FIELD_COLUMNS:
            raise WireError(f"a derived field has {_FIELD_COLUMNS} values")
    return answer


def fill_of(arguments: list[Any]) -> Fill:
    """A `Fill`, checked but for its values; raises `WireError`."""
    if len(arguments) != len(Fill._fields):
        raise WireError(f"fill takes {len(Fill._fields)} arguments")
    after, upto, as_of, packed = arguments
    if not (is_natural(after) and is_natural(upto) and is_natural(as_of) and after <= upto):
        raise WireError("fill is of entries behind one, up to another, as of: natural numbers")
    if type(packed) is not bytes or len(packed) > FILL_BYTES_MAX:
        raise WireError(f"the values of a fill are at most {FILL_BYTES_MAX:,} bytes")
    return Fill(after, upto, as_of, packed)


def filled_of(content: Any) -> Filled:
    """The `Filled` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Filled._fields):
        raise WireError(f"the answer to fill has {len(Filled._fields)} fields")
    filled = Filled(*content)
    if not is_natural(filled.filled_to) or {type(filled[1]), type(filled[2])} != {bool}:
        raise WireError("the answer to fill has a natural number and two booleans")
    return filled


def _check_values(each: Any, after: int, upto: int) -> None:
    if type(each) is not list or len(each) != 3:
        raise WireError("a field's values are its id, ids of entries, and values")
    id_, seqs, values = each
    if not is_natural(id_) or type(seqs) is not list or type(values) is not list:
        raise WireError("a field's values are its id, ids of entries, and values")
    if len(seqs) != len(values):
        raise WireError("a field has as many values as entries")
    if set(map(type, seqs)) - {int} or not _are_values(values):
        raise WireError("ids of entries are numbers; values are text, or numbers of 64 bits")
    if len(set(seqs)) < len(seqs):
        raise WireError("the values of a fill are one an entry")
    if seqs and not after < min(seqs) <= max(seqs) <= upto:
        raise WireError(f"the entries of a fill are behind {after}, up to {upto}")


def _are_values(values: list[Any]) -> bool:
    if set(map(type, values)) == {int}:  # as most are, and then it is quickly said
        return bool(max(values) <= INT64_MAX)  # msgpack has none below
    return all(map(_is_value, values))


def _is_value(value: object) -> bool:
    if type(value) is int:
        return -INT64_MAX - 1 <= value <= INT64_MAX
    return type(value) is str or (type(value) is float and math.isfinite(value))
