"""The facts of a healthy log, to make sick ones of by changing what a test is about."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hansard.reader_connection import SCHEMA_VERSION
from hansard_writer.doctor.facts import (
    DatabaseFacts,
    Facts,
    FileFacts,
    LogFacts,
    PlaceFacts,
    SpoolFacts,
    Verified,
    WriterFacts,
)

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
DAY = 86_400 * SECOND
LOG_ID = "ab" * 16

FILES = {
    "log.db": 0o600,
    "log.db-wal": 0o600,
    "log.db-shm": 0o600,
    "writer.lock": 0o600,
    "writer.key": 0o600,
    "writer.pub": 0o600,
    "checkpoint": 0o600,
    "verified": 0o600,
    "reserve": 0o600,
}
FIGURES = {
    "pid": 42,
    "epoch": 3,
    "supervised_restarts": 0,
    "suspended": False,
    "held_up_by": "",
    "store_errors": {},
    "wal_bytes_held": 0,
    "wal_held_by": "",
    "reader_age": 0.0,
    "checkpoint_held_up_by": "",
    "to_be_pruned": 0,
}
LOG = LogFacts(
    log_id=LOG_ID,
    epoch=3,
    first=1,
    first_at=NOW - 5 * DAY,
    last=5_000,
    last_at=NOW - SECOND,
    recent=1_000,
    recent_since=NOW - 60 * SECOND,
    latest_at=NOW - SECOND,
    signed=5_000,
    signed_at=NOW - SECOND,
    producers=4,
)
SPOOL = SpoolFacts(
    "0123456789abcdef.spool",
    64 << 20,
    is_locked=True,
    host="here",
    pid=77,
    pid_seen=True,
    log_id=LOG_ID,
)


def file(name: str, mode: int = 0o600, **changed: Any) -> FileFacts:
    kind = "directory" if name == "spool" else "socket" if name.endswith(".sock") else "file"
    return FileFacts(name, kind, mode, 1_000, 100, NOW - DAY)._replace(**changed)


def facts(**changed: Any) -> Facts:
    """Of a log that is served and does well."""
    healthy = Facts(
        directory=Path("/var/lib/my app/audit"),
        is_found_by_default=False,
        now=NOW,
        uid=1_000,
        top=file("audit", 0o700, kind="directory"),
        files=(*(file(name, mode) for name, mode in FILES.items()), file("spool", 0o700)),
        place=PlaceFacts(None, False, 50 << 30, 1_000_000),
        writer=WriterFacts(
            True, {"pid": 42, "started_at": NOW - 3_600 * SECOND}, "S", FIGURES, 0.002, "", False
        ),
        database=DatabaseFacts(version=SCHEMA_VERSION, page_bytes=4_096, pages=500, log=LOG),
        spools=(SPOOL,),
        checkpoint=5_000,
        verified=Verified("intact", 5_000, NOW - DAY),
        clock_is_synchronised=True,
        versions=dict.fromkeys(
            ("hansard", "python", "sqlite", "apsw", "libzmq", "pyzmq", "msgpack"), "3.54.1"
        ),
    )
    return replace(healthy, **changed)


def with_files(*others: FileFacts, **changed: Any) -> Facts:
    """With these files, in place of those of the same name."""
    kept = [each for each in facts().files if each.name not in {other.name for other in others}]
    return facts(files=(*kept, *others), **changed)


def without_files(*names: str, **changed: Any) -> Facts:
    kept = [each for each in facts().files if each.name not in names]
    return facts(files=tuple(kept), **changed)


def with_log(**changed: Any) -> Facts:
    """With other contents."""
    database = facts().database
    assert database
    return facts(database=replace(database, log=replace(LOG, **changed)))


def with_database(**changed: Any) -> Facts:
    database = facts().database
    assert database
    return facts(database=replace(database, **changed))


def with_figures(**changed: Any) -> Facts:
    """With other figures of the writer's."""
    return facts(writer=facts().writer._replace(figures=FIGURES | changed))


def with_writer(**changed: Any) -> Facts:
    """With a writer that answers nothing."""
    return facts(writer=facts().writer._replace(**{"figures": None, **changed}))


def with_spool(**changed: Any) -> Facts:
    return facts(spools=(SPOOL._replace(**changed),))
