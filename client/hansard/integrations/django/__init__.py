"""Hansard in Django: ``INSTALLED_APPS = [..., "hansard.integrations.django"]``.

The app records what audited models create, update and delete, and who signs in; its middleware
binds actor and correlation id around each request, and records the request. All of it is set by one
dict, ``HANSARD`` in settings.py: see `configuration`.

`AuditedModel`, `AuditedQuerySet` and ``@audited`` are in `hansard.integrations.django.models`,
because Django forbids models before its apps are loaded. For events of the site's own there is
``log()``, the `AuditLog` that all of this records into.
"""

try:
    import django as _django  # noqa: F401 - said here, whatever of this package is asked for
except ImportError as error:
    raise ImportError(
        "hansard.integrations.django needs Django: pip install 'hansard[django]'"
    ) from error

from hansard.integrations.django.configuration import log

__all__ = ["log"]
