"""What a payload must hold, as SQL: containment, as PostgreSQL's ``@>`` has it.

Pure. Nothing that a user wrote becomes a part of the SQL: paths and values are bound, both as
JSON text, so that SQLite reads what is asked for as it reads what is stored.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Final, NamedTuple

from hansard.wire import INT64_MAX, JSON_DEPTH_MAX
from hansard.wording import kind_of

PARTS_MAX: Final = 100  # of one condition: names, list elements and values

Path = str | Sequence[str]

_STEP: Final = re.compile(r"(?:[^.\\]|\\.)+", re.DOTALL)  # a backslash makes a dot part of a name
_EVERYWHERE: Final = "payload"


class Contains(NamedTuple):
    """A condition in SQL, and what its question marks stand for."""

    sql: str
    arguments: tuple[object, ...]


def steps_of(path: Path) -> tuple[str, ...]:
    """The names on a path: text with dots between them, or the names themselves.

    A backslash makes a dot part of a name. Raises `ValueError` for what is no path.
    """
    if isinstance(path, str):
        steps = _STEP.findall(path)
        if not steps or ".".join(steps) != path:
            raise ValueError(
                f"path is {path!r:.200}: it must be names with dots between them, as in "
                "metadata.packages; a backslash makes a dot part of a name"
            )
        return tuple(re.sub(r"\\(.)", r"\1", step, flags=re.DOTALL) for step in steps)
    if isinstance(path, Sequence) and path and all(isinstance(step, str) for step in path):
        return tuple(path)
    raise ValueError(f"path is {path!r:.200}: it must be text, or a sequence of names")


def contains(path: Path, value: object) -> Contains:
    """That the payload's value at ``path`` contains ``value``.

    A scalar: the same is there, or a list that has it. A list: a list is there, and each of its
    elements is contained in one of that list's. A mapping: an object is there, and has each of
    its names with what that contains. Values are compared by JSON type: 1 is not "1", nor true.

    Raises `ValueError` for a path that is none, or a value that JSON cannot hold.
    """
    steps = steps_of(path)
    _check(value, len(steps))
    parts = _Parts(count())
    sql = parts.holds(_EVERYWHERE, steps, value, or_in_list=True)
    return Contains(sql, tuple(parts.arguments))


def _check(value: object, depth: int) -> None:
    """Raises `ValueError` unless it is a JSON value of a size that SQLite can be asked for."""
    parts = 0
    left: list[tuple[object, int]] = [(value, depth)]
    while left:
        each, depth = left.pop()
        parts += 1
        if parts > PARTS_MAX or depth > JSON_DEPTH_MAX:
            raise ValueError(
                f"value has too many parts: at most {PARTS_MAX} names, elements and values, "
                f"and {JSON_DEPTH_MAX} levels with its path"
            )
        if isinstance(each, Mapping):
            if not all(isinstance(name, str) for name in each):
                raise ValueError(f"value holds {each!r:.200}: the names of an object are text")
            left += [(inner, depth + 1) for inner in each.values()]
        elif isinstance(each, list | tuple):
            left += [(inner, depth + 1) for inner in each]
        elif not (each is None or isinstance(each, str | int | float)):
            raise ValueError(
                f"value holds {kind_of(each)}: it must be what JSON can hold, so text, "
                "a number, true, false, None, a list or a mapping"
            )
        elif isinstance(each, float) and (each != each or abs(each) == float("inf")):
            raise ValueError(f"value holds {each}: JSON has no such number")


class _Parts:
    """The pieces of one condition, while their question marks are collected in order."""

    def __init__(self, aliases: Iterator[int]) -> None:
        self._aliases = aliases
        self.arguments: list[object] = []

    def holds(
        self, source: str, steps: Sequence[str], value: object, *, or_in_list: bool = False
    ) -> str:
        """That ``source`` (SQL of JSON text) contains ``value`` at ``steps``."""
        if isinstance(value, Mapping):
            own = self._is_of_type(source, steps, ("object",))
            inner = [self.holds(source, (*steps, name), each) for name, each in value.items()]
            return _all([own, *inner])
        if isinstance(value, list | tuple):
            own = self._is_of_type(source, steps, ("array",))
            return _all([own, *(self._has_element(source, steps, each) for each in value)])
        own = self._is_scalar(source, steps, value)
        if not or_in_list:
            return own
        array = self._is_of_type(source, steps, ("array",))
        return f"({own} OR {array} AND {self._has_element(source, steps, value)})"

    def _has_element(self, source: str, steps: Sequence[str], value: object) -> str:
        """That one element of the list contains ``value``."""
        alias = f"j{next(self._aliases)}"
        self.arguments.append(_json_path(steps))
        if isinstance(value, Mapping | list | tuple):
            # An element that is no JSON text (a scalar's value) must not be parsed as such.
            text = f"iif({alias}.type IN ('object', 'array'), {alias}.value, 'null')"
            inner = self.holds(text, (), value)
        elif _is_beyond_64_bits(value):  # SQLite would compare what it rounds to
            self.arguments.append(str(value))
            inner = f"{alias}.type = 'integer' AND ({source} -> {alias}.fullkey) = ?"
        else:
            inner = f"{alias}.type IN ({_types(value)})" + self._equals(f"{alias}.atom", value)
        return f"EXISTS (SELECT 1 FROM json_each({source}, ?) AS {alias} WHERE {inner})"  # noqa: S608

    def _is_scalar(self, source: str, steps: Sequence[str], value: object) -> str:
        path = _json_path(steps)
        if _is_beyond_64_bits(value):
            self.arguments += [path, str(value)]
            return f"({source} -> ?) = ?"
        self.arguments.append(path)
        own = f"json_type({source}, ?) IN ({_types(value)})"
        if value is None or isinstance(value, bool):
            return own
        self.arguments.append(path)
        return f"({own}{self._equals(f'({source} ->> ?)', value)})"

    def _equals(self, sql: str, value: object) -> str:
        """The second half of a comparison whose types are the same."""
        if value is None or isinstance(value, bool):
            return ""
        self.arguments.append(json.dumps(value))
        return f" AND {sql} = (? ->> '$')"

    def _is_of_type(self, source: str, steps: Sequence[str], types: Iterable[str]) -> str:
        self.arguments.append(_json_path(steps))
        return f"coalesce(json_type({source}, ?), '') IN ({', '.join(map(repr, types))})"


def _all(conditions: Sequence[str]) -> str:
    return f"({' AND '.join(conditions)})"


def _types(value: object) -> str:
    """The names that SQLite has for a scalar's JSON type."""
    if value is None:
        return "'null'"
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    return "'text'" if isinstance(value, str) else "'integer', 'real'"


def _is_beyond_64_bits(value: object) -> bool:
    return isinstance(value, int) and not -INT64_MAX - 1 <= value <= INT64_MAX


def _json_path(steps: Sequence[str]) -> str:
    """The path in SQLite's own notation: ASCII JSON strings, which it reads as names."""
    return "".join(["$", *(f".{json.dumps(step)}" for step in steps)])
