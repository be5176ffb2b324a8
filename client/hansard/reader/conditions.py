"""What entries may be asked for, checked, and the way that SQLite reaches them.

Pure: values in, SQL out. A wrong argument raises `ValueError` (of which `InvalidEvent` is a kind)
that names it and the rule, before anything is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypedDict

from hansard.events import created_at_ns
from hansard.operations import ENV_OPERATION
from hansard.reader.containment import Path, contains
from hansard.refusals import GOVERNANCE_REFUSAL
from hansard.wire import INT64_MAX, LEVELS
from hansard.wording import kind_of

STATUSES: Final = ("success", "failed")

Moment = str | datetime | int


class Filters(TypedDict, total=False):
    """What entries may be asked for; all that is given must hold, None counts as not given.

    ``since`` (inclusive) and ``until`` (exclusive) are ISO 8601 text, UTC where it names no zone,
    a datetime with a zone, or ns since 1970 UTC. ``where`` has pairs of a path and a value, each
    as `LogReader.where` takes them; ``search`` is a query of `LogReader.search`. ``derived`` has
    values by the names of derived fields, each of its field's type (a timestamp is what ``since``
    may be, and text says any) or a `Between`; an entry without the value does not meet it.
    """

    actor: str | None
    level: str | None
    since: Moment | None
    until: Moment | None
    where: Sequence[tuple[Path, object]] | None
    search: str | None
    derived: Mapping[str, object] | None


class Conditions(Filters, total=False):
    """The same, of one task; behind one entry, or up to and with one."""

    task_id: str | None
    after_id: int | None
    up_to_id: int | None


class OperationConditions(Conditions, total=False):
    """What operations may be asked for besides. ``metadata`` must be contained in theirs."""

    workflow_id: str | None
    node_id: str | None
    version_id: str | None
    operation: str | None
    status: str | None
    metadata: Mapping[str, object] | None


# The columns of an index, and whether its entries with all of them given are in order of id.
_Index = tuple[frozenset[str], bool]


def _index(*columns: str, in_order: bool) -> _Index:
    return frozenset(columns), in_order


# As the schema has them. The first whose columns are all given is the one: the narrower first.
_OPERATION_INDEXES: Final = (
    _index("workflow_id", "node_id", "version_id", in_order=True),
    _index("node_id", "operation", in_order=True),
    _index("status", "workflow_id", in_order=True),
    _index("workflow_id", "node_id", in_order=False),
    _index("version_id", in_order=True),
    _index("workflow_id", in_order=False),
    _index("node_id", in_order=False),
    _index("operation", in_order=True),
    _index("status", in_order=False),
)
_OPERATION_COLUMNS: Final = frozenset().union(*(columns for columns, _ in _OPERATION_INDEXES))


class Term(NamedTuple):
    """One condition: SQL over the view `events`, what it binds, and the column it is about; and the
    SQL for entries that something else has found, where that is another."""

    column: str
    sql: str
    arguments: tuple[object, ...]
    beside: str = ""


class Where(NamedTuple):
    """Conditions in SQL, and what their question marks stand for."""

    sql: str
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The conditions that entries must meet, and the index that leads to them, if one does.

    ``index`` are the columns that are looked up in it. ``in_order``: whether what it gives comes
    in the order of ids, as the table itself does.
    """

    terms: tuple[Term, ...] = ()
    index: frozenset[str] = frozenset()
    in_order: bool = True
    after_id: int = 0
    up_to_id: int = INT64_MAX
    search: str | None = None

    def through_index(self) -> Where:
        """So that SQLite looks the index's columns up, and decides the rest entry by entry."""
        return self._rendered(self.index)

    def by_index_alone(self) -> Where:
        """Only what the index decides."""
        terms = [term for term in self.terms if term.column in self.index]
        return _joined((term.sql for term in terms), terms)

    def entry_by_entry(self) -> Where:
        """For entries that something else has found: by no index at all."""
        return self._rendered(frozenset())

    def in_order_of_ids(self) -> Where:
        """So that SQLite goes through the entries by id, or an index that has them so."""
        return self._rendered(self.index if self.in_order else frozenset())

    def _rendered(self, index: frozenset[str]) -> Where:
        """A unary plus keeps SQLite from choosing an index by that term."""
        rendered = (
            each.sql if each.column in index else "+" + (each.beside or each.sql)
            for each in self.terms
        )
        return _joined(rendered, self.terms)


def select(event_type: str | None, conditions: Mapping[str, Any]) -> Selection:
    """The selection of entries; of operations where the type is theirs.

    Raises `ValueError` for a value that breaks a rule, `TypeError` for an unknown condition.
    """
    given = {name: value for name, value in conditions.items() if value is not None}
    after_id = whole_number("after_id", given.pop("after_id", 0))
    up_to_id = whole_number("up_to_id", given.pop("up_to_id", INT64_MAX))
    search = given.pop("search", None)
    search = None if search is None else text("search", search)
    if event_type is not None:
        given["event_type"] = event_type
    terms = tuple(term for name, value in given.items() for term in _terms(name, value))
    return Selection(terms, *_way(given), after_id, up_to_id, search)


def nanoseconds(moment: Moment, name: str = "the time") -> int:
    """A moment as ns since 1970 UTC; raises `ValueError`, with ``name``, for one that is none."""
    given = moment
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ValueError(
                f"{name} is {moment!r:.100}: write it like 2026-01-31T23:59:00Z"
            ) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    try:
        return created_at_ns(moment)
    except ValueError:
        is_time = isinstance(moment, datetime) and moment.tzinfo is not None
        rule = (
            "between the years 1970 and 2262"
            if is_time or type(moment) is int
            else "ISO 8601 text, a datetime with a zone, or nanoseconds since 1970 UTC"
        )
        raise ValueError(f"{name} is {given!r:.100}: it must be {rule}") from None


def whole_number(name: str, value: object) -> int:
    """A number that an id or a limit can be; raises `ValueError` naming the argument."""
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        raise ValueError(f"{name} is {value!r:.100}: it must be a whole number from 0 to 2^63 - 1")
    return value


def text(name: str, value: object) -> str:
    """Text that a column can hold; raises `ValueError` naming the argument."""
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
            f"{name} is {kind_of(value)}: it must be a string"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds a lone surrogate: it must be text") from None
    return value


def _terms(name: str, value: Any) -> Iterator[Term]:  # noqa: C901 - one line a condition
    if name == "event_type" and value in (ENV_OPERATION, GOVERNANCE_REFUSAL):
        yield Term(name, f"event_type = '{value}'", ())  # literally, as their indexes say it
    elif name in ("event_type", "task_id", "actor"):
        yield Term(name, f"{name} = ?", (text(name, value),))
    elif name == "level":
        yield Term(name, "level = ?", (_one_of(name, value, sorted(LEVELS)),))
    elif name == "since":
        yield Term("created_at", "created_at_ns >= ?", (nanoseconds(value, name),))
    elif name == "until":
        yield Term("created_at", "created_at_ns < ?", (nanoseconds(value, name),))
    elif name == "status":
        yield _operation_term(name, _one_of(name, value, STATUSES))
    elif name in _OPERATION_COLUMNS:
        yield _operation_term(name, text(name, value))
    elif name == "metadata":
        if not isinstance(value, Mapping):
            raise ValueError(f"metadata is {kind_of(value)}: it must be a mapping")
        yield Term("payload", *contains("metadata", value))
    elif name == "where":
        for path, wanted in _pairs(value):
            yield Term("payload", *contains(path, wanted))
    elif name == "derived":
        for each in value:
            yield _derived_term(*each)
    else:
        raise TypeError(_unknown(name))


def _unknown(name: str) -> str:
    """Says which conditions there are, and which of them was perhaps meant."""
    from difflib import get_close_matches

    known = sorted({"event_type", *OperationConditions.__annotations__})
    near = get_close_matches(name, known, 1)
    guess = f"did you mean {near[0]!r}? There" if near else "there"
    return f"{name!r} is no condition; {guess} are {', '.join(known)}"


def _operation_term(name: str, value: str) -> Term:
    """As the schema's indexes have the expression, letter by letter."""
    return Term(name, f"payload ->> '$.{name}' = ?", (value,))


def _derived_term(field: str, operator: str, value: object) -> Term:
    """Of a field, as `hansard.reader.derived` has read it."""
    is_so = f"field = ? AND value {operator} ?"
    return Term(
        "derived",
        f"id IN (SELECT id FROM derived WHERE {is_so})",  # noqa: S608 - our own words
        (field, value),
        f"EXISTS (SELECT 1 FROM derived AS d WHERE d.id = events.id AND {is_so})",  # noqa: S608
    )


def _pairs(where: object) -> Iterator[tuple[Any, Any]]:
    if isinstance(where, str) or not isinstance(where, Sequence):
        raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
            f"where is {where!r:.100}: it must be a list of pairs (path, value)"
        )
    for pair in where:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"where has {pair!r:.100}: each must be a pair (path, value)")
        yield pair[0], pair[1]


def _one_of(name: str, value: object, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r:.100}: it must be one of {', '.join(allowed)}")
    return str(value)


def _way(given: Mapping[str, Any]) -> tuple[frozenset[str], bool]:
    """The index by which to look, and whether it has the entries in order of id."""
    if "task_id" in given:
        return frozenset({"task_id"}), True
    if "derived" in given:
        return frozenset({"derived"}), False
    event_type = given.get("event_type")
    if event_type == ENV_OPERATION:
        for columns, in_order in _OPERATION_INDEXES:
            if columns <= given.keys():
                return columns | {"event_type"}, in_order
    if event_type == GOVERNANCE_REFUSAL and "actor" in given:
        return frozenset({"actor", "event_type"}), True
    if event_type is not None:
        return frozenset({"event_type", "created_at"}), False
    return frozenset(), True


def _joined(rendered: Iterator[str], terms: Sequence[Term]) -> Where:
    arguments = tuple(argument for term in terms for argument in term.arguments)
    return Where(" AND ".join(rendered) or "1", arguments)
