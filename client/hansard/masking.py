"""Masks the values of fields that hold secrets, by the fields' names, before an event is spooled.

What is plain is masked as it is; of all else the JSON text, in which nothing else changes, not an
integer of any size, nor a name that is there twice. Secrets in the middle of a text, JSON within a
string included, are not looked for.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from hansard.errors import ConfigError, InvalidEvent
from hansard.texts import plain

MASKED: Final = "[masked]"
MASK_FIELDS: Final = (
    *("password", "passwd", "passphrase", "secret", "client_secret", "clientsecret", "secret_key"),
    *("secretkey", "secret_access_key", "secretaccesskey", "aws_secret_access_key", "private_key"),
    *("privatekey", "token", "access_token", "accesstoken", "refresh_token", "refreshtoken"),
    *("id_token", "idtoken", "auth_token", "authtoken", "session_token", "sessiontoken"),
    *("csrf_token", "csrftoken", "csrfmiddlewaretoken", "x_csrftoken", "x_csrf_token"),
    *("api_key", "apikey", "x_api_key", "x_auth_token", "authorization", "proxy_authorization"),
    *("cookie", "set_cookie"),
)

_ALL: Final = "*"
_CLEAN_NAMES_MAX: Final = 4_096  # remembered, before starting over
_CLEAN_NAME_CHARS_MAX: Final = 128
# Of values that hold no names. Any other type is looked for in the text that it became.
_LEAVES: Final = frozenset({str, int, float, bool, type(None), datetime, date, UUID, bytes})
_UNWRITABLE: Final = re.compile(r'["\\\x00-\x1f]')  # has more than one way to be written in JSON


class Fields(NamedTuple):
    """What is masked: single names, and chains of names; as `_alike` has them."""

    names: frozenset[str]
    chains: frozenset[tuple[str, ...]] = frozenset()


def fields_to_mask(given: Iterable[str] | None) -> Fields:
    """The defaults with what the setting adds and takes away. Raises `ConfigError`."""
    names, chains = set(MASK_FIELDS), set()
    given = given or ()
    for removed in [each[1:] for each in given if each.startswith("-")]:
        if removed == _ALL:
            names.clear()
        elif _alike(removed) not in MASK_FIELDS:
            raise ConfigError(
                f"'-{removed}' takes away what is no default: the defaults are "
                f"{', '.join(MASK_FIELDS)}, and -* takes all of them away"
            )
        names.discard(_alike(removed))
    for added in [each for each in given if not each.startswith("-")]:
        *parents, _ = chain = tuple(_alike(added).split("."))
        if not all(chain) or _UNWRITABLE.search(added):
            raise ConfigError(
                f"{added!r:.100} is no name: it must be the name of a field, or some with dots "
                "between them, such as password or user.card_number"
            )
        names.add(".".join(chain))
        if parents:
            chains.add(chain)
    return Fields(frozenset(names), frozenset(chains))


class _NotPlainError(Exception):
    """A value's text alone says what names it has: it is a dataclass, a mapping, a fragment…"""


class Mask:
    """Masks fields, and remembers names that are none of them. For any number of threads."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._ends = fields.names | {chain[-1] for chain in fields.chains}
        self._ends_in_bytes = frozenset(name.encode() for name in self._ends)
        self._in_ascii = all(map(str.isascii, self._ends))
        self.clean: set[str] = set()  # names that end no field; changed in place

    def masked(self, text: bytes, payload: Mapping[str, Any]) -> bytes:
        """The text that ``payload``, a dict, became by orjson alone."""
        if not self._ends or self._is_clean(payload):
            return text
        try:
            return orjson.dumps(self._copy(payload, ()), plain)
        except _NotPlainError:
            return self.masked_text(text)

    def masked_text(self, text: bytes) -> bytes:
        """Any text of a JSON object. Raises `InvalidEvent` for what looks as if it had something to
        mask, and is no JSON."""
        return self._masked_exactly(text) if self._may_match(text) else text

    def _is_clean(self, payload: Mapping[str, Any]) -> bool:
        """Whether it certainly holds none of the names."""
        clean, leaves = self.clean, _LEAVES
        nested: list[Any] = [payload]
        for each in nested:  # to which is added meanwhile
            if type(each) is dict:
                if not clean.issuperset(each) and not self._learns(each):
                    return False
                each = each.values()  # noqa: PLW2901 - what is in it, as a list has it
            elif type(each) is not list and type(each) is not tuple:
                return False
            for value in each:
                if type(value) not in leaves:
                    nested.append(value)  # noqa: PERF401 - most often there is none
        return True

    def _copy(self, value: Any, under: tuple[str, ...]) -> Any:
        """A plain value without what is secret; ``under``: the names that it stands under."""
        leaves = _LEAVES
        if type(value) is dict:
            copy: dict[str, Any] = {}
            for name, each in value.items():
                alike = _alike(name)
                if self._names_field(alike, under):
                    copy[name] = MASKED
                else:
                    nested = type(each) not in leaves
                    copy[name] = self._copy(each, (*under, alike)) if nested else each
            return copy
        if type(value) is list or type(value) is tuple:
            return [each if type(each) in leaves else self._copy(each, under) for each in value]
        raise _NotPlainError

    def _learns(self, names: Iterable[str]) -> bool:
        """Whether none of the names ends a field."""
        clean, ends = self.clean, self._ends
        if len(clean) >= _CLEAN_NAMES_MAX:
            clean.clear()
        for name in names:
            if _alike(name) in ends:
                return False
            if len(name) <= _CLEAN_NAME_CHARS_MAX:
                clean.add(name)
        return True

    def _may_match(self, text: bytes) -> bool:
        """Whether a name may be there: what stands between two quotes is cut out in C."""
        if not self._ends:
            return False
        if rb"\u" in text or rb"\/" in text or not (self._in_ascii or text.isascii()):
            return True
        names = text.lower().replace(b"-", b"_").split(b'"')
        return not self._ends_in_bytes.isdisjoint(names)

    def _masked_exactly(self, text: bytes) -> bytes:
        import json

        try:
            whole = text.decode()
            json.loads(whole, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            raise InvalidEvent(
                "payload has the name of a masked field (mask_fields) in a text that is no JSON: "
                "nothing of it can be masked; correct the text of the orjson.Fragment"
            ) from None
        parts: list[str] = []
        end = 0
        for start, stop in self._spans(whole):
            parts += whole[end:start], f'"{MASKED}"'
            end = stop
        return "".join([*parts, whole[end:]]).encode() if parts else text

    def _spans(self, text: str) -> Iterable[tuple[int, int]]:
        """From where to where the values are that must be masked, in order. The text is JSON."""
        under: list[str] = []  # the name that each open bracket stands under, empty for none
        name, masked_at, masked_depth = "", -1, 0
        for found in _tokens().finditer(text):
            piece = found[0]
            if found[1]:
                name = _alike(_written(piece[: -len(found[1])]))
                continue
            depth = len(under)
            if piece in "}]":
                depth = len(under) - 1
                under.pop()
            elif masked_at < 0 and name and self._names_field(name, under):
                masked_at, masked_depth = found.start(), depth
            if piece in "{[":
                under.append(name)
            elif masked_at >= 0 and depth == masked_depth:
                yield masked_at, found.end()
                masked_at = -1
            name = ""

    def _names_field(self, name: str, under: Iterable[str]) -> bool:
        names, chains = self._fields
        if name in names:
            return True
        if not chains:
            return False
        here = (*filter(None, under), name)  # a list between two names does not part them
        return any(here[-len(chain) :] == chain for chain in chains)


NO_MASK: Final = Fields(frozenset())


def _alike(name: str) -> str:
    """What all ways to write a name have in common."""
    return name.lower().replace("-", "_")


def _written(text: str) -> str:
    """What a JSON string says."""
    if "\\" not in text:
        return text[1:-1]
    import json

    return str(json.loads(text))


@cache
def _tokens() -> re.Pattern[str]:
    """A name (its colon is the group), a string, a bracket, or another value. Made at need: to
    compile it is a good part of what importing may take."""
    return re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[][{}]|[^][{}",:\s]+')
