"""Fixtures of the tests of the Django app: a database in memory, and a log that keeps."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

import django_site
from hansard.integrations.django.configuration import current
from hansard.testing import MemoryLog


@pytest.fixture(scope="session")
def tables() -> Iterator[None]:
    """A database of the process's own, in memory, which threads share."""
    connection.creation.create_test_db(verbosity=0)
    yield
    connection.creation.destroy_test_db(":memory:", verbosity=0)


@pytest.fixture
def site(tables: None) -> Iterator[Any]:
    """Sets ``HANSARD`` for the rest of the test: ``log = site(values=False)``. The tables are empty
    afterwards."""
    assert django_site
    opened = []

    def configure(**choices: Any) -> MemoryLog:
        log = MemoryLog()
        settings = {"log": log, "models": ["auth.User", "shop.Order"], **choices}
        override = override_settings(HANSARD=settings)
        override.enable()
        opened.append((override, log))
        assert current().log is log
        return log

    yield configure
    for override, log in reversed(opened):
        override.disable()
        log.close()
    call_command("flush", verbosity=0, interactive=False)


@pytest.fixture
def log(site: Any) -> MemoryLog:
    """The log of a site that is set as most are."""
    kept: MemoryLog = site()
    return kept
