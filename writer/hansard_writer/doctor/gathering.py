"""The look at a log: every fact that the checks want, from its directory, its writer, this system.

It changes no byte of the log and waits for nobody longer than it is told. What cannot be seen is
left out, and what stands in the way is a fact too.
"""

import contextlib
import ctypes
import os
import platform
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import apsw
import msgpack
import orjson
import zmq

import hansard
from hansard import directory as layout
from hansard import requester, wire
from hansard.errors import AuditLogError, ConfigError
from hansard.local_writer import LocalWriter
from hansard.settings import Settings, load_settings, log_directory
from hansard_writer.derived.definitions import read_declared
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import (
    Facts,
    FileFacts,
    PlaceFacts,
    ShippingFacts,
    Verified,
    WriterFacts,
)
from hansard_writer.doctor.reading import look_at_database
from hansard_writer.doctor.waiting import look_at_spools
from hansard_writer.hanging import look_at
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.signed_note import NOTE_BYTES_MAX, MalformedNote
from hansard_writer.shipping.standing import standings

FILES_MAX: Final = 10_000  # that are looked at, in the directory and in its spool
VERIFIED_BYTES_MAX: Final = 1 << 20
UNSYNCHRONISED: Final = 5  # TIME_ERROR: man 2 adjtimex
TIMEX_BYTES: Final = 1_024  # more than any kernel's struct timex has

_KINDS: Final = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISLNK, "link"),
)


def gather(directory: Path, timeout: float, *, is_deep: bool = False) -> Facts:
    """All facts about the log in ``directory``. Its writer is given ``timeout`` seconds to answer;
    ``is_deep`` has SQLite check all of the database, in one read transaction. Never raises for the
    log's sake."""
    seen: dict[str, Any] = {
        "directory": directory,
        "is_found_by_default": directory == log_directory(),
        "now": time.time_ns(),
        "uid": os.geteuid(),
        "clock_is_synchronised": _clock_is_synchronised(),
        "versions": _versions(),
    }
    seen["top"] = top = _file(directory, str(directory), follow_links=True)
    if top is None or top.kind != "directory":
        return Facts(**seen)
    seen["place"] = _place(directory)
    if not os.access(directory, os.R_OK | os.X_OK):
        return Facts(**seen, closed=layout.foreign_directory(directory))
    checkpoint, is_odd = _checkpoint(directory / layout.CHECKPOINT)
    verified = read_verdict(directory / layout.VERIFIED)
    return Facts(
        **seen,
        **_settings(directory),
        files=tuple(_files(directory)),
        writer=_writer(directory, timeout),
        spools=look_at_spools(directory / layout.SPOOL),
        spools_are_seen=os.access(directory / layout.SPOOL, os.R_OK | os.X_OK),
        checkpoint=checkpoint,
        checkpoint_is_odd=is_odd,
        verified=verified,
        shipping=tuple(_shipping(directory)),
        database=look_at_database(directory, verified.size if verified else 0, is_deep=is_deep),
    )


# --- files ---


def _files(directory: Path) -> Iterator[FileFacts]:
    """Those of the directory and of its spool, and the plan of a restore."""
    for inside, prefix in ((directory, ""), (directory / layout.SPOOL, f"{layout.SPOOL}/")):
        try:
            names = sorted(os.listdir(inside))[:FILES_MAX]  # noqa: PTH208 - names are wanted
        except OSError:
            continue
        for name in names:
            if found := _file(inside / name, prefix + name):
                yield found
    if plan := _file(directory / layout.RESTORE_PLAN, layout.RESTORE_PLAN):
        yield plan


def _file(path: Path, name: str, *, follow_links: bool = False) -> FileFacts | None:
    try:
        facts = path.stat(follow_symlinks=follow_links)
    except OSError:
        return None
    kind = next((kind for is_one, kind in _KINDS if is_one(facts.st_mode)), "other")
    mode = stat.S_IMODE(facts.st_mode)
    return FileFacts(name, kind, mode, facts.st_uid, facts.st_size, facts.st_mtime_ns)


def _place(directory: Path) -> PlaceFacts | None:
    try:
        facts = os.statvfs(directory)
    except OSError:
        return None
    return PlaceFacts(
        network=layout.network_file_system(directory),
        read_only=bool(facts.f_flag & os.ST_RDONLY),
        free_bytes=facts.f_bavail * facts.f_frsize,
        inodes_free=facts.f_favail if facts.f_files else None,
    )


def _checkpoint(path: Path) -> tuple[int | None, bool]:
    """The size that it is of, and whether it is no checkpoint at all."""
    try:
        with path.open("rb") as file:
            return read_checkpoint(file.read(NOTE_BYTES_MAX)).size, False
    except MalformedNote:
        return None, True
    except OSError:
        return None, False


def read_verdict(path: Path) -> Verified | None:
    """What `verify` left there; None for what is not there, or is something else."""
    try:
        with path.open("rb") as file:
            report = orjson.loads(file.read(VERIFIED_BYTES_MAX))
        return Verified(str(report["verdict"]), int(report["size"]), int(report["verified_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _shipping(directory: Path) -> Iterator[ShippingFacts]:
    for each in standings(directory):
        with contextlib.suppress(KeyError, TypeError, ValueError):  # another release's, or edited
            yield ShippingFacts(
                str(each["target"]),
                str(each["state"]),
                str(each["why"]),
                int(each["shipped_to"]),
                int(each["covered"]),
                int(each["at"] * amounts.SECOND),
            )


# --- settings ---


def _settings(directory: Path) -> Mapping[str, Any]:
    try:
        settings = load_settings(directory)
        read_declared(directory)
    except ConfigError as error:
        return {"settings_error": str(error)}
    defaults = Settings()
    names = [each.name for each in fields(Settings)]
    given = [name for name in names if getattr(settings, name) != getattr(defaults, name)]
    return {"settings": settings, "settings_given": tuple(given)}


# --- the writer ---


def _writer(directory: Path, timeout: float) -> WriterFacts:
    lock_file = directory / layout.LOCK
    if not lock_file.exists():
        return WriterFacts()
    is_held = layout.a_writer_lives(directory) if os.access(lock_file, os.R_OK) else None
    found = WriterFacts(is_held, layout.read_lock_file(directory))
    if is_held is False:
        return found
    begun = time.monotonic()
    try:
        _, figures = requester.ask(LocalWriter(directory), wire.pack_stats_request(), timeout)
    except (AuditLogError, wire.WireError) as error:
        found = found._replace(silence=str(error))
    else:
        known = figures if isinstance(figures, dict) else None
        found = found._replace(figures=known, silence="" if known else "it answers no figures")
    pid = found.pid
    if pid is None:
        return found._replace(answer_s=time.monotonic() - begun)
    look = look_at(pid)
    return found._replace(
        answer_s=time.monotonic() - begun,
        state=look.state if look else None,
        has_second_sqlite=_has_second_sqlite(pid),
    )


def _has_second_sqlite(pid: int) -> bool | None:
    """Whether a process has loaded the system's SQLite, where ours is built into apsw."""
    if not apsw.using_amalgamation:
        return None
    try:
        return "libsqlite3" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return None


# --- this system ---


def _clock_is_synchronised() -> bool | None:
    """What the kernel says of its clock, by adjtimex, which changes nothing when it is asked to set
    nothing; None where it cannot be asked."""
    try:
        answer: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != UNSYNCHRONISED


def _versions() -> Mapping[str, str]:
    return {
        "hansard": hansard.__version__,
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "apsw": apsw.apsw_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "msgpack": ".".join(map(str, msgpack.version)),
        "orjson": orjson.__version__,
    }
