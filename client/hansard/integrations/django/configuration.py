"""The dict ``HANSARD`` in Django's settings: what it may hold, and the log that it names.

What is wrong with it is found here and told by `checks` and by the middleware. Models are not
looked up here.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from django.apps import apps
from django.conf import settings as django_settings

from hansard import AuditLog, ConfigError, Settings
from hansard.complaints import Complaints
from hansard.integrations import shared_log
from hansard.settings import load_settings, log_directory

SETTING: Final = "HANSARD"
VALUE_CHARS_MAX: Final = 1_000

_APP: Final = "hansard.integrations.django"
_MIDDLEWARE: Final = f"{_APP}.middleware.AuditMiddleware"
_LOG_SETTINGS: Final = frozenset(each.name for each in fields(Settings))
_complaints: Final = Complaints()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What ``HANSARD`` says. Every other key of the dict is a setting of the log.

    * ``dir``: the log's directory; ``log``: an `AuditLog` instead. By default found as usual.
    * ``models``: the models to audit, as ``"shop.Order"`` or ``"shop.*"``, besides those that say
      so themselves; ``exclude_fields``: ``"updated_at"`` or ``"shop.Order.updated_at"``;
      ``auto_now``: whether the fields that Django sets at each save count as changes.
    * ``values``: whether old and new values are recorded, or the names of fields alone;
      ``value_chars_max``: characters kept of each; ``fixtures``: whether loaddata is recorded.
    * ``signins``: whether logins, logouts and failed logins are recorded.
    * ``user_field``: the attribute of a user that follows ``user:`` in an actor; ``resolve_user``:
      whether the middleware asks who it was where nothing else has, at up to two queries a request.
    * ``requests``: whether the middleware records requests, or a dict of what it takes along, as
      `hansard.integrations.wsgi.AuditMiddleware` has it: ``{"paths": True, "exclude": ["/ping"]}``.
    """

    dir: str | os.PathLike[str] | None = None
    log: AuditLog | None = None
    models: tuple[str, ...] = ()
    exclude_fields: tuple[str, ...] = ()
    auto_now: bool = True
    values: bool = True
    value_chars_max: int = VALUE_CHARS_MAX
    fixtures: bool = True
    signins: bool = True
    user_field: str = "pk"
    resolve_user: bool = False
    requests: bool | dict[str, Any] = True

    def excludes(self, label: str, field: str) -> bool:
        """Whether a field of the model ``label`` is left out of what is recorded."""
        return field in self.exclude_fields or f"{label}.{field}" in self.exclude_fields

    def lists(self, label: str) -> bool:
        """Whether ``models`` names the model ``label``."""
        return label in self.models or f"{label.partition('.')[0]}.*" in self.models


def current() -> Configuration:
    """What the settings say now. What is faulty in them counts as not given: `faults` tells."""
    given = _given()
    if given is not _read.given:
        _read.given = given
        _read.configuration = _read_from(given)
    return _read.configuration


def log() -> AuditLog:
    """The log to record into; this process's one of its directory. Raises `ConfigError`."""
    configuration = current()
    if configuration.log is not None:
        return configuration.log
    known = _read.log
    if known is None or known[0] is not configuration or not known[1].is_open:
        known = configuration, shared_log(configuration.dir, **_log_settings(_given()))
        _read.log = known
    return known[1]


def record(event_type: str, payload: Mapping[str, Any], **about: Any) -> None:
    """`AuditLog.record`, of which nothing reaches the application."""
    try:
        log().record(event_type, payload, **about)
    except Exception as error:  # noqa: BLE001 - a log's fault must not become the site's
        complain(event_type, error)


async def arecord(event_type: str, payload: Mapping[str, Any], **about: Any) -> None:
    """`AuditLog.arecord`, in the same way."""
    try:
        await log().arecord(event_type, payload, **about)
    except Exception as error:  # noqa: BLE001 - as above
        complain(event_type, error)


def complain(what: str, error: Exception) -> None:
    """Warn of an event that is not recorded."""
    _complaints.warn(what, "a %r event was not recorded: %s", what, error)


def faults() -> Iterator[str]:
    """What is wrong with ``HANSARD``, and with where the app and its middleware stand, each as a
    sentence that names the way out."""
    if list(django_settings.MIDDLEWARE or ()).count(_MIDDLEWARE) > 1:
        yield f"MIDDLEWARE has {_MIDDLEWARE!r} more than once: each request would be recorded twice"
    given = getattr(django_settings, SETTING, None)
    if given is not None and not isinstance(given, Mapping):
        yield (
            f"{SETTING} is {given!r:.100}: it must be a dict, such as "
            f'{SETTING} = {{"dir": BASE_DIR / "audit"}}'
        )
        return
    given = given or {}
    for name, value in given.items():
        if name in _KINDS and not _fits(name, value):
            yield f"{SETTING}[{name!r}] is {value!r:.100}: it must be {_KINDS[name][1]}"
        elif name not in _KINDS and name not in _LOG_SETTINGS:
            yield f"{SETTING} has the unknown key {name!r}{_nearest(name)}"
    if given.get("dir") is not None and given.get("log") is not None:
        yield f"{SETTING} has both 'dir' and 'log': leave one of them out"
    if given.get("models") and not apps.is_installed(_APP):  # its check does not run then, either
        yield f"{SETTING}['models'] needs the app: INSTALLED_APPS += [{_APP!r}]"
    try:
        load_settings(log_directory(given.get("dir")), _log_settings(given))
    except ConfigError as error:
        yield f"{SETTING}: {error}"


class _Read:
    """What was read, as long as the setting is the same object."""

    given: Mapping[str, Any] | None = None
    configuration = Configuration()
    log: tuple[Configuration, AuditLog] | None = None


_read: Final = _Read()
_NOTHING: Final[Mapping[str, Any]] = {}
_TEXTS: Final = ((list, tuple, set, frozenset), "a list of texts")
_TRUTH: Final = (bool, "True or False")
_KINDS: Final[dict[str, tuple[Any, str]]] = {
    "dir": ((str, os.PathLike), "a path"),
    "log": (AuditLog, "an AuditLog"),
    "models": _TEXTS,
    "exclude_fields": _TEXTS,
    "auto_now": _TRUTH,
    "values": _TRUTH,
    "value_chars_max": (int, "a number of characters"),
    "fixtures": _TRUTH,
    "signins": _TRUTH,
    "user_field": (str, "the name of an attribute of the user model"),
    "resolve_user": _TRUTH,
    "requests": ((bool, dict), 'True, False or a dict such as {"paths": True}'),
}


def _given() -> Mapping[str, Any]:
    given = getattr(django_settings, SETTING, None)
    return given if isinstance(given, Mapping) else _NOTHING


def _read_from(given: Mapping[str, Any]) -> Configuration:
    values: dict[str, Any] = {
        name: tuple(value) if _KINDS[name] is _TEXTS else value
        for name, value in given.items()
        if name in _KINDS and _fits(name, value)
    }
    return Configuration(**values)


def _fits(name: str, value: object) -> bool:
    kind = _KINDS[name]
    if not isinstance(value, kind[0]) or (kind[0] is int and isinstance(value, bool)):
        return False
    return kind is not _TEXTS or all(isinstance(each, str) for each in value)


def _log_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in _LOG_SETTINGS}


def _nearest(name: object) -> str:
    import difflib

    near = difflib.get_close_matches(str(name), [*_KINDS, *_LOG_SETTINGS], 1)
    return f"; did you mean {near[0]!r}?" if near else ""
