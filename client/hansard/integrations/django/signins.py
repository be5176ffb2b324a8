"""Records who logs in and out, and who fails to: receivers of the signals of django.contrib.auth.

Passwords never come here: Django hands the credentials on without them.
"""

from collections.abc import Mapping
from typing import Any, Final

from hansard.integrations.django.changes import shown
from hansard.integrations.django.configuration import current, record

LOGGED_IN: Final = "user.logged_in"
LOGGED_OUT: Final = "user.logged_out"
LOGIN_FAILED: Final = "user.login_failed"

_NAME_CHARS_MAX: Final = 255


def connect() -> None:
    """Once the apps are there: where sign-ins are wanted, and there is anything to sign in to."""
    from django.contrib.auth import signals

    signals.user_logged_in.connect(logged_in, dispatch_uid=LOGGED_IN)
    signals.user_logged_out.connect(logged_out, dispatch_uid=LOGGED_OUT)
    signals.user_login_failed.connect(login_failed, dispatch_uid=LOGIN_FAILED)


def logged_in(user: Any, **_: Any) -> None:
    """Receives ``user_logged_in``."""
    if current().signins:
        record(LOGGED_IN, _named(user), actor=actor_of(user))


def logged_out(user: Any = None, **_: Any) -> None:
    """Receives ``user_logged_out``; of a session that was nobody's, there is nothing to say."""
    if current().signins and user is not None:
        record(LOGGED_OUT, _named(user), actor=actor_of(user))


def login_failed(credentials: Mapping[str, Any], **_: Any) -> None:
    """Receives ``user_login_failed``: the name that was tried, whoever typed it."""
    if current().signins:
        from django.contrib.auth import get_user_model

        name = credentials.get(get_user_model().USERNAME_FIELD, credentials.get("username"))
        payload = {} if name is None else {"username": shown(name, _NAME_CHARS_MAX)}
        record(LOGIN_FAILED, payload, level="warning")


def actor_of(user: Any) -> str | None:
    """The actor that a user is, None for nobody."""
    if not getattr(user, "is_authenticated", False):
        return None
    name = getattr(user, current().user_field, None)
    return None if name is None else f"user:{name}"


def _named(user: Any) -> dict[str, Any]:
    return {"username": shown(user.get_username(), _NAME_CHARS_MAX)}
