"""Clients of other hosts at a stepped writer: rights, whose a producer is, what the log says."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from frames import Chain, event
from hansard import wire
from hansard.wire import WireError
from hansard_writer.disk import Disk
from hansard_writer.remote.allow_list import Client
from hansard_writer.remote.client_entries import ENTRIES_PER_PIECE_MAX
from hansard_writer.remote.rights import Peer
from stepped import Log

RECORDS = ("record",)
A = Peer("a" * 40, "a", RECORDS, "10.0.0.1")
B = Peer("b" * 40, "b", RECORDS, "10.0.0.2")
REPORT = wire.Report()
DROP = wire.DropLetters(0, None, None, entered=False, dry_run=True)


def wait(chain: Chain) -> wire.Wait:
    return wire.Wait(chain.producer_id, 0, 0, 0, 0, urgent=False, report=REPORT)


def recorded(log: Log, peer: Peer, producer_id: bytes = b"1" * 16) -> Chain:
    """A client's producer, of which the log has one event."""
    chain = Chain(producer_id)
    log.ask_as(peer, chain.hello())
    log.push_as(peer, chain.frame(event(task_id=None)))
    assert watermark(log, chain) == 1
    return chain


def watermark(log: Log, chain: Chain) -> int:
    rows = log.query("SELECT watermark FROM producers WHERE producer_hash = ?", chain.hash)
    return int(rows[0][0]) if rows else 0


def turned_away(log: Log) -> dict[str, int]:
    return {name: count for name, count in log.statistics()["turned_away"].items() if count}


# --- whose a producer is ---


def test_a_producer_is_its_clients_in_the_database(log: Log) -> None:
    recorded(log, A)
    log.worker().record()
    log.settle()
    assert log.query("SELECT client FROM producers ORDER BY id") == [(None,), ("a",), (None,)]


@pytest.mark.parametrize("restarted", [False, True])
def test_nobody_else_speaks_for_a_clients_producer(log: Log, restarted: bool) -> None:
    chain = recorded(log, A)
    if restarted:
        log.restart_writer()
    questions = [
        chain.hello(),
        chain.hello(first_seq=100),
        wait(chain),
        wire.Compare(chain.producer_id, 1, 1, 0, event()),
        wire.Lookup(chain.hash, 1),
    ]
    for question in questions:
        with pytest.raises(WireError, match="this producer is another's"):
            log.ask_as(B, question)
    log.push_as(B, chain.frame(event(task_id=None)))
    assert watermark(log, chain) == 1
    assert log.query("SELECT count(*) FROM entries") == [(1,)]
    assert log.dead_letters() == [], "who may not write here fills no disk"
    assert turned_away(log) == {"anothers_producer": len(questions) + 1}


def test_nor_does_anybody_over_ipc(log: Log) -> None:
    chain = recorded(log, A)
    for question in (chain.hello(), wait(chain)):
        with pytest.raises(WireError, match="this producer is another's"):
            log.ask(question)
    log.link.frames.append([wire.pack_header(frame := chain.frame(event())), frame.body])
    log.turn()
    assert watermark(log, chain) == 1
    assert turned_away(log) == {"anothers_producer": 3}
    assert log.ask(wire.Lookup(chain.hash, 1))[0] == "committed", "it could read the log as well"


def test_a_producer_of_this_host_is_no_clients(log: Log) -> None:
    worker = log.worker()
    worker.record()
    log.settle()
    chain = Chain(worker.producer.producer_id)
    chain.seq, chain.crc = 1, wire.welcome_of(log.ask(chain.hello())).crc
    with pytest.raises(WireError, match="this producer is another's"):
        log.ask_as(A, chain.hello())
    log.push_as(A, chain.frame(event(task_id=None)))
    assert watermark(log, chain) == 1
    worker.record()
    log.settle()
    assert log.entered("w") == [1, 2], "the victim goes on"


def test_a_name_with_a_new_key_goes_on_with_its_producers(log: Log) -> None:
    chain = recorded(log, A)
    again = A._replace(key="c" * 40)
    log.restart_writer()
    log.ask_as(again, chain.hello())
    log.push_as(again, chain.frame(event(task_id=None)))
    assert watermark(log, chain) == 2


def test_a_producer_of_which_nothing_is_in_the_log_belongs_to_who_says_hello(log: Log) -> None:
    chain = Chain()
    log.ask_as(A, chain.hello())
    with pytest.raises(WireError, match="another's"):
        log.ask_as(B, chain.hello())
    log.restart_writer()
    log.ask_as(B, chain.hello())
    log.push_as(B, chain.frame(event(task_id=None)))
    assert log.query("SELECT client FROM producers WHERE id > 0") == [("b",)]


def test_a_frame_of_a_producer_that_said_no_hello_is_refused_as_over_ipc(log: Log) -> None:
    log.push_as(A, Chain().frame(event()))
    assert log.dead_letters() == [(None, 0, "unknown_producer")]
    assert log.query("SELECT count(*) FROM producers") == [(1,)]


def test_a_spool_of_a_clients_producer_is_not_entered_from_this_hosts_directory(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    worker = log.worker()
    worker.record(3)
    log.ask_as(A, (chain := Chain(worker.producer.producer_id)).hello())
    log.push_as(A, chain.frame(event(task_id=None)))
    log.workers.clear()
    worker.producer._store.close(remove=False)
    for _ in range(5):
        log.turn()
        log.pass_time(1)
    assert [path.suffix for path in log.spools.iterdir()] == [".spool"]
    assert log.entered("w") == []
    assert watermark(log, chain) == 1
    assert "is of a producer of another host: left as it is" in caplog.text
    assert log.statistics()["spools_of_other_logs"] == 1


# --- rights ---


@pytest.mark.parametrize("rights", [(), ("call",), ("admin",), ("call", "admin")])
def test_without_the_right_to_record_nothing_enters(log: Log, rights: tuple[str, ...]) -> None:
    chain = recorded(log, A)
    now = A._replace(rights=rights, name=A.name if rights else "")
    for question in (chain.hello(), wait(chain), wire.Lookup(chain.hash, 1)):
        with pytest.raises(WireError, match="hansard keys allow"):
            log.ask_as(now, question)
    log.push_as(now, chain.frame(event(task_id=None)))
    assert watermark(log, chain) == 1
    assert log.dead_letters() == []
    assert turned_away(log) == {"no_right" if rights else "not_allowed": 4}


def test_who_may_only_record_calls_nothing_and_administers_nothing(log: Log) -> None:
    call = wire.Call(b"c" * 16, "op", b"{}", 1_000)
    for question in (call, wire.LookupCall(b"c" * 16), wire.TakeCheckpoint(), DROP):
        with pytest.raises(WireError, match=r"needs the right (call|admin)"):
            log.ask_as(A, question)
    assert turned_away(log) == {"no_right": 4}


def test_an_administrator_of_another_host_needs_no_token(directory: Path) -> None:
    log = Log(directory).start_writer()
    log.writer._owner_token = b"t" * 32
    log.worker().record()
    log.settle()
    admin = A._replace(rights=("admin",))
    with pytest.raises(WireError, match="for the owner"):
        log.ask(DROP)
    assert log.ask_as(admin, wire.TakeCheckpoint())[0] == 1
    log.ask_as(admin, DROP)
    log.close()


def test_it_is_said_once_for_a_key_and_a_reason(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    recorded(log, A)
    for _ in range(5):
        for peer in (A, B):
            with pytest.raises(WireError):
                log.ask_as(peer, wire.TakeCheckpoint())
        log.push_as(B, Chain(b"1" * 16).frame(event()))
    said = [record.getMessage() for record in caplog.records if "refused a" in record.message]
    assert said == [
        "refused a request of a at 10.0.0.1: it does not have the right",
        "refused a request of b at 10.0.0.2: it does not have the right",
        "refused a frame of b at 10.0.0.2: that producer is another's",
    ]


# --- what the log says ---


def client(name: str, *rights: str, key: str = "") -> Client:
    return Client((key or name) * 40, name, rights or RECORDS)


def said(log: Log) -> list[dict[str, Any]]:
    return log.entries("hansard.client")


@pytest.fixture
def shared(directory: Path) -> Any:
    """A log that serves other hosts; one client is allowed."""
    log = Log(directory)
    log.clients = (client("a"),)
    log.start_writer()
    yield log
    log.close()


def test_the_log_says_who_may_come_before_anybody_has(shared: Log) -> None:
    recorded(shared, A)
    assert said(shared) == [
        {"action": "allowed", "name": "a", "public_key": "a" * 40, "rights": ["record"]}
    ]
    assert shared.query("SELECT event_type FROM entries WHERE seq = 1") == [("hansard.client",)]


def test_each_change_is_said_once(shared: Log) -> None:
    shared.step()
    for clients in (
        (client("a"), client("b", "record", "call")),
        (client("a"), client("b", "record", "call")),
        (client("a", key="c"), client("b", "admin")),
        (client("b", "admin"),),
        (),
    ):
        shared.clients = clients
        shared.turn()
    assert [(each["action"], each["name"], each["rights"]) for each in said(shared)] == [
        ("allowed", "a", ["record"]),
        ("allowed", "b", ["record", "call"]),
        ("changed", "a", ["record"]),
        ("changed", "b", ["admin"]),
        ("revoked", "a", ["record"]),
        ("revoked", "b", ["admin"]),
    ]
    assert said(shared)[2]["public_key"] == "c" * 40


@pytest.mark.parametrize("killed", [False, True])
def test_what_changed_while_no_writer_ran_is_said_at_the_next_start(
    shared: Log, killed: bool
) -> None:
    shared.step()
    shared.kill_writer() if killed else shared.stop_writer()
    shared.clients = (client("b"),)
    shared.start_writer().step()
    shared.restart_writer()
    shared.step()
    assert [(each["action"], each["name"]) for each in said(shared)] == [
        ("allowed", "a"),
        ("revoked", "a"),
        ("allowed", "b"),
    ]


def test_a_log_that_serves_this_host_alone_says_nothing(log: Log) -> None:
    log.turn()
    assert said(log) == []


def test_a_long_list_is_said_in_pieces(directory: Path) -> None:
    log = Log(directory)
    many = ENTRIES_PER_PIECE_MAX + 3
    log.clients = tuple(Client(f"{n:040}", f"host-{n}", RECORDS) for n in range(many))
    log.start_writer().step()
    assert len(said(log)) == ENTRIES_PER_PIECE_MAX
    log.restart_writer()
    log.step()
    log.step()
    assert [each["name"] for each in said(log)] == [f"host-{n}" for n in range(many)]
    log.close()


def test_it_waits_until_there_is_room_and_is_not_lost(shared: Log) -> None:
    shared.step()
    shared.clients = ()
    with mock.patch.object(Disk, "suspended", new=True):
        shared.step()
    assert len(said(shared)) == 1
    shared.step()
    assert len(said(shared)) == 2
