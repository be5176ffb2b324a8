"""Which models are audited: those of ``HANSARD["models"]``, those marked in the code, and what
inherits from either, proxies among them.

Connects `recording` to Django's signals, for each such model alone: a receiver for all models would
take Django's fast deletions and additions from every other model, too.
"""

from functools import partial
from typing import Any, Final

from django.apps import apps
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save

from hansard.integrations.django import recording
from hansard.integrations.django.configuration import current

MARK: Final = "_hansard_audited"  # on a class, and so on those that inherit from it
_UID: Final = "hansard"
_RECEIVERS: Final = (
    (pre_save, recording.before_save),
    (post_save, recording.after_save),
    (pre_delete, recording.before_delete),
    (post_delete, recording.after_delete),
)


def audited(model: Any) -> Any:
    """Decorates a model: what is done to its instances is recorded."""
    setattr(model, MARK, True)
    connect(model)
    return model


def is_audited(model: Any) -> bool:
    """Whether the model is one whose changes are to be recorded."""
    if model._meta.auto_created or model._meta.swapped or model._meta.apps is not apps:
        return False  # a through model, one replaced, one of a migration
    if getattr(model, MARK, False):
        return True
    configuration = current()
    parents = (parent for parent in model.__mro__ if hasattr(parent, "_meta"))
    return any(configuration.lists(parent._meta.label) for parent in parents)


def connect_prepared(sender: Any, **_: Any) -> None:
    """Receives ``class_prepared``: before its module can connect receivers of its own, which may
    save the instance again."""
    if is_audited(sender):
        connect(sender)


def connect(model: Any) -> None:
    """Record what is done to instances of the model. To connect again is harmless."""
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver, sender=model, weak=False, dispatch_uid=_UID)


def connect_all() -> None:
    """Once all models are there, or the settings have changed: connect those that are audited, with
    their many-to-many fields, and disconnect the others."""
    for model in apps.get_models():
        wanted = is_audited(model)
        if wanted:
            connect(model)
        else:
            for signal, _ in _RECEIVERS:
                signal.disconnect(sender=model, dispatch_uid=_UID)
        for field in model._meta.local_many_to_many:
            through = field.remote_field.through
            m2m_changed.disconnect(sender=through, dispatch_uid=_UID)
            if wanted:
                receiver = partial(recording.related_changed, field)
                m2m_changed.connect(receiver, sender=through, weak=False, dispatch_uid=_UID)
