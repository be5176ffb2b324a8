"""Other hosts at a real writer: who is let in, who is not, and what hostile ones achieve."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from frames import event
from hansard import AuditLog, requester, wire
from hansard.curve import new_keys
from hansard.tcp_address import tcp_ports
from support import assert_verifies, count_entries, query, wait_until
from tcp_peers import Host, Site

STARTS_S = 30.0


class Served:
    """A writer of a site, what it has said, and a client that is allowed to record."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.good = site.allow("good")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "hansard_writer", "serve"),
                *("--dir", str(site.directory), "--tcp", site.address),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self._lines.extend(self.process.stderr)

    @property
    def said(self) -> str:
        return "".join(self._lines)

    def await_words(self, pattern: str) -> str:
        """Until the writer's log says it."""
        found = wait_until(lambda: re.search(pattern, self.said), f"it says {pattern!r}")
        return str(found[0])

    def figures(self) -> dict[str, Any]:
        _, figures = requester.ask(self.site.directory, wire.pack_stats_request(), 20)
        assert isinstance(figures, dict)
        return figures

    def turned_away(self, reason: str) -> int:
        return int(self.figures()["turned_away"][reason])

    def await_turned_away(self, reason: str) -> None:
        wait_until(lambda: self.turned_away(reason), f"somebody is turned away: {reason}")

    def assert_unharmed(self) -> None:
        """It serves others, over tcp and over ipc."""
        assert self.process.poll() is None
        with Host(self.site, self.good) as good:
            good.greet()
            good.records(2)
        with AuditLog(self.site.directory) as log:
            assert log.record("local", sync=True).status == "committed"

    def stop(self) -> None:
        self.process.terminate()
        status = self.process.wait(STARTS_S)
        self._listening.join(STARTS_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        assert status == 0, self.said


@pytest.fixture
def served(directory: Path) -> Iterator[Served]:
    served = Served(Site(directory))
    yield served
    served.stop()
    assert_verifies(directory)


def entries(served: Served) -> int:
    """Of clients: without what the log says of them."""
    counted = "SELECT count(*) FROM entries WHERE event_type NOT GLOB 'hansard.*'"
    return int(query(served.site.directory, counted)[0][0])


def test_a_client_of_another_host_records_beside_those_of_this_one(served: Served) -> None:
    assert f" tcp={served.site.address} " in served.ready
    with Host(served.site, served.good) as good:
        assert good.greet().watermark == 0
        good.records(3)
        with AuditLog(served.site.directory) as log:
            assert log.record("local", sync=True).status == "committed"
        good.records(3)
    assert entries(served) == 7
    assert served.figures()["turned_away"] == dict.fromkeys(served.figures()["turned_away"], 0)


# --- who is not let in ---


def test_a_plain_client_at_a_port_with_curve_is_not_heard(served: Served) -> None:
    with Host(served.site, None) as plain:
        plain.push()
        assert not plain.is_heard()

    def is_said_to_come_without_curve() -> int:
        """Once in ten times it has hung up before the writer sees what it is, and comes no more."""
        with Host(served.site, None) as another:
            assert not another.is_heard()
            return served.turned_away("no_curve")

    wait_until(is_said_to_come_without_curve, "it is turned away")
    served.await_words(r"turned a connection away from .+: it has no CURVE keys")
    served.assert_unharmed()
    assert entries(served) == 3


def test_a_client_that_expects_another_server_says_nothing_to_this_one(served: Served) -> None:
    with Host(served.site, served.good, server_key=new_keys().public) as misled:
        misled.push()
        assert not misled.is_heard()
        served.await_turned_away("wrong_server_key")
    served.await_words(r"turned a connection away from .+: it expects another server's")
    served.assert_unharmed()
    assert entries(served) == 3


def test_a_key_that_is_not_allowed_does_not_get_in_until_it_is(served: Served) -> None:
    stranger = new_keys()
    with Host(served.site, stranger) as host:
        host.push()
        assert not host.is_heard()
        served.await_turned_away("unknown_key")
    said = served.await_words(r"turned a connection away from 127\.[\d.]+ with the key .+")
    assert stranger.public in said
    assert entries(served) == 0
    served.site.allow("stranger", keys=stranger)
    with Host(served.site, stranger) as host:
        host.greet()
        host.records()
    served.assert_unharmed()


def test_a_key_that_is_revoked_is_out_although_its_connection_stands(served: Served) -> None:
    keys = served.site.allow("leaves")
    with Host(served.site, keys) as leaves:
        leaves.greet()
        leaves.records(2)
        served.site.revoke("leaves")

        def is_out() -> bool:
            try:
                leaves.wait(2)
            except wire.WireError as error:
                return "is not allowed here" in str(error)
            return False

        wait_until(is_out, "the revoked key is refused")
        before = served.turned_away("not_allowed")
        leaves.push()
        wait_until(lambda: served.turned_away("not_allowed") > before, "its frame is refused")
        with pytest.raises(wire.WireError, match="is not allowed here"):
            leaves.greet()
    with Host(served.site, keys) as again:
        assert not again.is_heard(), "nor does it get in again"
    served.await_words(
        r"refused a request of .+ at 127\.[\d.]+: its key is not allowed \(any more\)"
    )
    served.assert_unharmed()
    assert entries(served) == 5
    told = "SELECT payload ->> 'action' FROM entries WHERE event_type = 'hansard.client'"
    assert query(served.site.directory, told) == [("allowed",), ("allowed",), ("revoked",)]


def test_a_key_without_the_right_enters_nothing_and_hears_why(served: Served) -> None:
    with Host(served.site, served.site.allow("caller", "call")) as caller:
        with pytest.raises(wire.WireError, match="hello needs the right record"):
            caller.greet()
        caller.push()
        wait_until(lambda: served.turned_away("no_right") == 2, "its frame is refused")
        with pytest.raises(wire.WireError, match="checkpoint needs the right admin"):
            caller.ask(wire.TakeCheckpoint())
    served.await_words("refused a request of caller at 127.+: it does not have the right")
    served.assert_unharmed()
    assert entries(served) == 3


def test_a_key_that_uses_anothers_producer_moves_nothing(served: Served) -> None:
    with Host(served.site, served.good) as victim, AuditLog(served.site.directory) as local:
        victim.greet()
        victim.records(2)
        assert local.record("local", sync=True).status == "committed"
        thief_keys = served.site.allow("thief")
        for stolen, crc in (
            (victim.chain.producer_id, victim.chain.crc),
            (local._producer.producer_id, local._producer._crc),
        ):
            with Host(served.site, thief_keys, producer_id=stolen) as thief:
                before = served.turned_away("anothers_producer")
                thief.chain.seq, thief.chain.crc = 2 if crc == victim.chain.crc else 1, crc
                thief.push()
                for first_seq in (1, 50):
                    with pytest.raises(wire.WireError, match="this producer is another's"):
                        thief.greet(first_seq=first_seq)
                wait_until(
                    lambda before=before: served.turned_away("anothers_producer") == before + 3,
                    "the frame and both hellos are refused",
                )
        assert local.record("local", sync=True).status == "committed"
        assert local.statistics()["resent"] == 0
        victim.records(1)
    served.await_words(r"refused a \w+ of thief at 127.+: that producer is another's")
    assert entries(served) == 5
    served.assert_unharmed()


# --- who speaks no ZeroMQ ---


@contextlib.contextmanager
def raw(served: Served, which: int) -> Iterator[socket.socket]:
    """A bare connection to one of the two ports."""
    endpoint = tcp_ports(served.site.address)[which]
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield connection


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE"


@pytest.mark.parametrize("which", [0, 1])
def test_bytes_that_are_no_handshake_end_the_connection_and_nothing_else(
    served: Served, which: int
) -> None:
    for bad in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 300, GREETING + bytes(47) + b"\0\5xxxxx"):
        with raw(served, which) as connection:
            connection.sendall(bad)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4_096):
                    pass
    served.await_turned_away("broken_handshake")
    served.assert_unharmed()


def test_who_connects_and_says_nothing_is_cut_off(served: Served) -> None:
    with raw(served, 0) as one, raw(served, 1) as other:
        for silent in (one, other):
            silent.sendall(b"\xff")
        served.assert_unharmed()
        began = time.monotonic()
        for silent in (one, other):
            while silent.recv(4_096):
                pass
        assert time.monotonic() - began < 20
        wait_until(lambda: served.turned_away("unfinished_handshake") == 2, "both are counted")


# --- who may record, and is hostile ---


def test_a_first_message_that_comes_slowly_is_waited_for(served: Served) -> None:
    """libzmq's socket calls itself readable before it is."""
    with Host(served.site, served.good) as slow:
        slow.greet()
        slow.push(*[event(f'{{"n":"{"x" * 900_000}"}}', task_id=None)] * 2)
        slow.records()
    assert entries(served) == 3


def test_messages_beyond_the_limit_cost_the_connection_alone(served: Served) -> None:
    with Host(served.site, served.good) as large:
        large.greet()
        large.push_frame(large.chain.frame(bytes(wire.MESSAGE_BYTES_MAX + 1)))
        served.assert_unharmed()
    assert entries(served) == 3


# --- a writer that does not listen ---


Refusal = tuple[Callable[[Site], None], str]


def not_served(site: Site, *options: str) -> str:
    """What a writer that cannot serve says; it exits with 2."""
    done = subprocess.run(
        [sys.executable, "-m", "hansard_writer", "serve", "--dir", str(site.directory), *options],
        capture_output=True,
        text=True,
        timeout=STARTS_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert not (site.directory / "log.db").exists(), "the log is not touched"
    return done.stderr


def test_it_does_not_listen_without_a_key_of_its_own(directory: Path) -> None:
    site = Site(directory)
    site.allow("good")
    (directory / "curve.key").unlink()
    assert f"hansard keys new --dir {directory}" in not_served(site, "--tcp", site.address)


def test_it_does_not_listen_where_nobody_is_allowed(directory: Path) -> None:
    site = Site(directory)
    assert "hansard keys allow KEY --name NAME" in not_served(site, "--tcp", site.address)


def test_it_does_not_listen_with_a_key_that_others_may_read(directory: Path) -> None:
    site = Site(directory)
    site.allow("good")
    (directory / "curve.key").chmod(0o640)
    assert "others may read the key" in not_served(site, "--tcp", site.address)


@pytest.mark.parametrize("which", [0, 1])
def test_it_does_not_listen_at_a_port_that_is_taken(directory: Path, which: int) -> None:
    site = Site(directory)
    site.allow("good")
    endpoint = tcp_ports(site.address)[which]
    with zmq.Context() as context, context.socket(zmq.PULL) as taken:
        taken.bind(endpoint)
        said = not_served(site, "--tcp", site.address)
    assert f"cannot listen at {endpoint}: somebody listens there" in said


def test_it_does_not_listen_at_an_address_of_another_host(directory: Path) -> None:
    site = Site(directory)
    site.allow("good")
    said = not_served(site, "--tcp", "tcp://192.0.2.7:7461")
    assert "that is no address of this host" in said


def test_it_does_not_serve_what_is_recorded_for_another_host(directory: Path) -> None:
    site = Site(directory)
    key = new_keys().public
    settings = f'connect = "tcp://10.0.0.7:7461"\nserver_key = "{key}"\n'
    (directory / "hansard.toml").write_text(settings)
    assert "goes to tcp://10.0.0.7:7461, as `connect` says" in not_served(site)


def test_the_address_may_stand_in_the_settings_file(directory: Path) -> None:
    site = Site(directory)
    keys = site.allow("good")
    (directory / "hansard.toml").write_text(f'tcp = "{site.address}"\n')
    from hansard_writer.running_writer import running

    with running(directory) as writer, Host(site, keys) as good:
        assert site.address in writer.ready_line
        good.greet()
        good.push(event(task_id=None))
        good.wait(1)
        wait_until(lambda: count_entries(directory) == 2, "it is entered")
    assert_verifies(directory)
