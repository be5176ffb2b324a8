"""What a derived field is: its name, where in the payload, of which type, of which event types.

Read from the sections ``[derived.NAME]`` of ``hansard.toml``. Nothing here draws a value.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path as FilePath
from typing import Any, Final, Self

from hansard.errors import ConfigError
from hansard.settings import DERIVED_SECTION, SETTINGS_FILE, read_settings_file
from hansard_writer.json_path import Path

TYPES: Final = ("text", "integer", "real", "boolean", "timestamp")
FIELDS_MAX: Final = 64
PATHS_MAX: Final = 16  # of a field
PATTERNS_MAX: Final = 64

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:/*?-]{1,255}")


@dataclass(frozen=True, slots=True)
class DerivedField:
    """``paths`` are tried in their order: names with dots between. ``event_types`` are patterns in
    which ``*`` stands for any characters and ``?`` for one. A timestamp is kept as ns since 1970
    UTC. Raises `ConfigError` for what breaks a rule."""

    name: str
    paths: tuple[str, ...]
    type: str
    event_types: tuple[str, ...]

    def __post_init__(self) -> None:
        shown = f"the derived field {self.name!r:.80}"
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{shown}: a name is a letter, then up to 63 letters, digits and _")
        if self.type not in TYPES:
            raise ConfigError(f"{shown} has type {self.type!r}: it must be of {', '.join(TYPES)}")
        if self.name in _BUILT_IN_TYPES and self.type != _BUILT_IN_TYPES[self.name]:
            raise ConfigError(f"{shown} is built in: its type must be {_BUILT_IN_TYPES[self.name]}")
        if not 0 < len(self.paths) <= PATHS_MAX:
            raise ConfigError(f"{shown} has {len(self.paths)} paths: name 1 to {PATHS_MAX}")
        for path in self.paths:
            try:
                Path(path)
            except ValueError as error:
                raise ConfigError(f"{shown}: {error}") from None
        if not 0 < len(self.event_types) <= PATTERNS_MAX:
            raise ConfigError(f"{shown}: name 1 to {PATTERNS_MAX} event_types, ['*'] for all")
        for pattern in self.event_types:
            if not _PATTERN.fullmatch(pattern):
                raise ConfigError(
                    f"{shown} has event type {pattern!r:.80}: a pattern is of letters, digits and "
                    "_ . : / - with * for any characters and ? for one"
                )

    def concerns(self, event_type: str) -> bool:
        """Whether entries of a type have it."""
        return any(fnmatchcase(event_type, pattern) for pattern in self.event_types)

    @property
    def definition(self) -> str:
        """All but the name, as the database keeps it: JSON text."""
        return json.dumps(
            {"paths": self.paths, "type": self.type, "event_types": self.event_types},
            separators=(",", ":"),
        )

    @classmethod
    def from_definition(cls, name: str, definition: str) -> Self:
        """What `definition` was made of."""
        said = json.loads(definition)
        return cls(name, tuple(said["paths"]), said["type"], tuple(said["event_types"]))


_BUILT_IN_TYPES: Final = {"source_event_ts": "timestamp", "supervisor_processed_at": "timestamp"}

BUILT_IN: Final = (
    DerivedField(
        "source_event_ts",
        (
            "source_event_ts",
            "source_ts",
            "source_event.ts",
            "source_event.created_at",
            "event_ts",
        ),
        "timestamp",
        ("*SUPERVISOR*",),
    ),
    DerivedField(
        "supervisor_processed_at",
        (
            "supervisor_processed_at",
            "processed_at",
            "supervisor.processed_at",
            "decision.processed_at",
        ),
        "timestamp",
        ("*SUPERVISOR*",),
    ),
)
"""What the view ``task_audits`` shows besides an entry's own columns."""


def read_declared(directory: FilePath) -> tuple[DerivedField, ...]:
    """The fields of a log: those built in, unless its settings file defines them otherwise, and its
    own. Raises `ConfigError` for what the file says wrongly."""
    sections = read_settings_file(directory).get(DERIVED_SECTION, {})
    return declared(sections, f"in {directory / SETTINGS_FILE}")


def declared(sections: Any, where: str) -> tuple[DerivedField, ...]:
    """The fields that ``[derived.NAME]`` sections declare, behind those built in."""
    fields = {field.name: field for field in BUILT_IN}
    if not isinstance(sections, Mapping):
        raise ConfigError(f"{DERIVED_SECTION} {where} is no section: write [derived.NAME]")
    for name, section in sections.items():
        try:
            fields[name] = _declared(name, section)
        except ConfigError as error:
            raise ConfigError(f"{error} ({where})") from None
    if len(fields) > FIELDS_MAX:
        raise ConfigError(f"{len(fields)} derived fields {where}: at most {FIELDS_MAX} are allowed")
    return tuple(fields.values())


def _declared(name: str, section: Any) -> DerivedField:
    shown = f"the derived field {name!r:.80}"
    if not isinstance(section, Mapping):
        raise ConfigError(f"{shown} is no section: write [derived.{name}], then paths and type")
    unknown = sorted(section.keys() - {"paths", "type", "event_types"})
    if unknown:
        raise ConfigError(
            f"{shown} has {unknown[0]!r}: it takes paths, type and event_types; "
            "settings stand above all sections"
        )
    kind = section.get("type", "text")
    if not isinstance(kind, str):
        raise ConfigError(f"{shown} has type {kind!r}: it must be of {', '.join(TYPES)}")
    return DerivedField(
        name,
        _texts(section.get("paths", [name]), f"paths of {shown}"),
        kind,
        _texts(section.get("event_types", ["*"]), f"event_types of {shown}"),
    )


def _texts(value: Any, shown: str) -> tuple[str, ...]:
    items: Sequence[Any] = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ConfigError(f"{shown} is {value!r:.100}: it must be a list of strings")
    return tuple(items)
