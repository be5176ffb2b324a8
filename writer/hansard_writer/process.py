"""The writer's process: its start, its life and its end, as a timeline."""

import contextlib
import grp
import logging
import os
import secrets
import signal
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, TypeVar

import apsw

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard.reader_connection import require_sqlite
from hansard.settings import Settings
from hansard.wording import counted
from hansard_writer.adoption import Adopter
from hansard_writer.backups.swapping import require_no_restore
from hansard_writer.collecting import Collector
from hansard_writer.damage import end_at_once
from hansard_writer.derived.definitions import read_declared
from hansard_writer.descriptors import raise_limit, remote_connections_max
from hansard_writer.disk import Reserve
from hansard_writer.durable_files import replace_file
from hansard_writer.endpoints import REPLIES_QUEUED_MAX, REQUESTS_QUEUED_MAX, Endpoints
from hansard_writer.identity import Identity
from hansard_writer.lock import WriterLock
from hansard_writer.migrating import Observer as MigrationObserver
from hansard_writer.migrating import migrate_locked
from hansard_writer.migration_plan import Step
from hansard_writer.operations import forbid_second_sqlite, load
from hansard_writer.place import DirectoryReplaced, Place
from hansard_writer.remote.tcp_endpoints import TcpEndpoints
from hansard_writer.remote.turned_away import TurnedAway
from hansard_writer.retries import StoreFull
from hansard_writer.sd_notify import NOBODY, Notifier
from hansard_writer.sqlite_errors import NO_ROOM
from hansard_writer.store import Store
from hansard_writer.unusable import LogUnusable
from hansard_writer.writer import Writer

if TYPE_CHECKING:
    from hansard_writer.metrics.server import MetricsServer

PREDECESSOR_S: Final = 30.0  # for a writer whose supervisor is gone, to end: `supervisor.STOP_S`

_LOG: Final = logging.getLogger("hansard.writer")

Made = TypeVar("Made")


def serve(
    directory: Path,
    settings: Settings,
    ready: Callable[[str], None],
    operations: Sequence[str] = (),
    *,
    accept_rollback: bool = False,
    accept_lost_key: bool = False,
    migrate: bool = False,
    supervised_restarts: int | None = None,
    notifier: Notifier = NOBODY,
) -> None:
    """Be the writer of ``directory`` until SIGTERM, SIGINT or SIGHUP, then end cleanly.

    ``operations`` are the modules that named operations are loaded from. A log that went back in
    time, or whose key is lost, is served only where that is accepted; one of an earlier schema only
    with ``migrate``, which is done first, with a backup beside it. ``ready`` gets one line
    once the log can be used, and so does ``notifier``, which also hears that the loop goes round.
    ``supervised_restarts``, None without a supervisor, is how often it started the writer again:
    for the figures; and a writer whose supervisor was just killed gets time to end. Raises
    `ConfigError` and `LogUnusable` for what cannot be served, `hansard_writer.lock.DirectoryTaken`
    when another writer serves it. Ends the process at once, with exit status 1, after an error of
    SQLite's that does not pass.
    """
    raise_limit()
    require_sqlite()
    forbid_second_sqlite()
    functions = load(operations)
    _require_own_log(directory, settings)
    gid = prepare_directory(directory, settings.group)
    os.umask(0o077 if gid is None else 0o027)
    shared = gid is not None
    mode = layout.GROUP_DATABASE_MODE if shared else layout.PRIVATE_FILE_MODE
    patience_s = 0.0 if supervised_restarts is None else PREDECESSOR_S
    with_room = partial(_with_room, directory, settings)
    lock = with_room(lambda: WriterLock(directory, mode, patience_s))
    if migrate:  # a signal ends it, with the log whole
        try:
            migrate_locked(directory, lock, observer=_Telling())
        except BaseException:
            lock.close()
            raise
    stop = _StopFlag()
    identity = Identity(
        directory,
        is_shared=shared,
        accept_rollback=accept_rollback,
        accept_lost_key=accept_lost_key,
    )
    turned_away = TurnedAway()
    metrics: MetricsServer | None = None
    try:
        with_room(partial(require_no_restore, directory))
        remote = _listening(directory, settings, turned_away)
        metrics = _measured(directory, settings, must=not supervised_restarts)
        store = with_room(
            lambda: Store(
                directory / layout.DATABASE,
                mode,
                dead_letters_max=settings.dead_letters_max,
                dead_letters_bytes_max=settings.dead_letters_bytes_max,
                enforce_tasks=settings.enforce_tasks,
                predecessor=lock.predecessor,
                standing=identity,
            )
        )
        run_id = secrets.token_bytes(16)
        with_room(lambda: lock.announce(store.run, run_id))
        endpoints = Endpoints(
            directory, layout.SHARED_FILE_MODE if shared else layout.PRIVATE_FILE_MODE, remote
        )
        adopter = Adopter(directory / layout.SPOOL, store.log_id, store.holds, store.held)
        writer = Writer(
            store,
            endpoints,
            adopter,
            settings,
            run_id,
            identity.signing,
            operations=functions,
            read_declared=partial(read_declared, directory),
            require_place=Place(directory).require,
            owner_token=with_room(lambda: _owner_token(directory, is_shared=shared)),
            supervised_restarts=supervised_restarts,
            turned_away=turned_away,
            clients=remote.clients if remote else None,
        )
        with endpoints.signals_wake():
            if metrics:
                metrics.start()
            ready(_ready_line(directory, settings, store, metrics))
            _LOG.info("serving %s, epoch %d, %s", directory, store.epoch, _entries(store))
            if functions:
                _LOG.info("operations: %s", ", ".join(sorted(functions)))
            status = partial(_status, store, writer, supervised_restarts)
            notifier.ready(status())
            with _leaving_no_wal(store):
                _loop(writer, endpoints, stop, notifier, status)
                notifier.stopping(f"stopping: {stop.reason}")
                writer.finish(time.monotonic())
        endpoints.close()
        store.close()
        _LOG.info("stopped by %s; %s", stop.reason, _entries(store))
    except apsw.Error as error:  # what may pass was tried again where it came up
        end_at_once(directory / layout.DATABASE, error)
    finally:
        if metrics:
            metrics.close()
        lock.close()


def _require_own_log(directory: Path, settings: Settings) -> None:
    """Raises `ConfigError` where what is recorded is another host's: its spools are not ours."""
    if settings.connect is not None:
        raise ConfigError(
            f"what is recorded in {directory} goes to {settings.connect}, as `connect` says: name "
            "another directory to serve, or take `connect` and `server_key` out of its settings"
        )


def _listening(directory: Path, settings: Settings, turned_away: TurnedAway) -> TcpEndpoints | None:
    """For other hosts, where the settings say so; before the log is touched, which it would not be
    for an address that cannot be had."""
    if settings.tcp is None:
        return None
    return TcpEndpoints(
        directory,
        settings.tcp,
        turned_away,
        requests_queued_max=REQUESTS_QUEUED_MAX,
        replies_queued_max=REPLIES_QUEUED_MAX,
        connections_max=remote_connections_max(),
    )


def _measured(directory: Path, settings: Settings, *, must: bool) -> "MetricsServer | None":
    """For Prometheus, where the settings say so; as early, for the same reason. A writer that was
    started again, perhaps at night, does not stay away where it ``must`` not be measured: a record
    without figures is more than figures without a record."""
    if settings.metrics is None:
        return None
    from hansard_writer.metrics.exporter import open_metrics

    try:
        return open_metrics(directory, settings.metrics)
    except ConfigError as error:
        if must:
            raise
        _LOG.error("%s; serving on without, until the next start", error)
        return None


class _Telling(MigrationObserver):
    """Tells of a migration where the writer tells of all else."""

    def backed_up(self, backup: Path) -> None:
        _LOG.warning("the log as it was is in %s: remove that once all is well", backup)

    def migrated(self, step: Step) -> None:
        _LOG.info("schema %d: %s", step.version, step.summary)


@contextlib.contextmanager
def _leaving_no_wal(store: Store) -> Iterator[None]:
    """Where log.db was replaced, its WAL would be taken for that of what is there now."""
    try:
        yield
    except DirectoryReplaced:
        if not store.handle.checkpoint_truncate():
            _LOG.error(
                "%s is of the database that was here: move it and the -shm away", store.handle.wal
            )
        raise


def _with_room(directory: Path, settings: Settings, make: Callable[[], Made]) -> Made:
    """What is made; on a full disk with the room of the reserve. Raises `LogUnusable`."""
    try:
        try:
            return make()
        except (StoreFull, OSError) as error:
            is_full = isinstance(error, StoreFull) or error.errno in NO_ROOM
            reserve = Reserve(directory / layout.RESERVE, settings.reserve_bytes)
            if not (is_full and reserve.release()):
                raise
            _LOG.warning("the disk is full: %s is released", layout.RESERVE)
            return make()
    except StoreFull as error:
        raise LogUnusable(
            f"{error}: make room on the disk of {directory}, and start again"
        ) from error
    except OSError as error:
        raise LogUnusable(
            f"cannot write {error.filename} ({error.strerror}): mend that, and start again"
        ) from error


def prepare_directory(directory: Path, group: str | None) -> int | None:
    """Make the directory and its spool with the right owners and modes; the group's id, if any.

    Raises `ConfigError` for a place that cannot hold a log.
    """
    gid = None
    if group is not None:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            raise ConfigError(f"there is no group {group!r}: make it with groupadd") from None
    spool = directory / layout.SPOOL
    try:
        directory.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
        layout.require_local(directory)
        if directory.stat().st_uid != os.geteuid():
            raise ConfigError(layout.foreign_directory(directory))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ConfigError(f"{directory} cannot be written to: chmod u+rwx it, or name another")
        spool.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE, exist_ok=True)
        _set_modes(directory, gid)
    except FileExistsError:
        raise ConfigError(f"{directory} is not a directory: name another") from None
    except OSError as error:
        raise ConfigError(f"cannot use {directory}: {error.strerror}") from error
    return gid


def _owner_token(directory: Path, *, is_shared: bool) -> bytes | None:
    """What tells the owner of a shared directory from its group's members; new at each start."""
    path = directory / layout.OWNERS
    if not is_shared:
        path.unlink(missing_ok=True)
        return None
    token = secrets.token_bytes(32)
    replace_file(path, token, layout.PRIVATE_FILE_MODE)
    return token


def _set_modes(directory: Path, gid: int | None) -> None:
    """Let the group in, or nobody; also where the log was made the other way."""
    spool = directory / layout.SPOOL
    if gid is not None:
        modes = {directory: layout.SHARED_DIRECTORY_MODE, spool: layout.SHARED_SPOOL_MODE}
    elif directory.stat().st_mode & stat.S_ISGID:
        modes = dict.fromkeys((directory, spool), layout.PRIVATE_DIRECTORY_MODE)
    else:
        return
    file_mode = layout.PRIVATE_FILE_MODE if gid is None else layout.GROUP_DATABASE_MODE
    names = [layout.DATABASE + end for end in ("", "-wal", "-shm")]
    files = [directory / name for name in (*names, layout.CHECKPOINT, layout.PUBLIC_KEY)]
    modes |= {path: file_mode for path in files if path.exists()}
    for path, mode in modes.items():
        os.chown(path, -1, os.getegid() if gid is None else gid)
        path.chmod(mode)


class _StopFlag:
    """Set by SIGTERM, SIGINT and SIGHUP (unless it is ignored: nohup), which do nothing else."""

    def __init__(self) -> None:
        self.reason = ""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._set)

    def _set(self, number: int, _frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name


def _loop(
    writer: Writer,
    endpoints: Endpoints,
    stop: _StopFlag,
    notifier: Notifier,
    status: Callable[[], str],
) -> None:
    """Step and wait."""
    with Collector(time.monotonic()) as collector:
        while not stop.reason:
            now = time.monotonic()
            collector.run(now)
            endpoints.attend(now)
            timeout = min(writer.step(now), notifier.beat(now, status))
            if timeout > 0:
                endpoints.wait(timeout, frames_too=writer.takes_messages)


def _entries(store: Store) -> str:
    return counted(store.size, "entry", "entries")


def _status(store: Store, writer: Writer, restarts: int | None) -> str:
    """For `systemctl status`."""
    intake = "" if writer.takes_messages else "; intake waits, `hansard stats` says why"
    again = f", {counted(restarts, 'restart')}" if restarts else ""
    return f"serving: {_entries(store)}, epoch {store.epoch}{again}{intake}"


def _ready_line(
    directory: Path, settings: Settings, store: Store, metrics: "MetricsServer | None"
) -> str:
    more = f" tcp={settings.tcp}" if settings.tcp else ""
    more += f" metrics={metrics.address.url}" if metrics else ""
    return (
        f"hansard ready dir={directory} push={directory / layout.PUSH_SOCKET} "
        f"ack={directory / layout.ACK_SOCKET}{more} pid={os.getpid()} epoch={store.epoch}"
    )
