"""For models that say themselves that they are audited: `AuditedModel`, ``@audited``, and the
queryset that records what Django's signals do not tell.

An audited model records each ``save`` and ``delete``, whoever calls it: forms, the admin,
``get_or_create``, deletions that cascade. These pass Django's signals by, and are recorded only
through `AuditedQuerySet`: ``update``, ``bulk_create``, ``bulk_update``. Nothing records SQL of your
own, ``on_delete=SET_NULL``, ``customer.orders.add(order)`` where it updates in bulk, or what
migrations do to the models of their own time.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

from django.db import models

from hansard.integrations.django import recording
from hansard.integrations.django.configuration import complain
from hansard.integrations.django.recording import PKS_MAX
from hansard.integrations.django.registry import MARK, audited

__all__ = ["AuditedManager", "AuditedModel", "AuditedQuerySet", "audited"]

_in_bulk_update: Final[ContextVar[bool]] = ContextVar("hansard.in_bulk_update", default=False)


class AuditedQuerySet(models.QuerySet):
    """Records ``update``, ``bulk_create`` and ``bulk_update``, each as one entry: how many rows,
    the first thousand primary keys, and what was set.

    ``update`` is asked for the keys just before: one query more, and another connection may change
    which rows it finds in between. The count is that of the update.
    """

    def update(self, **values: Any) -> int:
        if _in_bulk_update.get():
            return super().update(**values)
        self._for_write = True
        pks = self._some_pks()
        count = super().update(**values)
        if count:
            recording.record_many(
                recording.UPDATED,
                self.model,
                self.db,
                pks,
                count,
                **recording.assigned(values),
            )
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def _some_pks(self) -> list[Any]:
        """Which rows an update will find; none where this cannot be asked, as the update may."""
        try:
            return list(self.order_by().values_list("pk", flat=True)[:PKS_MAX])
        except Exception as error:  # noqa: BLE001 - the update says itself what is wrong
            complain(recording.UPDATED, error)
            return []

    def bulk_create(self, objs: Any, *args: Any, **options: Any) -> Any:
        created = super().bulk_create(objs, *args, **options)
        if created:
            conflicts = [
                name for name in ("ignore_conflicts", "update_conflicts") if options.get(name)
            ]
            recording.record_many(
                recording.CREATED,
                self.model,
                self.db,
                [each.pk for each in created[:PKS_MAX] if each.pk is not None],
                len(created),
                **dict.fromkeys(conflicts, True),
            )
        return created

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(self, objs: Any, fields: Sequence[str], *args: Any, **options: Any) -> int:
        objs = tuple(objs)
        token = _in_bulk_update.set(True)
        try:
            count = super().bulk_update(objs, fields, *args, **options)
        finally:
            _in_bulk_update.reset(token)
        if count:
            recording.record_many(
                recording.UPDATED,
                self.model,
                self.db,
                [each.pk for each in objs[:PKS_MAX]],
                count,
                fields=list(fields),
            )
        return count

    bulk_update.alters_data = True  # type: ignore[attr-defined]


AuditedManager = models.Manager.from_queryset(AuditedQuerySet, "AuditedManager")


class AuditedModel(models.Model):
    """A base for models whose changes are recorded, those of its default manager included."""

    objects = AuditedManager()

    class Meta:
        abstract = True


setattr(AuditedModel, MARK, True)
