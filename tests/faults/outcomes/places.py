"""Faults of places: directories moved, removed, read-only, full; spools removed."""

import os
import shutil
import subprocess
from typing import Final

from faults.outcomes.scene import PATIENCE_S, Client, Scene, Unmakeable
from support import wait_until

REPLACED: Final = 1  # the exit status of a writer without its place
DISK_BYTES: Final = 5 << 20
CLIENTS: Final = 4  # of which two spools fit on that disk

RECORDS_ON_REQUEST: Final = """
import sys
from hansard import AuditLog

log, number = AuditLog(sys.argv[1], spool_bytes=2 << 20), 0
for line in sys.stdin:
    for _ in range(int(line)):
        number += 1
        entry = log.record("step.done", {"w": "w", "n": number})
        print("w", number, entry.key[0].hex(), entry.key[1])
    print(flush=True)
"""


def moved_and_back(scene: Scene) -> dict[str, int]:
    """The directory is away for a while: its writer ends, its clients go on."""
    scene.start_writer()
    client = scene.client()
    client.record(scene.random.randrange(1, 50), sync=scene.random.random() < 0.5)
    scene.directory.rename(scene.place / "away")
    client.record(scene.random.randrange(1, 50))
    assert scene.writers_end() == REPLACED
    client.record(scene.random.randrange(1, 50))
    (scene.place / "away").rename(scene.directory)
    scene.start_writer()
    client.record(sync=True, timeout=PATIENCE_S)
    scene.settle()
    return {"events": scene.account().entered}


def removed(scene: Scene) -> dict[str, int]:
    """The directory is removed under writer and client, and a new log is begun there."""
    scene.start_writer()
    client = scene.client()
    for _ in range(scene.random.randrange(1, 20)):
        client.record(sync=True, timeout=PATIENCE_S)
    _remove(scene)
    client.record(before := scene.random.randrange(1, 50))
    assert scene.writers_end() == REPLACED
    scene.noted.clear()
    _remove(scene)
    scene.start_writer()
    wait_until(lambda: _parted(client) == before, "the client has met the new log")
    client.record(behind := scene.random.randrange(1, 50))
    client.drain()
    assert scene.account().entered == behind
    assert scene.lost() == client.dropped("other_log")
    left = len(list(scene.spools.glob("*.spool"))) - 1  # the client's own
    assert left == (client.dropped("set_aside") > 0), "what was set aside is there, for who asks"
    return {"parted": before, "events": behind}


def _parted(client: Client) -> int:
    return client.dropped("set_aside") + client.dropped("other_log")


def _remove(scene: Scene) -> None:
    while scene.directory.exists():  # others may put something in meanwhile
        shutil.rmtree(scene.directory, ignore_errors=True)


def spool_removed(scene: Scene) -> dict[str, int]:
    """A worker's spool file is removed while the writer stands still, then the worker is killed."""
    scene.start_writer()
    worker = scene.run("-c", RECORDS_ON_REQUEST, str(scene.directory))
    assert worker.stdin
    assert worker.stdout
    recorded = 0
    try:
        with scene.frozen(scene.writer):
            for _ in range(2):
                worker.stdin.write(f"{scene.random.randrange(1, 50)}\n")
                worker.stdin.flush()
                recorded += scene.hears("".join(iter(worker.stdout.readline, "\n")))
                for spool in scene.spools.glob("*.spool"):
                    if recorded == len(scene.noted) and not scene.said:
                        spool.unlink()
                        scene.said.append("removed")
            wait_until(lambda: list(scene.spools.glob("*.spool")), "the worker has a spool again")
            worker.kill()
    finally:
        worker.kill()
        worker.communicate()
    scene.settle()
    return {"events": scene.account().entered}


def read_only(scene: Scene) -> dict[str, int]:
    """Nothing can be made or removed in the directory and its spool, for a while."""
    scene.start_writer()
    with scene.frozen(scene.writer):
        dead = scene.run("-c", RECORDS_ON_REQUEST, str(scene.directory))
        output, _ = dead.communicate("10\n", timeout=PATIENCE_S)
        scene.hears(output)
        first = scene.client("first")
        first.record(20)
        _set_immutable(scene, "+i")
    try:
        second = scene.client("second")
        for client in (first, second):
            client.record(20)
            assert client.record(sync=True, timeout=PATIENCE_S).status == "committed"
        assert not second.log.statistics()["spooled"]
        assert any("no spool in" in said for said in scene.said)
        first.drain()
        second.drain()
    finally:
        _set_immutable(scene, "-i")
    scene.stop_writer()
    scene.start_writer()
    scene.settle()
    return {"events": scene.account().entered}


def _set_immutable(scene: Scene, flag: str) -> None:
    if not _does("chattr", flag, scene.directory, scene.spools):
        raise Unmakeable("this needs root, and chattr on a file system that knows it")


def _does(*command: object) -> bool:
    """Whether a command is there, and does what it is told."""
    program, *arguments = map(str, command)
    if (path := shutil.which(program)) is None:
        return False
    return subprocess.run([path, *arguments], capture_output=True, check=False).returncode == 0


def spool_disk_full(scene: Scene) -> dict[str, int]:
    """The disk of the spools has room for two of four, and is filled to the last byte."""
    scene.spools.mkdir(parents=True)
    if not _does("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", scene.spools):
        raise Unmakeable("this needs root")
    try:
        clients = [scene.client(f"w{number}") for number in range(CLIENTS)]
        for client in clients:
            client.record()
        _fill(scene)
        for client in clients:
            client.record(scene.random.randrange(1_000))
        spooled = sum(client.log.statistics()["spooled"] for client in clients)
        assert spooled == DISK_BYTES // (2 << 20), "whoever has a spool keeps it"
        assert any("no spool in" in said for said in scene.said)
        scene.start_writer()
        for client in clients:
            client.drain()
            client.log.close()
        found = scene.account()
    finally:
        subprocess.run(["umount", "--lazy", str(scene.spools)], check=True)
    return {"memory": CLIENTS - spooled, "events": found.entered}


def _fill(scene: Scene) -> None:
    descriptor = os.open(scene.spools / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4_096)):
            pass
    except OSError:
        assert os.statvfs(scene.spools).f_bavail == 0
    finally:
        os.close(descriptor)
