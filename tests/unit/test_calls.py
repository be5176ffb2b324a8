"""A call, seen by its caller: what may be asked, what goes over the wire, what an answer means."""

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from hansard import (
    AckTimeout,
    AuditLog,
    CallKey,
    ClosedError,
    InvalidEvent,
    ProtocolMismatch,
    Rejected,
    WriterUnavailable,
    calls,
    requester,
    wire,
)
from hansard.local_writer import LocalWriter
from support import held_lock, wait_until

Answer = Callable[[str, list[Any]], bytes | None]


@contextmanager
def answered_by(directory: Path, answer: Answer) -> Iterator[AuditLog]:
    """A log whose requests are answered by a function, in place of a writer."""
    log = AuditLog(directory)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.linger = 0
    router.bind(f"ipc://{directory}/ack.sock")
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            if router.poll(10):
                *envelope, content = router.recv_multipart()
                reply = answer(*wire.unpack_request(content))
                if reply is not None:
                    router.send_multipart([*envelope, reply])
        router.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield log
    finally:
        stop.set()
        thread.join()
        context.term()
        log.close()


def committed(value: object) -> Answer:
    content = wire.CallReply(wire.COMMITTED, calls.pack_value("it", value))
    return lambda verb, _arguments: wire.pack_reply(verb, content)


def rejected(verb: str, _arguments: list[Any]) -> bytes:
    return wire.pack_reply(verb, wire.CallReply(wire.REJECTED, "because"))


# --- what may be asked ---


@pytest.mark.parametrize("name", ["", "a b", "1st", "x" * 256, "ä", "a\n"])
def test_a_name_that_breaks_the_rule_is_refused(directory: Path, name: str) -> None:
    with AuditLog(directory) as log, pytest.raises(InvalidEvent, match="it must start with a let"):
        log.call(name)


def test_a_name_that_is_no_string_is_refused(directory: Path) -> None:
    with AuditLog(directory) as log, pytest.raises(InvalidEvent, match="name is an int: it must"):
        log.call(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "params",
    [object(), {1, 2}, 2**64, -(2**63) - 1, "\ud800", {(1, 2): 3}, [[...]], 1j],
    ids=["object", "set", "large", "small", "surrogate", "key", "ellipsis", "complex"],
)
def test_params_that_msgpack_cannot_carry_are_refused(directory: Path, params: object) -> None:
    with AuditLog(directory) as log, pytest.raises(InvalidEvent, match="params cannot be carried"):
        log.call("thing", params)


def test_params_that_are_too_large_are_refused(directory: Path) -> None:
    with AuditLog(directory) as log:
        with pytest.raises(InvalidEvent, match="params has 1,047,557 bytes: at most 1,047,552 are"):
            log.call("thing", b"x" * ((1 << 20) - 1_024))
        with pytest.raises(WriterUnavailable):
            log.call("thing", b"x" * ((1 << 20) - 1_024 - 5), timeout=0.01)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", None, 86_401])
def test_a_timeout_that_is_none_is_refused(directory: Path, timeout: Any) -> None:
    with AuditLog(directory) as log, pytest.raises(InvalidEvent, match="number of seconds above 0"):
        log.call("thing", timeout=timeout)


def test_nothing_is_called_after_close(directory: Path) -> None:
    log = AuditLog(directory)
    log.close()
    with pytest.raises(ClosedError, match=r"call\(\) before close\(\)"):
        log.call("thing")


@pytest.mark.parametrize(
    "value",
    [None, True, 2**64 - 1, -(2**63), 0.5, "ä", b"\xff", [1, [2]], {"a": {1: None, b"b": []}}],
    ids=repr,
)
def test_what_msgpack_carries_comes_out_as_it_went_in(value: object) -> None:
    assert calls.unpack_value(calls.pack_value("it", value)) == value


def test_tuples_come_out_as_lists() -> None:
    assert calls.unpack_value(calls.pack_value("it", (1, (2,)))) == [1, [2]]


# --- what an answer means ---


def test_the_writer_is_asked_with_a_deadline_before_the_callers_patience_ends(
    directory: Path,
) -> None:
    asked: list[tuple[str, list[Any]]] = []

    def answer(verb: str, arguments: list[Any]) -> bytes | None:
        asked.append((verb, arguments))
        return committed({"n": 8})(verb, arguments)

    with answered_by(directory, answer) as log:
        from time import time_ns

        before = time_ns()
        assert log.call("thing.double", {"n": 4}, timeout=30) == {"n": 8}
        after = time_ns()
    ((verb, arguments),) = asked
    call = wire.call_of(arguments)
    assert (verb, call.name) == ("call", "thing.double")
    assert calls.unpack_value(call.params) == {"n": 4}
    assert before + 28_400_000_000 < call.deadline < after + 28_600_000_000


def test_a_rejection_is_raised_with_its_reason(directory: Path) -> None:
    with (
        answered_by(directory, rejected) as log,
        pytest.raises(Rejected, match="the operation 'thing' was rejected: because"),
    ):
        log.call("thing")


def test_a_call_without_a_writer_was_not_sent(directory: Path) -> None:
    with (
        AuditLog(directory) as log,
        pytest.raises(WriterUnavailable, match="start one with `hansard serve --dir"),
    ):
        log.call("thing", timeout=0.05)


def test_a_busy_writer_is_not_called_missing(directory: Path) -> None:
    said = (
        rf"the writer of {directory} \(pid 7\) runs, but did not answer within 0\.05 s: "
        "it is busy, perhaps in a named operation; try again"
    )
    with AuditLog(directory) as log, held_lock(directory):
        with pytest.raises(WriterUnavailable, match=said):
            log.call("thing", timeout=0.05)
        with pytest.raises(WriterUnavailable, match=said):
            log.lookup(CallKey(b"k" * 16), timeout=0.05)


def test_a_lookup_that_a_busy_writer_leaves_unanswered_raises_a_public_error(
    directory: Path,
) -> None:
    with answered_by(directory, lambda _verb, _arguments: None) as log, held_lock(directory):
        with pytest.raises(WriterUnavailable, match=r"pid 7.*; try again") as caught:
            log.lookup(CallKey(b"k" * 16), timeout=0.05)
        assert type(caught.value) is WriterUnavailable
        assert caught.value.was_sent


def test_a_call_whose_writer_has_ended_waits_no_longer(directory: Path) -> None:
    asked = threading.Event()

    def answer(_verb: str, _arguments: list[Any]) -> None:
        lock.close()  # and the lock with it
        asked.set()

    with answered_by(directory, answer) as log:
        lock = ExitStack()
        lock.enter_context(held_lock(directory, run_id="a1"))
        with pytest.raises(AckTimeout, match="ended during the call of 'thing': the outcome is u"):
            log.call("thing", timeout=60)
        assert asked.is_set()


def test_a_call_whose_writer_was_followed_by_another_is_not_sent_to_that(directory: Path) -> None:
    asked = []

    def answer(verb: str, _arguments: list[Any]) -> None:
        asked.append(verb)
        (directory / "writer.lock").write_text('{"pid": 8}')  # it is about to say its run

    def is_followed() -> None:
        wait_until(lambda: asked, "the first writer is asked")
        (directory / "writer.lock").write_text('{"pid": 8, "run_id": "b2"}')

    with (
        answered_by(directory, answer) as log,
        held_lock(directory, run_id="a1"),
        ThreadPoolExecutor(1) as pool,
    ):
        follower = pool.submit(is_followed)
        with pytest.raises(AckTimeout, match="ended during the call") as caught:
            log.call("thing", timeout=60)
        follower.result()
        assert isinstance(caught.value.key, CallKey)
    assert asked == ["call"]


def test_an_answer_that_the_writer_sent_before_it_ended_is_heard(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requester, "LOOK_MS", 0)  # it looks before the answer is there
    monkeypatch.setattr(LocalWriter, "has_ended", lambda *_: True)
    monkeypatch.setattr(requester, "LAST_WORDS_MS", 10_000)
    with answered_by(directory, committed(7)) as log:
        assert log.call("thing") == 7


def test_a_slow_writer_is_waited_for(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requester, "LOOK_MS", 1)
    looks: list[Any] = []

    def look(writer: LocalWriter, run_id: str | None) -> bool:
        looks.append((writer.directory, run_id))
        return has_ended(writer, run_id)

    has_ended = LocalWriter.has_ended
    monkeypatch.setattr(LocalWriter, "has_ended", look)

    def answer(verb: str, arguments: list[Any]) -> bytes | None:
        wait_until(lambda: len(looks) > 3, "the caller has looked for the writer")
        return committed(7)(verb, arguments)

    with answered_by(directory, answer) as log, held_lock(directory, run_id="a1"):
        assert log.call("thing", timeout=60) == 7
    assert looks[0] == (directory, "a1")


def test_a_call_that_is_not_answered_has_a_key_that_settles_it(directory: Path) -> None:
    asked: list[Any] = []

    def answer(verb: str, arguments: list[Any]) -> bytes | None:
        asked.append(arguments[0])
        if verb == "call":
            return None
        return wire.pack_reply(verb, wire.CallReply(wire.COMMITTED, calls.pack_value("it", 7)))

    with answered_by(directory, answer) as log:
        with pytest.raises(AckTimeout, match="outcome is unknown; settle it with lookup") as caught:
            log.call("thing", timeout=0.2)
        key = caught.value.key
        assert isinstance(key, CallKey)
        assert log.lookup(key) == ("committed", 7, None, key)
    assert asked == [key, key]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (wire.CallReply(wire.REJECTED, "because"), ("rejected", None, "because")),
        (wire.CallReply(wire.QUEUED, None), ("queued", None, None)),
        (wire.CallReply(wire.UNKNOWN, None), ("unknown", None, None)),
    ],
)
def test_a_lookup_says_what_the_writer_says(
    directory: Path, reply: wire.CallReply, outcome: tuple[Any, ...]
) -> None:
    key = CallKey(b"k" * 16)
    with answered_by(directory, lambda verb, _arguments: wire.pack_reply(verb, reply)) as log:
        assert log.lookup(key) == (*outcome, key)


def test_a_call_that_nobody_was_asked_about_is_not_unknown(directory: Path) -> None:
    with AuditLog(directory) as log, pytest.raises(WriterUnavailable):  # best effort or not
        log.lookup(CallKey(b"k" * 16), timeout=0.05)


def test_a_key_that_is_none_is_refused(directory: Path) -> None:
    with (
        AuditLog(directory) as log,
        pytest.raises(InvalidEvent, match="a CallKey, so 16 bytes"),
    ):
        log.lookup(CallKey(b"short"))


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        ["committed"],
        ["committed", "text"],
        ["committed", b"\xc1"],
        ["odd", None],
        [{}, 1],
    ],
)
def test_an_answer_that_makes_no_sense_leaves_the_outcome_unknown(
    directory: Path, content: Any
) -> None:
    def answer(verb: str, _arguments: list[Any]) -> bytes:
        return wire.pack_reply(verb, content)

    with answered_by(directory, answer) as log:
        with pytest.raises(AckTimeout, match="was not answered") as caught:
            log.call("thing")
        assert len(caught.value.key) == 16


def test_a_writer_that_knows_no_calls_is_of_another_release(directory: Path) -> None:
    def answer(verb: str, _arguments: list[Any]) -> bytes:
        return wire.pack_error(f"{verb!r} is no verb of wire version 1")

    with answered_by(directory, answer) as log, pytest.raises(ProtocolMismatch, match="install"):
        log.call("thing")


def test_a_timeout_keeps_its_key_between_processes() -> None:
    error = AckTimeout("why")
    error.key = CallKey(b"k" * 16)
    assert pickle.loads(pickle.dumps(error)).key == CallKey(b"k" * 16)
    assert AckTimeout("why").key is None
