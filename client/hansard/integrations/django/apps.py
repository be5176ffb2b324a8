"""The app: connects what is audited to Django's signals, and registers the checks."""

from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import register
from django.core.signals import setting_changed
from django.db.models.signals import class_prepared

from hansard.integrations.django import registry
from hansard.integrations.django.checks import check
from hansard.integrations.django.configuration import SETTING


class HansardConfig(AppConfig):
    """``hansard.integrations.django`` in INSTALLED_APPS."""

    name = "hansard.integrations.django"
    label = "hansard"
    verbose_name = "Hansard"

    def __init__(self, app_name: str, app_module: Any) -> None:
        super().__init__(app_name, app_module)
        class_prepared.connect(registry.connect_prepared, dispatch_uid=SETTING)  # no model is yet

    def ready(self) -> None:
        """Every model is there."""
        register(check, "hansard")
        registry.connect_all()
        setting_changed.connect(_follow, dispatch_uid=SETTING)
        if apps.is_installed("django.contrib.auth"):
            from hansard.integrations.django import signins

            signins.connect()


def _follow(setting: str, **_: Any) -> None:
    """A test has changed the settings."""
    if setting == SETTING:
        registry.connect_all()
