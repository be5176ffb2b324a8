"""The writer's process: where it can serve, how it starts, and how it ends."""

import errno
import gc
import grp
import os
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard.settings import Settings
from hansard_writer import process
from hansard_writer.lock import DirectoryTaken, WriterLock, WriterRun
from hansard_writer.retries import StoreFull
from hansard_writer.unusable import LogUnusable
from support import query

QUIET = Settings(disk_warn=0, disk_suspend=0)
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a process sets for its life is set back."""
    mask = os.umask(0o022)
    second_sqlite = sys.modules.pop("_sqlite3", None)
    handlers = {number: signal.getsignal(number) for number in STOPS}
    yield
    os.umask(mask)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    gc.unfreeze()
    sys.modules.pop("_sqlite3", None)
    if second_sqlite is not None:
        sys.modules["_sqlite3"] = second_sqlite


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def own_group() -> str:
    return grp.getgrgid(os.getegid()).gr_name


# --- the directory ---


def test_a_missing_directory_is_made_for_its_owner_alone(directory: Path) -> None:
    assert process.prepare_directory(directory / "deep" / "er", None) is None
    assert mode(directory / "deep" / "er") == 0o700
    assert mode(directory / "deep" / "er" / "spool") == 0o700


def test_a_group_gets_in_by_modes(directory: Path) -> None:
    gid = process.prepare_directory(directory, own_group())
    assert gid == os.getegid()
    assert mode(directory) == 0o2750
    assert mode(directory / "spool") == 0o3730
    assert (directory / "spool").stat().st_gid == gid


def test_a_directory_that_clients_made_before_is_opened_for_the_group(directory: Path) -> None:
    layout.prepare_for_client(directory)
    process.prepare_directory(directory, own_group())
    assert mode(directory) == 0o2750
    assert mode(directory / "spool") == 0o3730


def test_an_unknown_group_is_refused_before_anything_is_made(directory: Path) -> None:
    with pytest.raises(ConfigError, match="no group 'nobody-has-this': make it with groupadd"):
        process.prepare_directory(directory, "nobody-has-this")
    assert not directory.exists()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="not a directory"):
        process.prepare_directory(tmp_path / "file", None)
    with pytest.raises(ConfigError, match=r"cannot use .*: Not a directory"):
        process.prepare_directory(tmp_path / "file" / "below", None)


def test_a_network_file_system_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "network_file_system", lambda _path: "nfs4")
    with pytest.raises(ConfigError, match=r"network file system \(nfs4\).*local disk"):
        process.prepare_directory(directory, None)


def test_a_directory_of_somebody_else_is_refused_and_its_owner_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, 12_345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(ConfigError, match=r"belongs to .*--group"):
        process.prepare_directory(directory, None)


# --- a whole life ---


def serve_and_stop(directory: Path, number: int = signal.SIGTERM, group: str | None = None) -> str:
    """Serve until the ready line is out; the line."""
    lines: list[str] = []

    def ready(line: str) -> None:
        lines.append(line)
        os.kill(os.getpid(), number)

    process.serve(directory, replace(QUIET, group=group), ready)
    return lines[0]


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_ends_it_cleanly(directory: Path, number: int) -> None:
    line = serve_and_stop(directory, number)
    assert line.startswith(f"hansard ready dir={directory} push=")
    assert f"pid={os.getpid()} epoch=1" in line
    assert not (directory / "log.db-wal").exists()
    assert not layout.a_writer_lives(directory)
    assert query(directory, "SELECT count(*) FROM entries") == [(0,)]


def test_a_hangup_that_is_ignored_stays_ignored(directory: Path) -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    serve_and_stop(directory)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_no_second_sqlite_can_be_loaded_where_a_log_is_served(directory: Path) -> None:
    serve_and_stop(directory)
    with pytest.raises(ImportError, match="import of _sqlite3 halted"):
        import_module("_sqlite3")


def test_files_made_from_then_on_are_nobody_elses(directory: Path) -> None:
    serve_and_stop(directory)
    assert os.umask(0) == 0o077
    serve_and_stop(directory, group=own_group())
    assert os.umask(0) == 0o027


def test_it_can_start_again_where_it_ended(directory: Path) -> None:
    assert "epoch=1" in serve_and_stop(directory)
    assert "epoch=2" in serve_and_stop(directory)


def test_what_others_must_not_read_they_cannot(directory: Path) -> None:
    seen: dict[str, int] = {}

    def ready(_line: str) -> None:
        seen.update({path.name: mode(path) for path in directory.iterdir()})
        os.kill(os.getpid(), signal.SIGTERM)

    process.serve(directory, QUIET, ready)
    assert seen.pop("spool") == 0o700
    assert set(seen) >= {"log.db", "log.db-wal", "writer.lock", "push.sock", "ack.sock"}
    assert set(seen.values()) == {0o600}


def test_with_a_group_its_members_can_connect_and_read(directory: Path) -> None:
    seen: dict[str, int] = {}

    def ready(_line: str) -> None:
        seen.update({path.name: mode(path) for path in directory.iterdir()})
        os.kill(os.getpid(), signal.SIGTERM)

    process.serve(directory, Settings(disk_warn=0, disk_suspend=0, group=own_group()), ready)
    assert seen["push.sock"] == seen["ack.sock"] == 0o660
    assert seen["log.db"] == seen["writer.lock"] == 0o640
    assert seen["spool"] == 0o3730


def test_a_directory_that_is_served_is_refused_and_nothing_is_touched(directory: Path) -> None:
    directory.mkdir()
    held = WriterLock(directory, 0o600)
    held.announce(WriterRun(b"L" * 16, 1, 7), b"r" * 16)
    with pytest.raises(DirectoryTaken, match=f"pid {os.getpid()}"):
        process.serve(directory, QUIET, lambda _line: None)
    held.close()
    assert not (directory / "log.db").exists()


def test_a_database_that_cannot_be_served_lets_the_lock_go(directory: Path) -> None:
    directory.mkdir()
    (directory / "log.db").write_bytes(b"x" * 5_000)
    with pytest.raises(Exception):  # noqa: B017, PT011 - which one is the store's business
        process.serve(directory, QUIET, lambda _line: None)
    assert not layout.a_writer_lives(directory)


def test_a_very_long_directory_is_served(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 100) / ("e" * 100)
    assert str(long) in serve_and_stop(long)


def test_garbage_is_collected_again_when_it_has_ended(directory: Path) -> None:
    serve_and_stop(directory)
    assert gc.isenabled()


def test_a_start_on_a_full_disk_takes_the_room_of_the_reserve_once(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory.mkdir()
    tries = []

    def make() -> str:
        tries.append(0)
        if (directory / "reserve").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "writer.lock")
        return "made"

    (directory / "reserve").write_bytes(bytes(8_192))
    assert process._with_room(directory, Settings(), make) == "made"
    assert len(tries) == 2
    assert "reserve is released" in caplog.text


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left", "f"), StoreFull("full")])
def test_a_start_without_room_is_no_usage_error(directory: Path, error: Exception) -> None:
    """A supervisor may try it again, when there is room."""
    directory.mkdir()

    def make() -> None:
        raise error

    with pytest.raises(LogUnusable, match=r"start again"):
        process._with_room(directory, Settings(), make)


def test_a_group_may_read_what_is_public_of_the_signing_and_not_the_key(directory: Path) -> None:
    process.prepare_directory(directory, None)
    for name in ("checkpoint", "writer.pub", "writer.key"):
        (directory / name).touch(0o600)
    process.prepare_directory(directory, own_group())
    modes = [mode(directory / name) for name in ("checkpoint", "writer.pub", "writer.key")]
    assert modes == [0o640, 0o640, 0o600]
    process.prepare_directory(directory, None)
    assert mode(directory / "checkpoint") == 0o600
