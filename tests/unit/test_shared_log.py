"""One log a directory for all the integrations of a process."""

from pathlib import Path

import pytest

from hansard import AuditLog, ConfigError
from hansard.integrations import shared_log


def test_a_log_that_is_given_is_taken(tmp_path: Path) -> None:
    with AuditLog(tmp_path / "log") as log:
        assert shared_log(log) is log


def test_a_directory_has_one_log_a_process(tmp_path: Path) -> None:
    with shared_log(tmp_path / "log") as log, shared_log(tmp_path / "other") as other:
        assert shared_log(str(tmp_path / "log")) is log
        assert shared_log(tmp_path / "other" / ".." / "log") is log
        assert other is not log


def test_without_a_directory_it_is_the_one_that_an_audit_log_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANSARD_DIR", str(tmp_path / "log"))
    with shared_log() as log:
        assert log.directory == tmp_path / "log"
        assert shared_log(tmp_path / "log") is log


def test_one_that_was_closed_is_followed_by_another(tmp_path: Path) -> None:
    shared_log(tmp_path / "log").close()
    with shared_log(tmp_path / "log") as log:
        assert log.is_open


def test_what_is_no_directory_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be a path"):
        shared_log(7)  # type: ignore[arg-type]
