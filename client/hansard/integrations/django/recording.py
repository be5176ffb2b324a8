"""Records what models create, update and delete: receivers of Django's signals, and what the
querysets in `models` tell of themselves.

A change is recorded when its transaction commits, under the time, the actor and what else was bound
when it was made; one that is rolled back, with a savepoint or the whole, is not recorded. Nothing
here decides which models: `registry` does.
"""

from collections import deque
from collections.abc import Collection, Mapping
from contextvars import copy_context
from time import time_ns
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from hansard.context import bound_now
from hansard.integrations.django import changes
from hansard.integrations.django.changes import Before
from hansard.integrations.django.configuration import complain, current, record

CREATED: Final = "model.created"
UPDATED: Final = "model.updated"
DELETED: Final = "model.deleted"
PKS_MAX: Final = 1_000  # named in one entry; its count is that of all

_BEFORE: Final = "_hansard_before"  # on the instance, from before a save or delete until after it
_NESTED_MAX: Final = 8  # saves of one instance inside each other; more were failures


class _Noted(deque[Before]):
    """What is known of an instance before its saves. A save that failed leaves it behind, with the
    values of the row: it goes into no pickle and no deep copy, such as a cache would keep."""

    def __init__(self) -> None:
        super().__init__(maxlen=_NESTED_MAX)

    def __reduce__(self) -> Any:
        return _Noted, ()


def before_save(
    instance: Any,
    using: str,
    *,
    raw: bool = False,
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> None:
    """Receives ``pre_save``."""
    configuration = current()
    if raw and not configuration.fixtures:
        return
    try:
        fields = changes.audited_fields(instance, configuration, only=update_fields, raw=raw)
        before = changes.before_save(instance, fields, using, raw=raw)
    except Exception as error:  # noqa: BLE001 - the save goes on, and says itself what is wrong
        complain(UPDATED, error)
        return
    instance.__dict__.setdefault(_BEFORE, _Noted()).append(before)


def after_save(instance: Any, using: str, *, created: bool, raw: bool = False, **_: Any) -> None:
    """Receives ``post_save``."""
    before = _taken(instance)
    if before is None:
        return
    try:
        saved = changes.after_save(instance, before.fields, using)
        changed = changes.changed(before.row or {}, saved)
        if changed or created:
            what = changes.described(changed, current()) | ({"raw": True} if raw else {})
            _record(
                CREATED if created else UPDATED,
                type(instance),
                using,
                {"pk": _pk(instance), **what},
            )
    except Exception as error:  # noqa: BLE001 - the save is done, and the application goes on
        complain(CREATED if created else UPDATED, error)


def before_delete(instance: Any, using: str, origin: Any = None, **_: Any) -> None:
    """Receives ``pre_delete``: the instance that ``delete()`` was called on may hold what was never
    saved; the others come from the database."""
    try:
        fields = changes.audited_fields(instance, current())
        if origin is instance:
            row = changes.stored(instance, fields, using)
        else:
            row = changes.loaded_values(instance, fields)
    except Exception as error:  # noqa: BLE001 - the deletion goes on, and says itself what is wrong
        complain(DELETED, error)
        return
    instance.__dict__.setdefault(_BEFORE, _Noted()).append(Before(fields, row))


def after_delete(instance: Any, using: str, **_: Any) -> None:
    """Receives ``post_delete``."""
    before = _taken(instance)
    if before is None:
        return
    try:
        gone = changes.described(changes.changed(before.row or {}, {}), current())
        _record(DELETED, type(instance), using, {"pk": _pk(instance), **gone})
    except Exception as error:  # noqa: BLE001 - the row is gone, and the application goes on
        complain(DELETED, error)


def related_changed(
    field: Any, *, instance: Any, action: str, reverse: bool, using: str, **about: Any
) -> None:
    """Receives ``m2m_changed`` for one many-to-many field: one event for the objects that have the
    field, whichever side was called.

    What is removed is looked up before, because the signal names what was asked for, not what was
    there, and of ``clear()`` nothing.
    """
    try:
        if action == "post_add":
            others = list(about["pk_set"])
        elif action in ("pre_remove", "pre_clear"):
            others = _related(field, instance, about["pk_set"], using, reverse=reverse)
        else:
            return
        if others:
            kind = "added" if action == "post_add" else "removed"
            _record_related(field, instance, kind, others, using, reverse=reverse)
    except Exception as error:  # noqa: BLE001 - the application goes on
        complain(UPDATED, error)


def record_many(
    event_type: str, model: Any, using: str, pks: Collection[Any], count: int, **about: Any
) -> None:
    """What a queryset did to ``count`` rows at once, of which ``pks`` are some."""
    try:
        limit = current().value_chars_max
        some = [changes.shown(pk, limit) for pk in pks]
        _record(event_type, model, using, {"count": count, "pks": some, **about})
    except Exception as error:  # noqa: BLE001 - it is done, and the application goes on
        complain(event_type, error)


def assigned(values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``update(**values)`` sets, as a part of a payload."""
    configuration = current()
    if not configuration.values:
        return {"fields": list(values)}
    plain = {name: getattr(value, "pk", value) for name, value in values.items()}
    limit = configuration.value_chars_max
    return {"set": {name: changes.shown(value, limit) for name, value in plain.items()}}


def _record(event_type: str, model: Any, using: str, payload: Mapping[str, Any]) -> None:
    """Record it once the transaction commits, at once where there is none to wait for."""
    meta = model._meta.concrete_model._meta  # a proxy has no rows of its own
    database = {} if using == DEFAULT_DB_ALIAS else {"database": using}
    payload = {"model": meta.label, **payload, **database}
    known, context, created_at = bound_now(), copy_context(), time_ns()
    actor = None if known is None else known.who()  # now: by the commit it may be another

    def enter() -> None:
        context.run(record, event_type, payload, actor=actor, created_at=created_at)

    connection = connections[using]
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(enter, using=using, robust=True)
    else:  # the application commits by itself, and Django does not know when
        enter()


def _taken(instance: Any) -> Before | None:
    """What was noted before, which is taken away."""
    noted = instance.__dict__.get(_BEFORE)
    if not noted:
        return None
    before: Before = noted.pop()
    if not noted:
        del instance.__dict__[_BEFORE]
    return before


def _pk(instance: Any) -> Any:
    return changes.shown(instance.pk, current().value_chars_max)


def _related(field: Any, instance: Any, pks: Any, using: str, *, reverse: bool) -> list[Any]:
    """The primary keys of those that are related now, of ``pks`` where these are given."""
    ours, theirs = field.m2m_field_name(), field.m2m_reverse_field_name()
    if reverse:
        ours, theirs = theirs, ours
    through = field.remote_field.through
    rows = through._default_manager.using(using).filter(**{ours: instance})
    if pks is not None:
        rows = rows.filter(**{f"{theirs}__in": pks})
    return list(rows.values_list(theirs, flat=True))


def _record_related(
    field: Any, instance: Any, kind: str, others: list[Any], using: str, *, reverse: bool
) -> None:
    configuration = current()
    label = field.model._meta.concrete_model._meta.label
    if configuration.excludes(label, field.name):
        return
    limit = configuration.value_chars_max
    owners, targets = (others, [instance.pk]) if reverse else ([instance.pk], others)
    count = len(targets)
    change: Any = {kind: [changes.shown(pk, limit) for pk in targets[:PKS_MAX]]}
    if count > PKS_MAX:
        change["count"] = count
    pks = [changes.shown(pk, limit) for pk in owners[:PKS_MAX]]
    whose = {"count": len(owners), "pks": pks} if reverse else {"pk": pks[0]}
    what = {"changes": {field.name: change}} if configuration.values else {"fields": [field.name]}
    _record(UPDATED, field.model, using, {**whose, **what})
