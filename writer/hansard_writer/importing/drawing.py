"""From a record of another system to an event: by its preset, the payload the record's own text.

Pure: bytes in, values out. Where the records lie in files is said in `documents`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson

from hansard.errors import InvalidEvent
from hansard.events import check_event_type
from hansard_writer.importing import letters
from hansard_writer.importing.fields import Event, Given, Place, parse_object, text_of
from hansard_writer.importing.letters import Unfit
from hansard_writer.importing.levels import level_of
from hansard_writer.importing.presets import RECORDS, RecordPreset
from hansard_writer.json_path import Number, Path, parse_exactly
from hansard_writer.moments import parse_time

_NAME: Final = re.compile(r"\{(\w+)\}")
_ERROR_STATUS, _WARNING_STATUS = 500, 400  # of HTTP


@dataclass(frozen=True, slots=True)
class Drawing:
    """Reads the records of one preset, as `Reading`; what ``given`` says goes before the preset.

    ``source`` is the name under which letters say where they come from.
    """

    preset_name: str
    source: str
    given: Given

    def event(self, item: bytes) -> Event:
        """As `Reading`."""
        try:
            document = parse_object(item)
        except InvalidEvent as error:
            raise Unfit(letters.PAYLOAD, str(error)) from None
        record = _Record(RECORDS[self.preset_name], document, item)
        given = self.given
        return Event(
            self._event_type(record),
            item,
            _text(record.given_or(given.actor_path, "actor"), "actor"),
            _text(record.given_or(given.task_path, "task"), "task"),
            self._time(record),
            record.level(),
        )

    def letter(self, place: Place, item: bytes, reason: str, now_ns: int) -> bytes:
        """As `Reading`."""
        origin = {"source": self.source, "preset": self.preset_name, "key": place}
        try:
            content: dict[str, Any] = {"record": orjson.Fragment(item)}
            parse_object(item)
        except InvalidEvent:
            content = {"text": item}
        return letters.letter(origin, reason, content, now_ns)

    def key_of(self, item: bytes) -> str | None:
        """The record's own id, None where it has none: then its place in the file is its key."""
        preset = RECORDS[self.preset_name]
        if not preset.key:
            return None
        try:
            record = _Record(preset, parse_object(item), item)
        except InvalidEvent:
            return None
        return next(record.filled(preset.key), None)

    def _event_type(self, record: "_Record") -> str:
        given, error = self.given, "none of what names it is there"
        templates = iter(record.preset.event_type)
        candidates = record.filled(templates, record.preset.cut)
        if given.type_path:
            named = record.at(given.type_path)
            candidates = iter([named] if isinstance(named, str) else [])
        for event_type in candidates:
            try:
                check_event_type(event_type)
            except InvalidEvent as refusal:
                error = str(refusal)
            else:
                return event_type
        if given.event_type:
            return given.event_type
        raise Unfit(letters.EVENT_TYPE, error)

    def _time(self, record: "_Record") -> int | None:
        given, preset = self.given, record.preset
        path = given.time_path
        value = record.given_or(path, "time")
        if value is None and path is None and not preset.needs_time:
            return None
        try:
            return parse_time(value)
        except ValueError as error:
            where = path.text if path else ", ".join(preset.values["time"])
            raise Unfit(letters.TIME, f"{error} (at {where})") from None


class _Record:
    """A parsed record, and where its preset says to look."""

    def __init__(self, preset: RecordPreset, document: Mapping[str, Any], text: bytes) -> None:
        self.preset = preset
        self._text = text
        bodies = (path.follow(document) for path in _paths(preset.bodies))
        self._objects = [document, *(each for each in bodies if isinstance(each, dict))]

    def at(self, path: Path) -> Any:
        """The value at a path, a number that is no integer as it is written; None for none."""
        for place, document in enumerate(self._objects):
            value = path.follow(document)
            if isinstance(value, float):
                exact = _Record(self.preset, parse_exactly(self._text), self._text)
                return path.follow(exact._objects[place])
            if value is not None:
                return value
        return None

    def value(self, name: str) -> Any:
        """The first that is there of the paths of a name."""
        paths = _paths(self.preset.values.get(name, ()))
        return next((found for path in paths if (found := self.at(path)) not in (None, "")), None)

    def given_or(self, path: Path | None, name: str) -> Any:
        """The value at a path that was given, else that of a name."""
        return self.value(name) if path is None else self.at(path)

    def filled(self, templates: Iterator[str] | tuple[str, ...], cut: str = "") -> Iterator[str]:
        """The templates for which all values are there."""
        for template in templates:
            values = {name: self._for_template(name) for name in _NAME.findall(template)}
            if all(value is not None for value in values.values()):
                text = _NAME.sub(lambda match: str(values[match[1]]), template)  # noqa: B023
                yield text.replace(cut, "") if cut else text

    def level(self) -> str:
        """By name or number, by the failure or the HTTP status that the record says."""
        if self.value("failure") is not None:
            return "error"
        status = self.value("status")
        if isinstance(status, int) and not isinstance(status, bool):
            return "error" if status >= _ERROR_STATUS else _below(status)
        return level_of(self.value("level"))

    def _for_template(self, name: str) -> str | int | None:
        value = self.value(name)
        if value is None and name == "event":
            value = self._by_its_signs()
        is_text = isinstance(value, str | int) and not isinstance(value, bool | Number)
        return value if is_text else None

    def _by_its_signs(self) -> str | None:
        for event, members in self.preset.signs:
            if any(all(name in document for name in members) for document in self._objects):
                return event
        return None


def _below(status: int) -> str:
    return "warning" if status >= _WARNING_STATUS else "info"


def _text(value: Any, name: str) -> str | None:
    """A value that is no text, and no number, says nothing of who it was."""
    try:
        return text_of(value, name)
    except InvalidEvent:
        return None


@cache
def _paths(texts: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(map(Path, texts))
