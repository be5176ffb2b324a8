"""Floods of hostile messages: neither the writer's turn, its memory nor the disk is theirs."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from frames import Chain, event, parts
from hansard import wire
from hansard_writer import calls, intake, writer
from hansard_writer.operation_connection import OperationConnection
from hansard_writer.wal_governor import PASSIVE_SHARE
from stepped import Log, write_lock_taken

MIB = 1 << 20


def chains() -> Iterator[Chain]:
    """Producers without end."""
    return (Chain(number.to_bytes(wire.PRODUCER_ID_BYTES, "big")) for number in itertools.count(1))


def say(log: Log, content: bytes, peer: bytes = b"peer", *more: bytes) -> None:
    log.link.requests.append(([peer, *more, b""], content))


def size_on_disk(log: Log) -> int:
    return sum(path.stat().st_size for path in log.directory.glob("log.db*"))


# --- the writer's turn ---


@pytest.mark.parametrize("body", [event(), event('{"a":"' + "x" * MIB + '"}')])
def test_frames_that_fill_no_batch_do_not_take_the_writers_turn_for_ever(
    log: Log, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Duplicates, as fast as they are read."""
    monkeypatch.setattr(writer, "MESSAGES_PER_STEP_MAX", 100)
    chain = Chain()
    say(log, wire.pack_request(chain.hello()))
    log.turn()
    message = parts(chain.frame(body))
    read = [0]

    def endless() -> tuple[list[bytes], None]:
        read[0] += 1
        assert read[0] <= 200, "the step does not end"
        return message, None

    monkeypatch.setattr(log.link, "message", endless)
    assert log.step() == 0, "there is more to be read"
    assert read[0] <= 100
    if len(body) > MIB:
        assert read[0] * len(body) < writer.READ_BYTES_PER_STEP_MAX + 2 * MIB


def test_of_what_takes_long_one_question_is_answered_a_step(log: Log) -> None:
    good = log.worker()
    log.turn()
    log.turn()
    for number in range(50):
        say(log, wire.pack_stats_request(), b"%d" % number)
        say(log, wire.pack_request(wire.Replay(0, None, None, dry_run=True)), b"%d" % number)
    good.record()
    good.send()
    for _ in range(3):
        log.step()
        log.pass_time(0.01)
    assert len(log.link.replies) == 3
    assert log.entered("w") == [1]


def test_large_requests_do_not_take_the_writers_turn(log: Log) -> None:
    for number in range(50):
        say(log, b"\xc1" * 2 * MIB, b"%d" % number)
    log.step()
    assert 1 <= len(log.link.replies) <= 4


# --- its memory ---


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(b"\xdd\x00\x1f\x00\x00" + b"\x80" * (0x1F << 16), id="maps"),
        pytest.param(b"\x92\x01" + b"\xdd\x00\x0f\x00\x00" + b"\x91\xc0" * (0xF << 16), id="lists"),
        pytest.param(b"\xdd\x00\x1f\x00\x00" + b"\x01" * (0x1F << 16), id="numbers"),
        pytest.param(b"\x92\x01\xc6\xff\xff\xff\xff" + bytes(MIB), id="cut off"),
    ],
)
def test_a_large_request_of_many_values_is_refused_before_it_is_decoded(
    log: Log, monkeypatch: pytest.MonkeyPatch, bomb: bytes
) -> None:
    monkeypatch.delattr("hansard.wire.requests.unpack_array")
    say(log, bomb)
    log.step()
    ((_, content),) = log.link.replies
    assert msgpack.unpackb(content)[1] == "error"


def test_hellos_that_report_losses_wait_while_nothing_can_be_committed(log: Log) -> None:
    hostile = [next_.hello(first_seq=5) for next_ in itertools.islice(chains(), 3_000)]
    with write_lock_taken(log.directory):
        for number, hello in enumerate(hostile):
            say(log, wire.pack_request(hello), b"%d" % number)
        say(log, wire.pack_request(Chain().hello()), b"good")
        while log.link.requests:
            log.step()
            log.pass_time(0.01)
        assert log.writer._intake.batch.events == intake.OWN_ENTRIES_PER_BATCH_MAX
        answers = {reply[0][0]: msgpack.unpackb(reply[1]) for reply in log.link.replies}
        assert answers[b"good"][1] == "hello"
        assert answers[b"2999"][1] == "error"
        assert "hello again" in answers[b"2999"][2]
    log.link.replies.clear()
    log.pass_time(1)
    log.turn()
    say(log, wire.pack_request(hostile[-1]), b"again")
    log.turn()
    log.turn()
    assert msgpack.unpackb(log.link.replies[-1][1])[1] == "hello"
    assert len(log.entries(intake.LOST)) == intake.OWN_ENTRIES_PER_BATCH_MAX + 1


def test_who_was_greeted_and_is_gone_is_forgotten(log: Log) -> None:
    """On new sockets it is another peer, and says hello again."""
    with write_lock_taken(log.directory):
        for number in range(100):
            say(log, wire.pack_request(Chain().hello(first_seq=5)), b"%d" % number)
            log.step()
            log.pass_time(1)
        assert log.statistics()["waiting_requests"] < 10


def test_an_envelope_that_no_peer_needs_is_not_kept(log: Log) -> None:
    chain = Chain()
    say(log, wire.pack_request(chain.hello()))
    log.turn()
    wait = wire.Wait(chain.producer_id, 0, 9, 0, 0, False, wire.Report())
    say(log, wire.pack_request(wait), b"a", bytes(MIB))
    say(log, wire.pack_request(wait), b"b", *[b""] * 1_000)
    say(log, wire.pack_request(wait), b"c", b"\0\0\0\1")
    log.step()
    assert log.statistics()["waiting_requests"] == 1


def test_calls_that_wait_have_a_bound_in_bytes(directory: Path) -> None:
    log = Log(directory)
    log.operations = {"nothing": lambda _connection, _params: None}
    log.start_writer()
    params = msgpack.packb(bytes(MIB - 2_000))
    try:
        waiting = log.writer._calls
        refused = 0
        for number in range(40):
            call = wire.Call(number.to_bytes(16, "big"), "nothing", params, wire.INT64_MAX)
            refused += waiting.take([b"peer", b""], call) is not None
        assert (40 - refused) * len(params) <= calls.WAITING_BYTES_MAX
        assert refused < 40
        list(waiting.refuse_all("enough"))
        assert waiting.take([b"peer", b""], call) is None, "there is room again"
    finally:
        log.close()


# --- the disk ---


def flood(log: Log, messages: int, name: bytes) -> None:
    """All that is refused, each in its own way, over and over."""
    others = chains()
    known = Chain(name * wire.PRODUCER_ID_BYTES)
    say(log, wire.pack_request(known.hello()))
    log.turn()
    for number in range(messages):
        log.link.frames.append([b"no header" * 20, b"no body"])
        log.link.frames.append(parts(next(others).frame(event())))
        log.link.frames.append(parts(known.frame(b"\xc1" * 200)))
        say(log, wire.pack_request(next(others).hello()), b"h%d" % (number % 7))
        if number % 100 == 99:
            log.turn()
            log.turn()
    for _ in range(10):
        log.turn()
    log.link.replies.clear()


def test_a_flood_of_what_is_refused_does_not_fill_the_disk(directory: Path) -> None:
    """The database and its WAL stop growing; all is counted; the others go on."""
    log = Log(directory, dead_letters_max=100, dead_letters_bytes_max=20_000).start_writer()
    good = log.worker("good")
    flood(log, 200, b"a")
    before, entries = size_on_disk(log), log.statistics()["entries"]
    producers = log.query("SELECT count(*) FROM producers")
    flood(log, 2_000, b"b")
    good.record(10)
    log.settle()
    assert log.query("SELECT count(*) <= 100, sum(length(frame)) <= 20000 FROM dead_letters") == [
        (1, 1)
    ]
    assert log.query("SELECT count(*) FROM producers") == [(producers[0][0] + 2,)], "good, and b"
    figures = log.statistics()
    assert figures["dead_letters_not_kept"] + figures["dead_letters"] == 3 * 2_200
    assert figures["entries"] == entries + 10
    wal_bytes = log.settings.wal_bytes_target // PASSIVE_SHARE
    assert size_on_disk(log) - before < wal_bytes + MIB
    log.pass_time(60)
    log.step()
    log.pass_time(60)
    log.step()
    assert size_on_disk(log) < MIB, "with the WAL emptied"
    log.close()


def test_a_producers_row_is_written_with_its_first_numbers_not_with_its_hello(log: Log) -> None:
    one, other = itertools.islice(chains(), 2)
    for chain in (one, other):
        say(log, wire.pack_request(chain.hello()), chain.producer_id)
    log.turn()
    log.link.frames.append(parts(one.frame(event())))
    log.turn()
    log.turn()
    assert log.query("SELECT producer_hash FROM producers WHERE id > 0") == [(one.hash,)]


def test_calls_that_fail_leave_a_bounded_number_of_rows(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REJECTIONS_KEPT_MAX", 50)

    def fail(_connection: OperationConnection, _params: Any) -> None:
        raise ValueError("always")

    log = Log(directory)
    log.operations = {"fail": fail}
    log.start_writer().turn()
    for number in range(80):
        call = wire.Call(number.to_bytes(16, "big"), "fail", b"\xc0", wire.INT64_MAX)
        say(log, wire.pack_request(call), b"%d" % number)
    while log.link.requests:
        log.turn()
    while log.statistics()["calls_waiting"]:
        log.turn()
    replies = [msgpack.unpackb(content) for _, content in log.link.replies]
    assert [reply[2][0] for reply in replies] == ["rejected"] * 80
    assert log.query("SELECT count(*) FROM calls") == [(50,)]
    log.pass_time(61)
    log.turn()
    say(log, wire.pack_request(call._replace(call_id=b"later" + bytes(11))))
    log.turn()
    assert log.query("SELECT count(*) FROM calls") == [(51,)]
    log.close()
