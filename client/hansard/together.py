"""Events that are recorded together: checked one by one, encoded as one run."""

from collections.abc import Callable, Iterable, Mapping
from time import time_ns
from typing import Any, Final, NamedTuple

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.events import created_at_ns, joined
from hansard.settling import Facts
from hansard.wording import kind_of

RECORD_MANY_MAX: Final = 1_000

Encode = Callable[[str, Any, str, str | None, str | None, int], bytes]


class Together(NamedTuple):
    """The wire bytes of a run of joined events, and the facts of each."""

    data: bytes
    facts: list[Facts]


def encode_together(
    encode: Encode, events: Iterable[Mapping[str, Any]], count_max: int | None
) -> Together:
    """The events, each a mapping of `AuditLog.record`'s arguments. Raises `InvalidEvent` for one
    that breaks a rule, for more than `RECORD_MANY_MAX` or `wire.RUN_BYTES_MAX`, and for more than
    could ever wait, which is ``count_max``."""
    if isinstance(events, Mapping | str | bytes) or not isinstance(events, Iterable):
        raise InvalidEvent(
            f"events is {kind_of(events)}: it must be a list of mappings, even of one, "
            "each with the arguments of record()"
        )
    now = time_ns()
    encoded, facts = [], []
    for index, event in enumerate(events):
        if index >= RECORD_MANY_MAX:
            raise InvalidEvent(f"record_many takes at most {RECORD_MANY_MAX:,} events a call")
        data, fact = _encoded(encode, index, event, now)
        encoded.append(data)
        facts.append(fact)
    if not encoded:
        return Together(b"", [])
    if count_max is not None and len(encoded) > count_max:
        raise InvalidEvent(
            f"{len(encoded)} events never fit into a queue_maxsize of {count_max}: raise it, or "
            "record fewer a call"
        )
    data = joined(encoded)
    if len(data) > wire.RUN_BYTES_MAX:
        raise InvalidEvent(
            f"the events have {len(data):,} bytes: record_many takes at most "
            f"{wire.RUN_BYTES_MAX:,} a call"
        )
    return Together(data, facts)


def _encoded(encode: Encode, index: int, event: Mapping[str, Any], now: int) -> tuple[bytes, Facts]:
    try:
        fields = dict(event)
    except (TypeError, ValueError):
        raise InvalidEvent(
            f"event {index} is {kind_of(event)}: it must be a mapping of record()'s arguments"
        ) from None
    try:
        event_type, task_id = fields.pop("event_type"), fields.pop("task_id", None)
        given = fields.pop("created_at", None)
        created_at = now if given is None else created_at_ns(given)
        payload, level = fields.pop("payload", None), fields.pop("level", "info")
        data = encode(event_type, payload, level, fields.pop("actor", None), task_id, created_at)
    except KeyError:
        raise InvalidEvent(f"event {index} has no event_type") from None
    except InvalidEvent as error:
        raise InvalidEvent(f"event {index}: {error}") from error
    if fields:
        raise InvalidEvent(f"event {index} has unknown fields: {', '.join(map(str, fields))}")
    return data, Facts(event_type, created_at, task_id)
