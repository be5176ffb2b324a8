"""What a save has changed: the fields of an instance against its row in the database.

Reads rows and instances, and shows values as JSON can hold them, bounded. Records nothing.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from hansard.integrations.django.configuration import Configuration

Values = dict[str, Any]

_AS_THEY_ARE: Final = (bool, int, float, datetime, date, time, Decimal, UUID)  # hansard encodes


class Before(NamedTuple):
    """What is known before a save: the fields it concerns, and the row, None if there is none."""

    fields: tuple[Any, ...]
    row: Values | None


def audited_fields(
    instance: Any,
    configuration: Configuration,
    *,
    only: Collection[str] | None = None,
    raw: bool = False,
) -> tuple[Any, ...]:
    """The fields whose changes are recorded, of those that the save writes.

    ``only`` is its ``update_fields``; a ``raw`` save writes no inherited ones, and no save writes
    what is deferred. The primary key is told beside the changes, and what the database generates
    follows from the rest.
    """
    meta = instance._meta
    loaded = instance.__dict__
    label = meta.concrete_model._meta.label
    return tuple(
        field
        for field in (meta.local_concrete_fields if raw else meta.concrete_fields)
        if field.attname in loaded
        and not field.primary_key
        and not getattr(field, "generated", False)
        and (only is None or field.name in only or field.attname in only)
        and (configuration.auto_now or not getattr(field, "auto_now", False))
        and not configuration.excludes(label, field.name)
    )


def before_save(instance: Any, fields: tuple[Any, ...], using: str, *, raw: bool) -> Before:
    """What the save is about to change: one query by primary key, none where it must insert.

    The instance does not tell: it may be stale, made by hand, or hold an expression.
    """
    adding = instance._state.adding and instance._meta.pk.has_default() and not raw
    if instance.pk is None or adding or not fields:
        return Before(fields, None)
    return Before(fields, stored(instance, fields, using))


def after_save(instance: Any, fields: Iterable[Any], using: str) -> Values:
    """What was saved. What only the database knows, such as the value of ``F("n") + 1``, is asked
    of it."""
    loaded = instance.__dict__
    values, unknown = {}, []
    for field in fields:
        if field.attname in loaded and not _is_expression(loaded[field.attname]):
            values[field.name] = comparable(field, loaded[field.attname])
        else:
            unknown.append(field)
    if unknown:
        values |= stored(instance, unknown, using) or {}
    return values


def loaded_values(instance: Any, fields: Iterable[Any]) -> Values:
    """What an instance holds, without a query: its row may be gone."""
    loaded = instance.__dict__
    return {field.name: comparable(field, loaded[field.attname]) for field in fields}


def stored(instance: Any, fields: Iterable[Any], using: str) -> Values | None:
    """The fields of the row that the instance stands for, None where there is none."""
    fields = tuple(fields)
    rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
    for row in rows.values_list(*(field.attname for field in fields))[:1]:
        return {
            field.name: comparable(field, value) for field, value in zip(fields, row, strict=True)
        }
    return None


def comparable(field: Any, value: Any) -> Any:
    """The value as the database would return it: "7" for an integer is 7."""
    try:
        value = field.to_python(value)
    except (ValidationError, TypeError, ValueError):  # a custom field's own
        return value
    if isinstance(value, datetime) and settings.USE_TZ and timezone.is_naive(value):
        return timezone.make_aware(value)
    return value


def changed(old: Values, new: Values) -> dict[str, tuple[Any, Any]]:
    """The fields whose value is another one; one that a side does not have counts as None there."""
    pairs = {name: (old.get(name), new.get(name)) for name in {**old, **new}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def described(
    changes: Mapping[str, tuple[Any, Any]], configuration: Configuration
) -> dict[str, Any]:
    """The changes as a part of an event's payload."""
    if not configuration.values:
        return {"fields": list(changes)}
    limit = configuration.value_chars_max
    return {
        "changes": {
            name: [shown(old, limit), shown(new, limit)] for name, (old, new) in changes.items()
        }
    }


def shown(value: Any, chars_max: int) -> Any:
    """A value that JSON can hold, of about ``chars_max`` characters.

    What is structured is whole or not at all: names to be masked could be cut off from their
    values.
    """
    if value is None or isinstance(value, _AS_THEY_ARE):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return f"{len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"
    if isinstance(value, dict | list | tuple | set | frozenset):
        plain = list(value) if isinstance(value, set | frozenset) else value
        text = json.dumps(plain, default=str, skipkeys=True)
        return json.loads(text) if len(text) <= chars_max else f"… (JSON, {len(text):,} characters)"
    if _is_expression(value):
        return _cut(repr(value), chars_max)
    return _cut(str(value), chars_max)


def _cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else f"{text[:chars_max]}… ({len(text):,} characters)"


def _is_expression(value: object) -> bool:
    return hasattr(value, "resolve_expression")
