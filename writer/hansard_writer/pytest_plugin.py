"""pytest: the fixtures `audit_log`, a log in memory, and `hansard_writer`, a real one.

pytest loads this in every run of whoever has installed Hansard, so it loads nothing of Hansard
before a test asks for it, and changes nothing of a test that does not.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from hansard.testing import MemoryLog
    from hansard_writer.temporary_writer import TemporaryWriter

AUDIT_LOG: Final = "audit_log"
WRITER: Final = "hansard_writer"
_LOG: Final = pytest.StashKey["MemoryLog"]()
_WRITER: Final = pytest.StashKey["TemporaryWriter"]()
_LEAD_AWAY: Final = ("CONNECT", "SERVER_KEY", "TCP", "GROUP")  # from a log of the test's own


@pytest.fixture
def audit_log(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> "Iterator[MemoryLog]":
    """A `hansard.AuditLog` in memory: `assert audit_log.recorded("task.done", task_id="T1")`.

    Give it to the code under test, or put it in the place of that code's own log:
    `monkeypatch.setattr(app, "log", audit_log)`. Hansard's integrations find it by themselves where
    they are given neither a log nor a directory. `@pytest.mark.audit_log(actor="user:7")` gives it
    settings, and functions for `call()` as `calls={name: function}`.
    """
    from hansard import integrations
    from hansard.settings import log_directory
    from hansard.testing import MemoryLog

    with MemoryLog(**_options(request, AUDIT_LOG)) as log:
        monkeypatch.setitem(integrations._shared, log_directory(), log)
        request.node.stash[_LOG] = log
        yield log


@pytest.fixture(name=WRITER)
def _hansard_writer(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> "Iterator[TemporaryWriter]":
    """A real writer process on a directory of its own, which the code under test finds by
    HANSARD_DIR: `assert hansard_writer.recorded("task.done", task_id="T1")`.

    It has `directory`, `log`, `reader()`, `entries`, `stop()` and `start()`. Settings and modules
    of named operations: `@pytest.mark.hansard_writer(enforce_tasks=True, operations=["app.ops"])`.
    One for a whole session is `hansard_writer.temporary_writer.temporary_writer()` in a fixture.
    """
    from hansard.settings import DIRECTORY_VARIABLE, ENVIRONMENT_PREFIX
    from hansard_writer.temporary_writer import temporary_writer

    for name in _LEAD_AWAY:
        monkeypatch.delenv(ENVIRONMENT_PREFIX + name, raising=False)
    with temporary_writer(**_options(request, WRITER)) as writer:
        monkeypatch.setenv(DIRECTORY_VARIABLE, str(writer.directory))
        request.node.stash[_WRITER] = writer
        yield writer


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    config.addinivalue_line(
        "markers", f"{AUDIT_LOG}(**settings): settings of the log that the fixture is (Hansard)"
    )
    config.addinivalue_line(
        "markers", f"{WRITER}(**settings): settings of the writer that the fixture is (Hansard)"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Any:
    """Show in the report of a test that failed what its log had, and what its writer said."""
    outcome = yield
    log, writer = item.stash.get(_LOG, None), item.stash.get(_WRITER, None)
    if call.excinfo is None or (log is None and writer is None):
        return
    report = outcome.get_result()
    if log is not None:
        from hansard.testing import shown

        report.sections.append(("Audit log", shown(log.entries) or "nothing was recorded"))
    if writer is not None and writer.said:
        report.sections.append(("Hansard's writer", writer.said))


def _options(request: pytest.FixtureRequest, mark: str) -> dict[str, Any]:
    """Of all marks of the name; the nearest counts."""
    options: dict[str, Any] = {}
    for each in reversed(list(request.node.iter_markers(mark))):
        if each.args:
            raise pytest.UsageError(f"pytest.mark.{mark} takes settings by name: {each.args!r}")
        options |= each.kwargs
    return options
