"""System checks of Django: what is wrong with ``HANSARD``, said by ``manage.py`` at every start."""

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error

from hansard.integrations.django.configuration import SETTING, current, faults
from hansard.integrations.web_audit import WebAudit


def check(**_: Any) -> list[CheckMessage]:
    """All that is wrong."""
    found: list[CheckMessage] = [Error(fault, id="hansard.E001") for fault in faults()]
    found += [Error(fault, id="hansard.E002") for fault in unknown_models()]
    found += [Error(fault, id="hansard.E003") for fault in unknown_choices()]
    return found


def unknown_models() -> Iterator[str]:
    """What ``models`` names and no app has."""
    labels = [model._meta.label for model in apps.get_models(include_swapped=True)]
    all_of = {f"{label.partition('.')[0]}.*" for label in labels}
    for name in current().models:
        if name not in labels and name not in all_of:
            near = difflib.get_close_matches(name, [*labels, *all_of], 1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "; write 'app.Model' or 'app.*'"
            yield f"{SETTING}['models'] names {name!r}, which no installed app has{hint}"


def unknown_choices() -> Iterator[str]:
    """What ``requests`` names and no middleware knows."""
    requests = current().requests
    try:
        inspect.signature(WebAudit).bind_partial(**(requests if isinstance(requests, dict) else {}))
    except TypeError as error:
        yield f"{SETTING}['requests']: {error}; see help(hansard.integrations.wsgi.AuditMiddleware)"
