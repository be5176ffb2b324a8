"""Fixtures of all tests: a fresh directory, and a real writer for it."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import hansard_writer
from postgresql_server import PostgresqlServer, postgresql_server
from support import assert_verifies


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No HANSARD_* variable of the caller, and a home of the test's own."""
    for name in list(os.environ):
        if name.startswith("HANSARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def unchanged_process() -> Iterator[None]:
    """What commands do to their own process they do not do to that of the tests: no test is slowed
    down by one that has read beside a writer, or keeps what nobody collects."""
    nice, scheduler = os.nice, os.sched_setscheduler
    os.nice = lambda _increment: 0
    os.sched_setscheduler = lambda *_: None
    yield
    os.nice, os.sched_setscheduler = nice, scheduler
    assert gc.isenabled(), "the test has switched the collector off"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the test's log is, or will be."""
    return tmp_path / "log"


@pytest.fixture
def writer(directory: Path) -> Iterator[hansard_writer.RunningWriter]:
    """A real writer process that serves ``directory`` for the test's length; the log verifies."""
    with hansard_writer.running(directory) as running:
        yield running
    assert_verifies(directory)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A real PostgreSQL that tests share: they leave it running."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def _recycled_database(postgresql: PostgresqlServer) -> str:
    return postgresql.new_database()


@pytest.fixture
def database(postgresql: PostgresqlServer, _recycled_database: str) -> str:
    """The URL of a database that has no schema `hansard`, for the test alone."""
    with postgresql.connected(_recycled_database) as connection:
        connection.execute("DROP SCHEMA IF EXISTS hansard CASCADE")
    return _recycled_database
