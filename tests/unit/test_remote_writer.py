"""A writer on another host: how it is reached, what is said of it, and who asks it."""

import contextlib
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from click.testing import CliRunner

import hansard
from hansard import requester, wire
from hansard.adopting import Adopter
from hansard.adopting import adopter as adopting
from hansard.complaints import Complaints
from hansard.curve import new_keys
from hansard.errors import ConfigError, WriterUnavailable
from hansard.local_writer import LocalWriter
from hansard.reader import LogReader
from hansard.remote_writer import RemoteWriter
from hansard.served_by import is_log_here, writer_of
from hansard.settings import load_settings
from hansard_writer.cli import main
from other_hosts import LOOPBACK, free_ports, host
from support import wait_until

SERVER_KEY = new_keys().public
NO_DETAIL = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)


@pytest.fixture
def remote(directory: Path) -> Path:
    """A directory whose writer is on another host, and does not answer."""
    host(directory, free_ports(), SERVER_KEY)
    return directory


@pytest.fixture
def silent(directory: Path) -> Iterator["Silent"]:
    """The same, and that writer: it lets everybody in, takes everything, and answers nothing."""
    silent = Silent(directory)
    yield silent
    silent.close()


class Silent:
    def __init__(self, directory: Path) -> None:
        keys, port = new_keys(), free_ports()
        host(directory, port, keys.public)
        self.directory = directory
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets = []
        for kind, each in ((zmq.ROUTER, port), (zmq.PULL, port + 1)):
            socket = self._context.socket(kind)
            socket.curve_server, socket.curve_secretkey = True, keys.secret.encode()
            socket.bind(f"tcp://{LOOPBACK}:{each}")
            self._sockets.append(socket)

    def asked(self) -> tuple[list[bytes], str]:
        """The next question's envelope, and its verb."""
        router = self._sockets[0]
        wait_until(lambda: router.poll(50), "somebody asks")
        *envelope, content = router.recv_multipart()
        return envelope, wire.unpack_request(content)[0]

    def close(self) -> None:
        self._context.destroy(linger=0)


def test_settings_say_whose_writer_it_is(remote: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert isinstance(writer_of(remote), RemoteWriter)
    assert isinstance(writer_of(other), LocalWriter)
    given = load_settings(other, {"connect": "tcp://log:7461", "server_key": SERVER_KEY})
    writer = writer_of(other, given)
    assert writer.where == "at tcp://log:7461"
    assert (is_log_here(remote), is_log_here(other)) == (False, True)


def test_the_environment_names_a_writer_too(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANSARD_CONNECT", "tcp://log:7461")
    monkeypatch.setenv("HANSARD_SERVER_KEY", SERVER_KEY)
    assert isinstance(writer_of(directory), RemoteWriter)


def test_the_secret_key_is_in_nothing_that_is_shown(remote: Path) -> None:
    secret = (remote / "curve.key").read_text().strip()
    route = writer_of(remote).route()
    assert secret not in f"{route!r} {route} {writer_of(remote)!r}"


def test_a_route_has_both_ports_and_the_keys_of_the_moment(remote: Path) -> None:
    writer = RemoteWriter(remote, "tcp://log:7461", SERVER_KEY)
    route = writer.route()
    assert (route.requests, route.frames) == ("tcp://log:7461", "tcp://log:7462")
    assert route.options[int(zmq.CURVE_SERVERKEY)] == SERVER_KEY.encode()
    assert route.options[int(zmq.IPV6)] == 0
    keys = new_keys()
    (remote / "curve.key").write_text(keys.secret)
    assert writer.route().options[int(zmq.CURVE_PUBLICKEY)] == keys.public.encode()
    assert RemoteWriter(remote, "tcp://[::1]:7461", "").route().options[int(zmq.IPV6)] == 1


def test_a_group_may_share_the_key_of_a_directory_whose_workers_are_of_several_users(
    remote: Path,
) -> None:
    (remote / "curve.key").chmod(0o640)
    assert writer_of(remote).route()
    (remote / "curve.key").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read the key"):
        writer_of(remote).route()


@pytest.mark.parametrize(
    ("event", "value", "said"),
    [
        (zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400, "hansard keys allow '.{40}' --name NAME"),
        (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, 0x11000001, "correct connect, or server_key"),
        (NO_DETAIL, errno.EPIPE, "see that server_key is that writer's public key"),
        (NO_DETAIL, errno.ECONNRESET, "see that server_key is that writer's public key"),
        (NO_DETAIL, errno.EAGAIN, "^$"),
        (zmq.EVENT_CONNECTED, 7, "^$"),
    ],
)
def test_what_becomes_of_a_handshake_says_what_is_wrong(
    remote: Path, event: int, value: int, said: str
) -> None:
    refusal = writer_of(remote).route().refusal(int(event), value)
    assert re.search(said, refusal)


def test_nobody_local_is_asked_whether_it_lives(remote: Path) -> None:
    writer = writer_of(remote)
    assert writer.may_live()
    assert not writer.has_ended(writer.run_id())
    assert writer.silent("in time") == ""
    assert writer.owners_token() is None


def test_a_question_to_nobody_names_the_address(remote: Path) -> None:
    port = load_settings(remote).connect
    with pytest.raises(WriterUnavailable, match=f"no writer answered at {port} within 0.1 s") as no:
        requester.ask(remote, wire.pack_stats_request(), 0.1)
    assert not no.value.was_sent
    assert "hansard serve --dir" not in str(no.value)


def test_a_call_that_is_not_answered_is_sent_once(silent: Silent) -> None:
    with hansard.AuditLog(silent.directory) as log:
        with pytest.raises(hansard.AckTimeout, match="outcome is unknown"):
            log.call("some.thing", timeout=0.5)
        assert silent.asked()[1] == "call"
        assert not silent._sockets[0].poll(100)


def test_a_writer_that_is_silent_is_connected_to_anew_with_more_and_more_patience(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RemoteWriter, "silence_s", 0.05)
    monkeypatch.setattr(sys.modules["hansard.sender"], "LOOK_S", 0.01)
    with hansard.AuditLog(silent.directory, close_timeout=0) as log:
        log.record("some.event")
        seen = {tuple(silent.asked()[0][:1]) for _ in range(4)}
        assert len(seen) == 4, "each hello on a connection of its own"
        wait_until(lambda: log._sender._patience == RemoteWriter.patience_max, "it is patient")
        assert log.statistics()["resent"] == 0


def test_a_queue_that_is_full_names_the_address(remote: Path) -> None:
    with hansard.AuditLog(remote, queue_maxsize=1, on_full="raise", close_timeout=0) as log:
        log.record("some.event")
        with pytest.raises(hansard.QueueFull, match="waiting for the writer at tcp://"):
            log.record("some.event")


def test_a_reader_says_where_the_log_is(remote: Path) -> None:
    with pytest.raises(ConfigError, match="on the host of the writer at tcp://"):
        LogReader(remote)


@pytest.mark.parametrize(
    "command",
    [
        ["query"], ["verify"], ["tail"], ["export"], ["prove", "1"], ["doctor"], ["prune"],
        ["backup", "copy"], ["restore", "copy"], ["migrate"], ["backfill", "--field", "x"],
        ["import", __file__], ["dlq", "list"], ["dlq", "show", "1"], ["checkpoint", "--watch", "w"],
        ["keys", "list"],
        ["keys", "rotate"], ["ship", "elsewhere"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_needs_the_log_says_where_it_is(
    remote: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(remote.parent)
    (remote.parent / "copy").touch()
    done = CliRunner().invoke(main, [*command, "--dir", str(remote)])
    assert "on the host of the writer at tcp://" in done.stderr, done.output
    assert done.exit_code == 2


@pytest.mark.parametrize(
    "command",
    [["stats"], ["checkpoint"], ["dlq", "drop", "7"], ["redact", "--seq", "1", "--reason", "r"]],
    ids=" ".join,
)
def test_what_only_asks_asks_the_writer_that_is_named(
    remote: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def ask(to: Any, *_: Any) -> Any:
        asked.append(to)
        raise WriterUnavailable("nobody")

    for name in ("ask", "ask_as_owner"):
        monkeypatch.setattr(requester, name, ask)
    done = CliRunner().invoke(main, [*command, "--dir", str(remote)])
    assert done.exit_code == 3, done.output
    (to,) = asked
    assert isinstance(writer_of(to) if isinstance(to, Path) else to, RemoteWriter)


# --- adoption ---


def spool_of_the_dead(directory: Path, content: bytes = b"no spool") -> Path:
    path = directory / "spool" / f"{'a' * 32}.spool"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_damaged_spool_is_set_aside(remote: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = spool_of_the_dead(remote)
    adopter = Adopter(writer_of(remote), Complaints())
    adopter.start()
    adopter.finish(30)
    adopter.stop()
    assert not path.exists()
    assert path.with_suffix(".damaged").exists()
    assert "is damaged (8 bytes are too few for a spool): set aside" in caplog.text


def test_what_a_dead_one_never_finished_is_swept_away(remote: Path) -> None:
    old, young = (spool_of_the_dead(remote).with_name(name) for name in ("old.tmp", "young.tmp"))
    for path in (old, young):
        path.touch()
    os.utime(old, (1, 1))
    adopter = Adopter(writer_of(remote), Complaints())
    adopter.start()
    adopter.finish(30)
    adopter.stop()
    assert (old.exists(), young.exists()) == (False, True)


def test_a_spool_of_the_living_is_left_alone(remote: Path) -> None:
    log = hansard.AuditLog(remote, close_timeout=0)
    log.record("some.event")
    adopter = Adopter(writer_of(remote), Complaints())
    adopter.start()
    adopter.finish(30)
    adopter.stop()
    assert log.close() == 1
    assert len(list((remote / "spool").iterdir())) == 1


def test_a_spool_that_gets_nowhere_is_put_off(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = hansard.AuditLog(silent.directory, close_timeout=0)
    log.record("some.event")
    assert log.close() == 1
    monkeypatch.setattr(adopting, "STUCK_S", 0.2)
    adopter = Adopter(writer_of(silent.directory), Complaints())
    adopter.start()
    adopter.finish(30)
    adopter.stop()
    (path,) = (silent.directory / "spool").iterdir()
    orphan = adopting.lock_orphan(path)
    assert orphan is not None, "its lock is free again"
    orphan.close()


def test_a_child_does_not_keep_the_lock_of_what_its_parent_adopts(silent: Silent) -> None:
    log = hansard.AuditLog(silent.directory, close_timeout=0)
    log.record("some.event")
    log.close()
    adopter = Adopter(writer_of(silent.directory), Complaints())
    adopter.start()
    wait_until(lambda: adopter._sender is not None and adopter._sender.started, "it is at it")
    pid = os.fork()
    if not pid:
        adopter.abandon_after_fork()
        with contextlib.suppress(BaseException):
            wait_until((silent.directory / "go").exists, "the parent has looked")
        os._exit(0)
    adopter.stop()
    (path,) = (silent.directory / "spool").iterdir()
    orphan = adopting.lock_orphan(path)
    (silent.directory / "go").touch()
    os.waitpid(pid, 0)
    assert orphan is not None
    orphan.close()


def test_beside_its_writer_nobody_adopts(directory: Path) -> None:
    assert LocalWriter(directory).adopter(Complaints()) is None  # type: ignore[func-returns-value]


def test_a_worker_beside_its_writer_loads_nothing_of_this(directory: Path) -> None:
    program = (
        f"import sys, hansard; log = hansard.AuditLog({str(directory)!r})\n"
        "log.record('a.b'); log.close(timeout=0)\n"
        "print([name for name in sys.modules if 'adopting' in name or 'remote' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
