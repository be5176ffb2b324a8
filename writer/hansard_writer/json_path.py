"""Where in a JSON document a value is, and numbers as they are written there. Pure."""

import json
import re
from typing import Any, Final

_STEP: Final = re.compile(r"(?:[^.\\]|\\.)+")  # of a path: a backslash makes a dot a part of a name
_INDEX: Final = re.compile(r"\d{1,18}")  # no list has an item with a longer one


class Number(str):
    """A number as it is written, digit by digit."""

    __slots__ = ()


class Path:
    """Where in an object a value is: names and list indexes with dots between, ``user.roles.0``.

    Raises ValueError for text that is no path.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        steps = _STEP.findall(text)
        if not steps or ".".join(steps) != text:
            raise ValueError(f"{text!r} is no path: names or list indexes with dots between them")
        self._steps = [re.sub(r"\\(.)", r"\1", step) for step in steps]
        self.first_name = self._steps[0]
        self._rest = self._steps[1:]

    @property
    def is_name(self) -> bool:
        """Whether it is no more than its first name."""
        return not self._rest

    def follow(self, document: Any) -> Any:
        """The value at the path, None where there is none."""
        return self._follow(document, self._steps)

    def follow_rest(self, value: Any) -> Any:
        """The value at the path, from what is at its first name on."""
        return self._follow(value, self._rest)

    def _follow(self, value: Any, steps: list[str]) -> Any:
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value


def parse_exactly(document: bytes) -> Any:
    """By the stdlib: slower, takes all that JSON allows, and keeps numbers as they are written.
    Raises ValueError, and RecursionError."""
    return json.loads(
        document.decode(), parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
