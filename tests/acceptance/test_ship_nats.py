"""Shipping through real servers of NATS, into a target that is in memory and into PostgreSQL."""

import contextlib
import datetime as dt
import ipaddress
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from nats.js.errors import NotFoundError

import hansard
from frames import event
from hansard import ConfigError
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping import delivery
from hansard_writer.shipping.batch import Batch, Checked
from hansard_writer.shipping.delivery import Delivery, Observer, Shipped
from hansard_writer.shipping.jetstream import connection, source, source_opener
from hansard_writer.shipping.jetstream.messages import Message, Outgoing, subject_of
from hansard_writer.shipping.jetstream.source import consumer_of
from hansard_writer.shipping.jetstream.target import JetStreamTarget
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.relay import Observer as RelayObserver
from hansard_writer.shipping.relay import Relay, Relayed
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable
from hansard_writer.shipping.targets import TargetOptions, target_named
from nats_server import NatsServer, nats_cluster, nats_server, url_of, with_nats
from postgresql_server import PostgresqlServer, postgresql_server
from support import run_worker, wait_until
from verifiable import SignedLog

Begin = Callable[..., subprocess.Popen[str]]

STREAM = "HANSARD"
NAME = "memory://target"
ALL = "SELECT count(*), count(DISTINCT seq), max(seq) FROM hansard.entries"

RECORDER = """
import select, sys, hansard
log = hansard.AuditLog(sys.argv[1])
n = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:  # up to 5,000 a second, until it is told
    for _ in range(50):
        n += 1
        log.record("task.step", {"n": n, "message": "of no importance " * 8}, task_id="T1")
log.close(timeout=30)
print(n)
"""


class Kept:
    """A target in memory, which outlives connections to it."""

    name = NAME

    def __init__(self) -> None:
        self.seqs: dict[str, list[int]] = {}
        self.edges: dict[str, Edge] = {}

    def edge(self, origin: str) -> Edge:
        return self.edges.get(origin, Edge())

    def append(self, batch: Batch, checked: Checked) -> None:
        assert batch.before == self.edge(batch.origin).size
        self.seqs.setdefault(batch.origin, []).extend(row[0] for row in batch.rows)
        self.edges[batch.origin] = checked.edge

    def close(self) -> None:
        pass


class Heard(Observer, RelayObserver):
    def __init__(self) -> None:
        self.held_up: list[str] = []
        self.refusals: list[str] = []

    def goes_on(self, *_: Any) -> None:
        pass

    def is_held_up(self, why: str, wait_s: float) -> None:
        self.held_up.append(why)

    def refused(self, message: Message, why: str) -> None:
        self.refusals.append(why)


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[NatsServer]]:
    with nats_cluster() as servers:
        yield servers


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresqlServer]:
    with postgresql_server() as server:
        yield server


@pytest.fixture
def url(server: NatsServer) -> Iterator[str]:
    """A server without a stream."""
    yield server.url
    with_nats(server.url, remove_stream)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LogSource", partial(LogSource, entries_max=100))
    monkeypatch.setattr(delivery, "BACKOFF_S_MIN", 0.01)
    monkeypatch.setattr(delivery, "BACKOFF_S_MAX", 0.1)
    monkeypatch.setattr(source, "FETCH_S", 0.2)


@pytest.fixture
def log(directory: Path) -> Iterator[SignedLog]:
    log = SignedLog(directory)
    log.enter(count=350)
    log.seal()
    yield log
    log.close()


@pytest.fixture
def kept() -> Kept:
    return Kept()


def ship(directory: Path, url: str, heard: Heard | None = None, replicas: int = 1) -> Shipped:
    named = target_named(url, TargetOptions(replicas=replicas))
    return Delivery(directory, named.name, named.open, heard or Heard()).run(once=True)


def relay(url: str, kept: Kept, heard: Heard | None = None) -> Relayed:
    return Relay(source_opener(url, NAME), lambda: kept, heard or Heard()).run(once=True)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts the command, which does not outlive the test."""
    begun: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
        begun.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def recorder(directory: Path, writer: Any) -> Iterator[Callable[[], int]]:
    """Records all the while, until it is called: how many events it was."""
    process = run_worker(RECORDER, directory)
    yield lambda: int(process.communicate("\n", timeout=60)[0])
    process.kill()
    process.communicate()


def done(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status, and what it said."""
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def incompressible(size: int) -> bytes:
    """An event of so many random bytes, in twice as many characters."""
    return event(json.dumps({"x": os.urandom(size).hex()}))


def entries(last: int) -> list[int]:
    return list(range(1, last + 1))


# --- work with a client of the test's own ---


async def remove_stream(_client: Any, jetstream: Any) -> None:
    with contextlib.suppress(NotFoundError):
        await jetstream.delete_stream(STREAM)


async def stream_info(_client: Any, jetstream: Any) -> Any:
    return await jetstream.stream_info(STREAM)


async def all_messages(_client: Any, jetstream: Any) -> list[Any]:
    state = (await jetstream.stream_info(STREAM)).state
    found = []
    for number in range(state.first_seq, state.last_seq + 1):
        try:
            found.append(await jetstream.get_msg(STREAM, number))
        except NotFoundError:
            continue
    return found


def made_stream(url: str, **settings: Any) -> None:
    """A stream as its operator has made it."""

    async def make(_client: Any, jetstream: Any) -> None:
        wanted = {"subjects": ["hansard.entries.>"], "discard": "new"} | settings
        await jetstream.add_stream(name=STREAM, **wanted)

    with_nats(url, make)


def removed(url: str, *numbers: int) -> None:
    async def remove(_client: Any, jetstream: Any) -> None:
        for number in numbers:
            await jetstream.delete_msg(STREAM, number)

    with_nats(url, remove)


def published(url: str, *messages: Any, headers: Callable[[Any], Any] = lambda _: None) -> None:
    async def publish(_client: Any, jetstream: Any) -> None:
        for each in messages:
            ack = await jetstream.publish(each.subject, each.data, headers=headers(each))
            assert not ack.duplicate

    with_nats(url, publish)


# --- what is shipped arrives, once ---


def test_a_log_arrives_in_postgresql_by_way_of_a_stream(
    directory: Path, url: str, postgresql: PostgresqlServer, writer: Any, begin: Begin
) -> None:
    database = postgresql.new_database()
    with hansard.AuditLog(directory) as log:
        log.record("incompressible", {"x": os.urandom(450_000).hex()})
        for number in range(2_000):
            log.record("task.step", {"n": number})
        assert log.flush(timeout=20)
        code, said = done(begin("ship", "--once", "--replicas", 1, "--dir", directory, url))
        assert (code, "Shipped 2,001 entries of hansard/" in said) == (0, True), said
        key = directory / "writer.pub"
        code, said = done(begin("ship", "--once", "--from", url, database, "--key", key))
        assert (code, "Shipped 2,001 entries in " in said) == (0, True), said
        log.record("task.step", {"n": 2_000}, sync=True)
    assert ship(directory, url).entries == 1
    named = target_named(database, TargetOptions())
    relaying_on = Relay(source_opener(url, named.name), named.open, Heard())
    assert relaying_on.run(once=True) == (1, 1, 0)
    with postgresql.connected(database) as client:
        assert client.execute(ALL).fetchone() == (2_002, 2_002, 2_002)


def test_one_message_has_a_batch_and_what_is_too_large_comes_in_parts(
    directory: Path, url: str, kept: Kept
) -> None:
    log = SignedLog(directory)
    log.enter(count=10)
    log.enter(incompressible(500_000))
    log.enter(incompressible(520_000))
    log.enter(count=10)
    log.seal()
    made_stream(url, max_msg_size=200_000)
    ship(directory, url)
    messages = with_nats(url, all_messages)
    parts = [each.headers.get("Hansard-Part") for each in messages]
    assert parts[0] is None
    assert parts.count("1/3") + parts.count("1/4") == 2
    assert relay(url, kept).refused == 0
    assert kept.seqs == {log.origin: entries(22)}
    log.close()


def test_what_was_shipped_is_shipped_no_more(log: SignedLog, url: str, kept: Kept) -> None:
    ship(log.directory, url)
    assert ship(log.directory, url).entries == 0
    assert relay(url, kept) == (4, 350, 0)
    assert relay(url, kept) == (0, 0, 0)
    log.enter(count=5)
    log.seal()
    assert ship(log.directory, url).entries == 5
    assert relay(url, kept) == (1, 5, 0)
    assert with_nats(url, stream_info).state.messages == 5


def test_the_stream_is_made_so_that_it_forgets_nothing(log: SignedLog, url: str) -> None:
    ship(log.directory, url)
    config = with_nats(url, stream_info).config
    assert (config.subjects, config.storage) == (["hansard.entries.>"], "file")
    assert (config.retention, config.discard, config.max_age) == ("limits", "new", 0)
    assert config.duplicate_window == 120


def test_a_single_server_is_asked_for_one_copy(log: SignedLog, url: str) -> None:
    with pytest.raises(TargetRefused, match="--replicas 1"):
        ship(log.directory, url, replicas=3)


def test_two_at_once_put_nothing_in_twice(log: SignedLog, url: str, kept: Kept) -> None:
    threads = []
    for _ in range(2):
        named = target_named(url, TargetOptions(replicas=1))
        shipping = Delivery(log.directory, f"memory://{len(threads)}", named.open, Heard())
        threads.append(threading.Thread(target=shipping.run, kwargs={"once": True}))
        threads[-1].start()
    for thread in threads:
        thread.join()
    heard = Heard()
    assert relay(url, kept, heard) == (4, 350, 0)
    assert with_nats(url, stream_info).state.messages == 4
    assert heard.refusals == []


def test_parts_that_were_left_are_begun_anew(
    directory: Path, url: str, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SignedLog(directory)
    log.enter(incompressible(450_000))
    log.seal()
    made_stream(url, max_msg_size=200_000)
    publish, killed = JetStreamTarget._published, []

    def dies(self: JetStreamTarget, message: Outgoing, last: int) -> int:
        if message.headers["Hansard-Part"].startswith("3/") and not killed:
            killed.append(last)
            raise TargetUnavailable("cut")
        return publish(self, message, last)

    monkeypatch.setattr(JetStreamTarget, "_published", dies)
    assert ship(directory, url).entries == 1
    parts = [each.headers["Hansard-Part"][0] for each in with_nats(url, all_messages)]
    assert "".join(parts).startswith("12123")
    assert relay(url, kept) == (1, 1, 0)
    log.close()


# --- sent again ---


def test_behind_the_window_of_duplicates_all_is_sent_again_and_is_there_once(
    log: SignedLog, url: str, postgresql: PostgresqlServer, begin: Begin
) -> None:
    made_stream(url, duplicate_window=0.1)
    ship(log.directory, url)
    messages = with_nats(url, all_messages)
    first = messages[0]

    def is_forgotten() -> bool:
        """Sent as it is but for what it has to come behind, until it is not a duplicate."""

        async def send(_client: Any, jetstream: Any) -> bool:
            headers = {key: value for key, value in first.headers.items() if "Expect" not in key}
            ack = await jetstream.publish(first.subject, first.data, headers=headers)
            return not ack.duplicate

        forgotten: bool = with_nats(url, send)
        return forgotten

    wait_until(is_forgotten, "the window of duplicates is over")

    async def as_it_was(_client: Any, jetstream: Any) -> int:
        refused = 0
        for each in messages:
            try:
                await jetstream.publish(each.subject, each.data, headers=each.headers)
            except nats.errors.Error:
                refused += 1
        return refused

    assert with_nats(url, as_it_was) == len(messages), "what it has to come behind kept none out"
    published(url, *messages, headers=lambda each: {
        key: value for key, value in each.headers.items() if key.startswith("Hansard")
    })  # fmt: skip
    published(url, *messages)  # and without all headers
    database = postgresql.new_database()
    code, said = done(begin("ship", "--once", "--from", url, database))
    assert (code, "this is no batch" in said) == (1, True), said  # without headers they are none
    with postgresql.connected(database) as client:
        assert client.execute(ALL).fetchone() == (350, 350, 350)


def test_what_was_sent_again_by_hand_keeps_nobody_from_shipping(
    log: SignedLog, url: str, kept: Kept
) -> None:
    ship(log.directory, url)
    first = with_nats(url, all_messages)[0]
    published(url, first, headers=lambda each: {
        key: value for key, value in each.headers.items() if key.startswith("Hansard")
    })  # fmt: skip
    log.enter(count=5)
    log.seal()
    assert ship(log.directory, url).shipped_to == 355
    assert relay(url, kept).refused == 0
    assert kept.seqs == {log.origin: entries(355)}


def test_a_foreign_message_is_named_and_goes_away_on_command(
    log: SignedLog, url: str, kept: Kept
) -> None:
    ship(log.directory, url)
    subject = with_nats(url, all_messages)[0].subject
    published(url, Outgoing(subject, {}, b"hello"))
    log.enter(count=5)
    log.seal()
    with pytest.raises(TargetRefused, match="`nats stream rmm HANSARD 5`"):
        ship(log.directory, url)
    heard = Heard()
    assert relay(url, kept, heard) == (4, 350, 1)
    assert "this is no batch" in heard.refusals[0]
    removed(url, 5)
    assert ship(log.directory, url).entries == 5
    assert relay(url, kept) == (1, 5, 0)


# --- what goes away ---


def test_a_gap_is_named_and_filled_from_the_log_itself(
    log: SignedLog, url: str, kept: Kept
) -> None:
    ship(log.directory, url)
    removed(url, 2)
    heard = Heard()
    assert relay(url, kept, heard) == (1, 100, 2)
    assert f"entries 101 to 200 of {log.origin} have not come through" in heard.refusals[0]
    Delivery(log.directory, NAME, lambda: kept, Heard()).run(once=True)
    log.enter(count=5)
    log.seal()
    ship(log.directory, url)
    assert relay(url, kept) == (1, 5, 0)
    assert kept.seqs == {log.origin: entries(355)}


def test_a_shipper_goes_on_when_limits_took_its_last_message(
    log: SignedLog, url: str, kept: Kept
) -> None:
    named = target_named(url, TargetOptions(replicas=1))
    opened = named.open()
    shipper = LogSource(log.directory)
    edge = opened.edge(log.origin)
    first = shipper.next(0)
    assert first
    checked = first.checked(edge)
    opened.append(first, checked)
    relay(url, kept)
    removed(url, 1)
    log.enter(count=5)
    log.seal()
    second = shipper.next(first.last)
    assert second
    opened.append(second, second.checked(checked.edge))
    opened.close()
    shipper.close()
    assert relay(url, kept).refused == 0
    assert kept.seqs == {log.origin: entries(355)}


def test_a_stream_that_is_full_holds_shipping_up_until_it_is_larger(
    log: SignedLog, url: str, kept: Kept
) -> None:
    made_stream(url, max_msgs=2)

    async def enlarge(_client: Any, jetstream: Any) -> None:
        await jetstream.update_stream(name=STREAM, subjects=["hansard.entries.>"], discard="new")

    class Operator(Heard):
        def is_held_up(self, why: str, wait_s: float) -> None:
            super().is_held_up(why, wait_s)
            with_nats(url, enlarge)

    heard = Operator()
    assert ship(log.directory, url, heard).shipped_to == 350
    assert "takes nothing more. Raise max_bytes" in heard.held_up[0]
    assert relay(url, kept) == (4, 350, 0)


def test_a_consumer_that_was_removed_begins_anew_and_nothing_is_doubled(
    log: SignedLog, url: str, kept: Kept
) -> None:
    ship(log.directory, url)
    relay(url, kept)

    async def remove(_client: Any, jetstream: Any) -> None:
        await jetstream.delete_consumer(STREAM, consumer_of(NAME))

    with_nats(url, remove)
    assert relay(url, kept) == (0, 0, 0)
    assert kept.seqs == {log.origin: entries(350)}


def test_what_was_delivered_and_not_acked_comes_again_in_its_order(
    log: SignedLog, url: str, kept: Kept
) -> None:
    ship(log.directory, url)
    dying = source_opener(url, NAME)()
    assert [each.number for each in dying.fetch()] == [1, 2, 3, 4]
    dying.close()
    log.enter(count=5)
    log.seal()
    ship(log.directory, url)  # it would come first, and the others when their time is over
    assert relay(url, kept) == (5, 355, 0)
    assert kept.seqs == {log.origin: entries(355)}


def test_a_second_relay_for_the_same_target_is_noticed(log: SignedLog, url: str) -> None:
    ship(log.directory, url)
    one, two = source_opener(url, NAME)(), source_opener(url, NAME)()
    assert len(one.fetch()) == 4
    log.enter(count=5)
    log.seal()
    ship(log.directory, url)
    with pytest.raises(TargetUnavailable, match="one relay at a time"):
        two.fetch()
    one.close()
    two.close()


def test_a_stream_that_is_not_there_yet_is_waited_for(url: str, kept: Kept) -> None:
    heard = Heard()
    with pytest.raises(TargetUnavailable, match=f"has no stream {STREAM}: `hansard ship"):
        relay(url, kept, heard)
    assert len(heard.held_up) == delivery.TRIES_ONCE - 1


def test_a_login_is_asked_for_and_never_shown(log: SignedLog) -> None:
    login = {"users": [{"user": "ann", "password": "pass"}]}
    with nats_server(authorization=login) as server:
        assert ship(log.directory, f"nats://ann:pass@{server.host}").shipped_to == 350
        with pytest.raises(TargetRefused, match="refuses the login") as caught:
            ship(log.directory, f"nats://ann:wrong1@{server.host}")
        assert "wrong1" not in str(caught.value)


def test_a_host_may_be_allowed_its_own_log_only(
    log: SignedLog, tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_S_MAX", 1.0)
    apis = ["STREAM.INFO", "STREAM.MSG.GET"]
    rights = {
        "publish": [subject_of(log.origin), *(f"$JS.API.{each}.{STREAM}" for each in apis)],
        "subscribe": ["_INBOX.>"],
    }
    users = [
        {"user": "host", "password": "p", "permissions": rights},
        {"user": "all", "password": "p"},
    ]
    with nats_server(authorization={"users": users}) as server:
        other = SignedLog(tmp_path / "other")
        other.enter(count=5)
        other.seal()
        ship(other.directory, f"nats://all:p@{server.host}")
        assert ship(log.directory, f"nats://host:p@{server.host}").shipped_to == 350
        other.enter(count=5)
        other.seal()
        with pytest.raises(TargetRefused, match=r"(?i)permissions violation for publish"):
            ship(other.directory, f"nats://host:p@{server.host}")
        other.close()
        assert relay(f"nats://all:p@{server.host}", kept) == (5, 355, 0)


def test_a_token_is_a_login_too(log: SignedLog) -> None:
    with nats_server(authorization={"token": "opensesame"}) as server:
        assert ship(log.directory, f"nats://opensesame@{server.host}").shipped_to == 350
        with pytest.raises(TargetRefused, match="refuses the login"):
            ship(log.directory, server.url)


def test_over_tls_who_is_not_known_gets_nothing(
    log: SignedLog, url: str, kept: Kept, tmp_path: Path
) -> None:
    certificate, key = certified(tmp_path)
    tls = {"cert_file": str(certificate), "key_file": str(key)}
    with nats_server(tls=tls) as server:
        address = f"tls://{server.host}"
        with pytest.raises(TargetRefused, match=r"self-signed.* \?ca=FILE"):
            ship(log.directory, address)
        assert ship(log.directory, f"{address}?ca={certificate}").shipped_to == 350
        assert relay(f"{address}?ca={certificate}", kept) == (4, 350, 0)


def test_a_login_for_tls_is_not_given_without(log: SignedLog) -> None:
    with nats_server(authorization={"token": "opensesame"}) as server:
        with pytest.raises(TargetRefused, match="has no TLS, and is told nothing"):
            ship(log.directory, f"tls://opensesame@{server.host}")
        assert "opensesame" not in server.said()


def certified(place: Path) -> tuple[Path, Path]:
    """A certificate of this machine's, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = place / "server.pem", place / "server.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def test_what_is_named_wrongly_is_a_matter_of_usage(directory: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="stream"):
        target_named(f"{url}?strem=x", TargetOptions())


# --- killed ---


def test_killed_shippers_relays_and_servers_lose_and_double_nothing(
    directory: Path,
    url: str,
    server: NatsServer,
    postgresql: PostgresqlServer,
    recorder: Callable[[], int],
    begin: Begin,
) -> None:
    database = postgresql.new_database()
    shipping = ("ship", "--dir", directory, "--interval", "0.01", "--replicas", 1, url)
    relaying = ("ship", "--from", url, database)
    for kill in ("both", "server"):
        before = shipped(url)
        shipper, relayer = begin(*shipping), begin(*relaying)
        wait_until(lambda before=before: shipped(url) > before, "something was shipped")
        if kill == "both":
            shipper.kill()
            wait_until(lambda: relayed(postgresql, database), "something was relayed")
            relayer.kill()
        if kill == "server":
            server.kill()
            server.start()
        for process in (shipper, relayer):
            process.terminate()
            done(process)
    count = recorder()
    assert done(begin(*shipping, "--once"))[0] == 0
    code, said = done(begin(*relaying, "--once"))
    assert code == 0, said
    with postgresql.connected(database) as client:
        assert client.execute(ALL).fetchone() == (count, count, count)


def relayed(postgresql: PostgresqlServer, database: str) -> bool:
    with postgresql.connected(database) as client:
        if client.execute("SELECT to_regclass('hansard.entries')").fetchone()[0] is None:
            return False
        found: bool = client.execute(ALL).fetchone()[0] > 0
    return found


def shipped(url: str) -> int:
    """How many messages the stream has got."""
    try:
        found: int = with_nats(url, stream_info).state.last_seq
    except NotFoundError:
        return 0
    return found


def test_a_node_of_three_that_is_killed_stops_nothing(
    directory: Path,
    cluster: list[NatsServer],
    kept: Kept,
    recorder: Callable[[], int],
    begin: Begin,
) -> None:
    url = url_of(cluster)
    shipper = begin("ship", "--dir", directory, "--interval", "0.01", url)
    wait_until(lambda: shipped(cluster[0].url) > 3, "shipping has begun")
    info = with_nats(cluster[0].url, stream_info)
    assert info.config.num_replicas == 3
    (leader,) = (each for each in cluster if each.settings["server_name"] == info.cluster.leader)
    alive = next(each for each in cluster if each is not leader)
    before = shipped_of(alive)
    leader.kill()
    wait_until(lambda: shipped_of(alive) > before, "shipping goes on by way of the other two")
    count = recorder()
    wait_until(lambda: latest(alive.url) == count, "all was shipped by way of the other two")
    shipper.terminate()
    code, said = done(shipper)
    assert code == 0, said
    heard = Heard()
    assert relay(url, kept, heard).refused == 0
    assert list(kept.seqs.values()) == [entries(count)]
    leader.start()


def shipped_of(server: NatsServer) -> int:
    """The same, 0 while nobody leads."""
    try:
        return shipped(server.url)
    except (nats.errors.Error, TimeoutError):
        return 0


def latest(url: str) -> int:
    """Up to which entry the last message goes."""

    async def look(_client: Any, jetstream: Any) -> int:
        last = (await jetstream.stream_info(STREAM)).state.last_seq
        message = await jetstream.get_msg(STREAM, last)
        return int(message.headers["Nats-Msg-Id"].split("/")[-1].split(".")[0])

    try:
        found: int = with_nats(url, look)
    except (nats.errors.Error, TimeoutError):
        return 0  # nobody leads yet
    return found
