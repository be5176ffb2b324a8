"""Faults of processes: two writers, stale locks, suspension, forks beside threads."""

import json
import os
import socket
import time
from typing import Final

from faults.outcomes.scene import PATIENCE_S, Scene
from support import wait_until

WRITERS: Final = 4
TAKEN: Final = 4  # the exit status
TIMEOUT_S: Final = 0.3
SUSPENDED_S: Final = 3 * TIMEOUT_S

FORKS: Final = """
import os, signal, sys, threading
from hansard import AuditLog

directory, name, children = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = AuditLog(directory, spool_bytes=2 << 20)
stop = threading.Event()

def record(who, number):
    entry = log.record("step.done", {"w": who, "n": number})
    if entry.key:
        os.write(1, f"{who} {number} {entry.key[0].hex()} {entry.key[1]}\\n".encode())

def record_on(who):
    number = 0
    while not stop.wait(0.001):
        number += 1
        record(who, number)

threads = [threading.Thread(target=record_on, args=(f"{name}.t{n}",)) for n in range(2)]
for thread in threads:
    thread.start()
for child in range(children):
    pid = os.fork()
    if pid == 0:
        for number in (1, 2, 3):
            record(f"{name}.c{child}", number)
        if child % 3 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if child % 3 == 1:
            log.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] in (0, 9)
stop.set()
for thread in threads:
    thread.join()
"""
CHILDREN: Final = 12


def two_writers(scene: Scene) -> dict[str, int]:
    """Several start at the same moment, in a directory that has none, or one."""
    if scene.random.random() < 0.5:
        scene.start_writer()
    served = 1 if scene._writer else 0
    processes = [scene.serve() for _ in range(WRITERS)]
    try:
        wait_until(
            lambda: sum(each.poll() is not None for each in processes) == WRITERS - 1 + served,
            "all but one are refused",
        )
        client = scene.client()
        client.record(20)
        assert client.record(sync=True, timeout=PATIENCE_S).status == "committed"
        winners = [each for each in processes if each.poll() is None]
        pid = winners[0].pid if winners else scene.writer
        for process in set(processes) - set(winners):
            assert process.returncode == TAKEN
            assert f"pid {pid}" in process.communicate()[1], "who serves is named"
    finally:
        for process in processes:
            process.terminate()
            process.communicate()
    if scene._writer is None:
        scene.start_writer()
    scene.settle()
    return {"refused": WRITERS - 1 + served, "events": scene.account().entered}


def stale_files(scene: Scene) -> dict[str, int]:
    """A writer was killed: its lock file says a pid that is somebody else's now, its sockets are
    there and nobody listens; or they are no sockets at all."""
    scene.start_writer()
    client = scene.client()
    client.record(10)
    scene.kill_writer()
    (scene.directory / "writer.lock").write_text(json.dumps({"pid": os.getpid(), "epoch": 1}))
    if scene.random.random() < 0.5:
        for name in ("push.sock", "ack.sock"):
            (scene.directory / name).unlink()
            (scene.directory / name).write_text("no socket")
    else:
        with socket.socket(socket.AF_UNIX) as probe:
            assert probe.connect_ex(str(scene.directory / "push.sock")) != 0
    client.record(10)
    scene.start_writer()
    assert client.record(sync=True, timeout=PATIENCE_S).status == "committed"
    scene.settle()
    return {"events": scene.account().entered}


def suspension(scene: Scene) -> dict[str, int]:
    """Everybody stands still for longer than all time-outs, then goes on."""
    scene.start_writer()
    client = scene.client(ack_timeout=TIMEOUT_S)
    worker = scene.run("-c", FORKS, str(scene.directory), "other", "6")
    client.record(scene.random.randrange(200))
    with scene.frozen(scene.writer, worker.pid):
        before = time.monotonic()
        entry = client.record(sync=True)
        assert entry.status == "unknown"
        assert time.monotonic() - before < SUSPENDED_S + PATIENCE_S
        time.sleep(SUSPENDED_S - TIMEOUT_S)
    output, complaint = worker.communicate(timeout=PATIENCE_S)
    assert worker.returncode == 0, complaint
    scene.hears(output)
    scene.settle()
    assert entry.key is not None
    assert client.log.lookup(entry.key, PATIENCE_S).status == "committed"
    return {"events": scene.account().entered}


def forks_beside_threads(scene: Scene) -> dict[str, int]:
    """Children are forked while two threads record, and record at once; a third is killed."""
    scene.start_writer()
    worker = scene.run("-c", FORKS, str(scene.directory), "parent", str(CHILDREN))
    output, complaint = worker.communicate(timeout=PATIENCE_S)
    assert worker.returncode == 0, complaint
    scene.hears(output)
    scene.settle()
    return {"forks": CHILDREN, "events": scene.account().entered}
