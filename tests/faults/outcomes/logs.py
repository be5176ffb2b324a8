"""Faults of the database: an older one in its place, and readers that sleep in a transaction."""

import shutil
import time
from collections.abc import Mapping
from typing import Any, Final

import apsw

from faults.checker import Noted
from faults.outcomes.scene import PATIENCE_S, Client, Scene
from hansard import requester, wire
from support import query, wait_until

REPLACED: Final = 1  # the exit status of a writer without its place
REFUSED: Final = 1
BEHIND_BACKUP: Final = 300  # events: more pages than the backup has
GROWN_BYTES: Final = 1 << 20
IDLE_S: Final = 1.5  # the writer has tried to empty the WAL, in vain


def replaced_while_stopped(scene: Scene) -> dict[str, int]:
    """The writer is stopped, and starts on an older backup; its clients live on."""
    client = _with_backup(scene)
    scene.stop_writer()
    shutil.copy(scene.place / "backup.db", scene.directory / "log.db")
    client.record(scene.random.randrange(1, 50))
    assert "went back in time" in _refusal(scene)
    scene.start_writer(accept_rollback=True)
    return _judged(scene)


def replaced_while_killed(scene: Scene) -> dict[str, int]:
    """The writer was killed, its WAL lies beside the backup: refused, until that is moved away."""
    client = _with_backup(scene)
    wal = scene.directory / "log.db-wal"
    wait_until(lambda: not wal.stat().st_size, "the WAL is emptied into the database")
    client.record(scene.random.randrange(1, 50))
    client.drain()
    scene.kill_writer()
    shutil.copyfile(scene.place / "backup.db", scene.directory / "log.db")
    assert "move log.db-wal and log.db-shm away" in _refusal(scene)
    for name in ("log.db-wal", "log.db-shm"):
        (scene.directory / name).rename(scene.place / name)
    assert (scene.directory / "log.db").read_bytes() == (scene.place / "backup.db").read_bytes()
    client.record(scene.random.randrange(1, 50))
    scene.start_writer(accept_rollback=True)
    return _judged(scene)


def replaced_under_writer(scene: Scene) -> dict[str, int]:
    """The same under a writer that serves: it ends before it says that anything is committed."""
    client = _with_backup(scene)
    backup = scene.directory / "backup"
    shutil.copy(scene.place / "backup.db", backup)
    if scene.random.random() < 0.5:
        (scene.directory / "log.db").rename(scene.place / "old.db")
    backup.rename(scene.directory / "log.db")
    entry = client.record(sync=True)
    assert entry.status == "unknown"
    assert scene.writers_end() == REPLACED
    client.record(scene.random.randrange(1, 50))
    scene.start_writer(accept_rollback=True)
    return _judged(scene)


def _refusal(scene: Scene) -> str:
    """What a writer says that does not serve the log."""
    refused = scene.serve()
    _, complaint = refused.communicate(timeout=PATIENCE_S)
    assert refused.returncode == REFUSED, complaint
    return complaint


def _with_backup(scene: Scene) -> Client:
    """A log that is served, and went on behind its backup."""
    scene.start_writer()
    client = scene.client(ack_timeout=1.0)
    client.record(scene.random.randrange(1, 50))
    client.drain()
    scene.stop_writer()
    shutil.copy(scene.directory / "log.db", scene.place / "backup.db")
    scene.start_writer()
    client.record(BEHIND_BACKUP + scene.random.randrange(50))
    client.drain()
    return client


def _judged(scene: Scene) -> dict[str, int]:
    """What was noted and is not there is what the log says it lost, in one run."""
    scene.settle()
    rows = query(
        scene.directory,
        "SELECT producer_hash, producer_seq FROM entries JOIN producers ON producers.id = producer",
    )
    entered = set(rows)
    gone = [each for each in scene.noted if (each.producer_hash, each.producer_seq) not in entered]
    numbers = [each.producer_seq for each in gone]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len(gone) == scene.lost() > 0
    scene.noted[:] = _without(scene.noted, gone)
    return {"lost": len(gone), "events": scene.account().entered}


def _without(noted: list[Noted], gone: list[Noted]) -> list[Noted]:
    known = set(gone)
    return [each for each in noted if each not in known]


def sleeping_reader(scene: Scene) -> dict[str, int]:
    """A reader sleeps in a transaction while much is recorded: the WAL grows, and shrinks again."""
    scene.start_writer()
    client = scene.client(ack_timeout=PATIENCE_S)
    client.record(sync=True)
    wal = scene.directory / "log.db-wal"
    reader = apsw.Connection(str(scene.directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        reader.execute("BEGIN")
        seen = reader.execute("SELECT count(*) FROM entries").get
        while wal.stat().st_size < GROWN_BYTES:
            client.record(100)
            assert client.record(sync=True).status == "committed", "nobody waits for a reader"
        grown = wal.stat().st_size
        assert _stats(scene)["wal_bytes"] > GROWN_BYTES // 2, "stats says it"
        if scene.random.random() < 0.2:
            time.sleep(IDLE_S)
        assert reader.execute("SELECT count(*) FROM entries").get == seen, "one moment's log"
    finally:
        reader.close()
    client.record()
    wait_until(lambda: wal.stat().st_size < grown // 2, "the WAL shrinks", PATIENCE_S)
    scene.settle()
    return {"mib": grown >> 20, "events": scene.account().entered}


def _stats(scene: Scene) -> Mapping[str, Any]:
    _, figures = requester.ask(scene.directory, wire.pack_stats_request(), PATIENCE_S)
    assert isinstance(figures, dict)
    return figures
