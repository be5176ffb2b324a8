"""Make a log of the schema that the current checkout writes, and keep it beside this program.

It runs under the code of any release, so that each log is made by the code of its time:

    git archive COMMIT | tar x -C /tmp/then
    PYTHONPATH=/tmp/then/client:/tmp/then/writer python tests/data/schemas/make.py

The log has a few dozen entries of all kinds that its release knew: what it does not know is left
out. ``vN.tar.xz`` gets the log's files and ``held.json``, what its tables held.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from inspect import signature
from pathlib import Path
from typing import Any, Final

import apsw
import msgpack
import zmq

import hansard
import hansard_writer
from hansard_writer import schema

HERE: Final = Path(__file__).resolve().parent
FILES: Final = ("log.db", "checkpoint", "writer.key", "writer.pub")
LONG_AGO_NS: Final = 1_577_836_800 * 10**9  # 2020
KEPT: Final = "30"  # entries, when the oldest are pruned
TIMEOUT_S: Final = 10.0

try:

    @hansard_writer.operation
    def count_entries(connection: Any, params: Any) -> int:
        """A named operation, whose outcome is kept."""
        return int(connection.execute("SELECT count(*) FROM events").fetchall()[0][0])

except AttributeError:  # before there were such
    pass


def main() -> None:
    """Make it in a temporary directory, and pack it."""
    with tempfile.TemporaryDirectory(prefix="hansard-schema-") as name:
        directory = Path(name, "log")
        record_unserved(directory)
        record_served(directory)
        if "tcp" in hansard.Settings.__dataclass_fields__:
            record_from_afar(directory)
        go_back_in_time(directory, Path(name, "older.db"))
        take_out(directory)
        target = HERE / f"v{schema.VERSION}.tar.xz"
        pack(directory, target)
    print(f"{target}: {target.stat().st_size:,} bytes")


def serving(directory: Path, **options: Any) -> Any:
    """A writer, with those of the options that it knows."""
    known = {*signature(hansard_writer.running).parameters, *hansard.Settings.__dataclass_fields__}
    given = {name: value for name, value in options.items() if name in known}
    return hansard_writer.running(directory, **given)


def record_unserved(directory: Path) -> None:
    """More than the queue takes, with nobody there: what is lost is told later."""
    log = hansard.AuditLog(directory, queue_maxsize=5, on_full="drop", best_effort=True)
    for number in range(8):
        log.record("batch.item", {"n": number}, created_at=LONG_AGO_NS + number)
    log.close(timeout=0)


def record_served(directory: Path) -> None:
    """Events of every shape, tasks and operations, and what is refused."""
    with serving(directory, operations=["make"]), hansard.AuditLog(directory, actor="maker") as log:
        assert log.drain(TIMEOUT_S)
        for number in range(10):
            payload = {"title": "größer ✓", "n": number, "at": {"nested": [1, 2.5, None, True]}}
            log.record("task.created", payload, task_id=f"T{number % 3}")
        log.record("no.payload", None, level="debug")
        log.record("huge.number", {"n": 2**80, "half": "\ud800"}, level="error", sync=True)
        log.record_many([{"event_type": "together", "payload": {"n": n}} for n in range(3)])
        log.record("SUPERVISOR.decided", {"source_ts": "2026-01-02T03:04:05Z", "processed_at": 1.5})
        refuse(log)
        if hasattr(log, "operation"):
            work(log)
        if hasattr(log, "call"):
            assert log.call("count_entries", None, timeout=TIMEOUT_S) > 0
        assert log.drain(TIMEOUT_S)
    if hasattr(hansard.AuditLog, "register_task"):
        keep_orphans(directory)


def record_from_afar(directory: Path) -> None:
    """A client of another host, with a key of its own, by hand: hello, a frame, and a wait."""
    from hansard.curve import new_keys

    ours, theirs = new_keys(), new_keys()
    (directory / "curve.key").write_text(ours.secret)
    (directory / "curve.key").chmod(0o600)
    command(directory, "keys", "allow", theirs.public, "--name", "afar")
    wire, producer_id = hansard.wire, b"from afar".ljust(16)
    body = msgpack.packb([0, time.time_ns(), "from.afar", "info", None, None, '{"n":1}'])
    with serving(directory, tcp="tcp://127.0.0.1:17461"), zmq.Context() as context:
        with context.socket(zmq.REQ) as asking, context.socket(zmq.PUSH) as push:
            for socket, port in ((asking, 17461), (push, 17462)):
                socket.curve_publickey, socket.curve_secretkey = map(str.encode, theirs)
                socket.curve_serverkey = ours.public.encode()
                socket.connect(f"tcp://127.0.0.1:{port}")
            for request in (
                wire.Hello(producer_id, 1, 0, "afar", 7, time.time_ns(), None),
                wire.Wait(producer_id, 0, 1, 0, 0, True, wire.Report()),
            ):
                asking.send(wire.pack_request(request))
                answer = wire.unpack_reply(asking.recv())
                frame = wire.Frame(producer_id, 1, 1, 0, wire.Drops(), body)
                push.send_multipart([wire.pack_header(frame), body])
        assert answer[1][0] == "committed", answer


def refuse(log: hansard.AuditLog) -> None:
    """An event that no client lets through, and bytes that are no frame."""
    bad = [0, time.time_ns(), "a.b", "no such level", None, None, '{"n":1}']
    log._producer.append(msgpack.packb(bad))
    assert log.flush(TIMEOUT_S)
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(f"ipc://{log.directory / 'push.sock'}")
        push.send_multipart([b"no header", b"no body"])
        push.close(linger=1_000)


def work(log: hansard.AuditLog) -> None:
    """Operations on environments, good and failed; and a refusal."""
    with log.operation("add_deps", workflow_id="wf", node_id="n", metadata={"packages": ["numpy"]}):
        pass
    failed = log.start_operation("run", workflow_id="wf", node_id="n", version_id="7")
    failed.failed("the package was not found")
    refusal = {"decision": "refuse", "rule_id": "r1", "reason": "not allowed"}
    assert log.refusal("agent:7", {"kind": "write_file", "path": "/etc"}, refusal)


def keep_orphans(directory: Path) -> None:
    """Events of a task that is never registered, and of one that is."""
    with serving(directory, enforce_tasks=True), hansard.AuditLog(directory) as log:
        log.record("task.done", {"n": 1}, task_id="late")
        assert log.flush(TIMEOUT_S)
        log.register_task("late", title="comes behind its event")
        log.record("task.done", {"n": 2}, task_id="never")
        assert log.drain(TIMEOUT_S)


def go_back_in_time(directory: Path, older: Path) -> None:
    """An older copy is put back under a producer that has freed what it recorded since."""
    with serving(directory), hansard.AuditLog(directory) as log:
        log.record("before.copy", {"n": 1}, sync=True)
    shutil.copy(directory / "log.db", older)
    with hansard.AuditLog(directory) as log:
        with serving(directory):
            for number in range(3):
                log.record("is.lost", {"n": number}, sync=True)
        shutil.copy(older, directory / "log.db")
        with serving(directory, accept_rollback=True):
            log.record("after.copy", {"n": 1})
            assert log.drain(TIMEOUT_S)
            assert log.record("after.copy", {"n": 2}, sync=True).id > 0


def take_out(directory: Path) -> None:
    """What redaction, retention and another key leave behind."""
    with serving(directory), hansard.AuditLog(directory, actor="maker") as log:
        if hasattr(log, "redact"):
            assert log.redact(task_id="T1", reason="it was asked for").done
            command(directory, "prune", "--before", "0s", "--keep-last", KEPT, "--by", "maker")
            command(directory, "keys", "rotate")
            command(directory, "checkpoint")
        log.record("last.of.all", {"n": 1}, sync=True)


def command(directory: Path, *arguments: str) -> None:
    """The command of this release."""
    program = [sys.executable, "-m", "hansard_writer", *arguments, "--dir", str(directory)]
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL)


def pack(directory: Path, target: Path) -> None:
    """The log's files and what is in them."""
    assert not (directory / "log.db-wal").exists(), "the writer has left a WAL"
    held = json.dumps(contents(directory / "log.db"), ensure_ascii=False).encode()
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for name in FILES:
            if (directory / name).exists():
                add(archive, name, (directory / name).read_bytes())
        add(archive, "held.json", held)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """One file, of nobody and of no time."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def contents(database: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of the tables, blobs in hex."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    found: dict[str, list[dict[str, Any]]] = {}
    for table in ("entries", "producers", "runs", "tasks", "dead_letters", "checkpoints", "calls"):
        rows = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        found[table] = [
            {
                name: value.hex() if isinstance(value, bytes) else value
                for (name, *_), value in zip(rows.get_description(), row, strict=True)
            }
            for row in rows
        ]
    connection.close()
    return found


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(HERE)])
    main()
