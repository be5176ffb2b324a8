"""What a page gets of an entry: plain values that JSON has, none of them large. Pure.

A list shows the beginning of a payload, or where a search has found something in it; all of it is
one entry's page.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hansard.operations import ENV_OPERATION
from hansard.reader import DeadLetter, Event, Operation, Refusal
from hansard_writer.viewing.excerpts import excerpt

OUTPUT_CHARS_MAX: Final = 64 * 1024  # of stdout and stderr, in an entry's page
PAYLOAD_CHARS_MAX: Final = 64 * 1024  # that a page shows; more is downloaded
PROOF_CHARS_MAX: Final = 16 * 1024  # it holds the payload once more

_COLUMNS: Final = ("id", "created_at", "created_at_ns", "event_type", "level", "actor", "task_id")
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # colours and the like, of terminals


def event_row(event: Event, words: Sequence[str] = ()) -> dict[str, Any]:
    """An entry in a list."""
    row: dict[str, Any] = {name: getattr(event, name) for name in _COLUMNS}
    row["redacted"] = event.redacted
    row["payload_chars"] = len(event.payload or "")
    text = _searched(event) if words else event.payload
    row["excerpt"] = excerpt(text or "", list(words))
    return row


def event_facts(event: Event) -> dict[str, Any]:
    """All columns of an entry, its payload cut where it is long."""
    facts = {name: getattr(event, name) for name in Event.__dataclass_fields__}
    payload = event.payload or ""
    facts["payload_chars"] = len(payload)
    facts["payload"] = None if event.payload is None else payload[:PAYLOAD_CHARS_MAX]
    return facts


def operation_row(event: Event, words: Sequence[str] = ()) -> dict[str, Any]:
    """An operation in a list, with the end of its stderr."""
    row = event_row(event, words) | operation_facts(event, OUTPUT_CHARS_MAX)
    row["error"] = _text(Operation.of(event).error, 400)
    row["stdout"] = None
    lines = [line for line in (row["stderr"] or "").splitlines() if line.strip()]
    row["stderr_lines"] = len(lines)
    row["stderr"] = "\n".join(lines)
    return row


def operation_facts(event: Event, chars_max: int = OUTPUT_CHARS_MAX) -> dict[str, Any]:
    """What an operation says of itself; outputs without what drives a terminal."""
    said = Operation.of(event)
    facts: dict[str, Any] = {
        name: _text(getattr(said, name), 300)
        for name in ("workflow_id", "node_id", "version_id", "operation", "status")
    }
    facts["exit_code"] = said.exit_code if isinstance(said.exit_code, int) else None
    duration = said.duration_ms
    facts["duration_ms"] = duration if isinstance(duration, int | float) else None
    for name in ("stdout", "stderr"):
        text = getattr(said, name)
        text = _ESCAPE.sub("", text) if isinstance(text, str) else None
        facts[name] = text and text[-chars_max:]
        facts[f"{name}_chars"] = len(text or "")
    return facts


def refusal_row(event: Event) -> dict[str, Any]:
    """A refusal in a list."""
    said = Refusal.of(event)
    row = event_row(event)
    for name in ("agent_id", "rule_id", "reason", "timestamp"):
        row[name] = _text(getattr(said, name), 400)
    row["action"] = _brief(said.action)
    row["decision"] = _brief(said.decision)
    return row


def letter_row(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter, without its bytes."""
    fields = (name for name in DeadLetter.__dataclass_fields__ if name != "frame")
    row = {name: getattr(letter, name) for name in fields}
    row["detail"] = _text(letter.detail, 600)
    return row


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        parts = (f"{name}: {_brief(each)}" for name, each in list(value.items())[:6])
        return ", ".join(parts)[:300]
    return (_text(value, 200) or "") if not isinstance(value, list) else f"{len(value)} values"


def _text(value: Any, chars_max: int) -> str | None:
    return None if value is None else str(value)[:chars_max]


def _searched(event: Event) -> str:
    """The text that a search looks at, of an entry that it has found."""
    if event.event_type == ENV_OPERATION:
        said = Operation.of(event)
        text = "\n".join(each for each in (said.stderr, said.error) if isinstance(each, str))
        return _ESCAPE.sub("", text)

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, each in value.items():
                yield str(name)
                yield from walk(each)
        elif isinstance(value, list):
            for each in value:
                yield from walk(each)
        elif value is not None:
            yield str(value)

    return " ".join(walk(event.data))
