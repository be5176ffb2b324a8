"""Go-back-N: what is sent when, what an answer changes, and that nothing is lost on the way."""

import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard import directory as layout
from hansard import wire
from hansard.complaints import Complaints
from hansard.errors import ProtocolMismatch
from hansard.producer import Producer
from hansard.settings import SPOOL_BYTES_MIN, Settings
from hansard.source import Source
from hansard.transmission import CALM_S, Transmission, Verdict
from hansard.wire.values import pack

LOG, OTHER_LOG = b"L" * 16, b"M" * 16
RUN, OTHER_RUN = b"r" * 16, b"s" * 16
HOUR = 3_600.0


class Client:
    """A producer and its conversation, and answers to it that are made by hand."""

    def __init__(self, directory: Path, source: Source | None = None, **settings: Any) -> None:
        layout.prepare_for_client(directory)
        chosen = Settings(**({"spool_bytes": SPOOL_BYTES_MIN, "on_full": "drop"} | settings))
        complaints = Complaints()
        self.producer = Producer(directory, chosen, complaints, lambda: None, source)
        self.transmission = Transmission(self.producer, complaints)
        self.greeting = self.transmission.greeting()  # no answer comes before it
        self.recorded = b""

    def record(self, count: int = 1) -> None:
        for _ in range(count):
            data = b"<%d>" % (self.producer.seq + 1)
            self.recorded += data
            self.producer.append(data)

    def crc(self, watermark: int) -> int:
        return zlib.crc32(b"".join(b"<%d>" % (number + 1) for number in range(watermark)))

    def welcome(self, watermark: int = 0, **changes: Any) -> Verdict:
        fields = {
            "log_id": LOG,
            "run_id": RUN,
            "epoch": 1,
            "watermark": watermark,
            "crc": self.crc(watermark),
            "dropped": 0,
            "refusals": wire.Refusals(),
            "limits": {},
        } | changes
        reply = wire.pack_reply("hello", wire.Welcome(**fields))
        return self.transmission.on_reply(reply, 0.0)

    def ack(self, watermark: int, now: float = 0.0, **changes: Any) -> Verdict:
        fields = {
            "status": wire.COMMITTED,
            "run_id": RUN,
            "watermark": watermark,
            "crc": self.crc(watermark),
            "dropped": 0,
            "outcomes_to": watermark,
            "duplicates": 0,
            "refusals": wire.Refusals(),
            "runs": [],
            "dead": [],
            "notices": [],
        } | changes
        return self.transmission.on_reply(wire.pack_reply("wait", wire.Ack(**fields)), now)

    def asked(self) -> wire.Frame:
        """The events that it asks about now."""
        verb, arguments = wire.unpack_request(self.transmission.greeting())
        assert verb == "compare"
        return wire.compare_of(arguments)

    def compared(self, watermark: int, **changes: Any) -> Verdict:
        """The log has what was asked about up to a number."""
        fields = {
            "status": wire.COMMITTED,
            "run_id": RUN,
            "watermark": watermark,
            "crc": self.crc(watermark),
            "dropped": 0,
            "outcomes_to": watermark,
            "duplicates": 0,
            "refusals": wire.Refusals(),
            "runs": [],
            "dead": [],
            "notices": [],
        } | changes
        return self.transmission.on_reply(wire.pack_reply("compare", wire.Ack(**fields)), 0.0)

    def push_all(self) -> list[tuple[int, int]]:
        """Push all that is to be pushed: first number and count of each frame."""
        pushed = []
        while (frame := self.transmission.next_frame()) is not None:
            self.transmission.pushed(frame)
            pushed.append((frame.first_seq, frame.event_count))
        return pushed

    def wait(self, now: float = 0.0) -> wire.Wait | None:
        """The wait that is due now."""
        message = self.transmission.next_wait(now)
        if message is None:
            return None
        verb, arguments = wire.unpack_request(message)
        assert verb == "wait"
        return wire.wait_of(arguments)


@pytest.fixture
def make(directory: Path) -> Iterator[Callable[..., Client]]:
    """Makes clients of the test's directory, and closes them at its end."""
    made: list[Client] = []

    def make(source: Source | None = None, **settings: Any) -> Client:
        made.append(Client(directory, source, **settings))
        return made[-1]

    yield make
    for client in made:
        client.producer.close()


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()


# --- before the first answer ---


def test_nothing_is_pushed_or_asked_before_the_hello_is_answered(client: Client) -> None:
    client.record(3)
    client.producer.ticket(3, wants_outcome=True)
    assert not client.transmission.has_frame()
    assert client.transmission.next_frame() is None
    assert client.wait(HOUR) is None
    assert client.transmission.wakes_at(0.0) is None
    client.welcome()
    assert client.push_all() == [(1, 3)]
    assert client.wait() is not None


def test_the_greeting_is_a_hello(client: Client) -> None:
    verb, arguments = wire.unpack_request(client.greeting)
    hello = wire.hello_of(arguments)
    assert (verb, hello.producer_id) == ("hello", client.producer.producer_id)
    assert (hello.first_seq, hello.crc_before, hello.log_id) == (1, 0, None)


def test_who_begins_anew_waits_for_an_answer_anew(client: Client) -> None:
    client.record()
    client.welcome()
    client.transmission.begin()
    assert client.transmission.next_frame() is None
    assert client.wait() is None


# --- frames ---


def test_every_event_is_pushed_once_and_in_order(client: Client) -> None:
    client.welcome()
    client.record(2_500)
    assert client.push_all() == [(first, 250) for first in range(1, 2_500, 250)]
    assert client.push_all() == []
    client.record(1)
    assert client.push_all() == [(2_501, 1)]
    assert client.transmission.resent == 0


def test_a_frame_that_did_not_go_out_is_the_next_one_again(client: Client) -> None:
    client.welcome()
    client.record(2)
    assert client.transmission.next_frame() == client.transmission.next_frame()


def test_what_the_log_has_is_not_pushed(client: Client) -> None:
    client.record(5)
    assert client.welcome(3) is Verdict.GO_ON
    assert client.push_all() == [(4, 2)]
    assert client.producer.waiting == 2


def test_no_clock_sends_a_frame_again(client: Client) -> None:
    client.welcome()
    client.record(3)
    client.push_all()
    for hour in range(100):
        assert client.wait(hour * HOUR) is not None
        assert client.push_all() == []
        if hour % 2:
            client.ack(0, now=hour * HOUR, status=wire.PENDING)
        else:
            client.transmission.ask_again()
    assert client.transmission.resent == 0


def test_drops_are_told_once_a_conversation(make: Callable[..., Client]) -> None:
    client = make(queue_maxsize=1)
    client.welcome()
    client.record()
    client.push_all()
    client.producer.append(b"dropped")
    assert client.push_all() == [(2, 0)]
    assert client.push_all() == []
    assert client.wait() is not None, "that it arrived is not known yet"
    client.transmission.begin()
    client.welcome()
    assert client.push_all() == [(1, 1)], "told by the frame that is sent again"
    client.wait()
    client.ack(1, dropped=1)
    assert not client.producer.has_work
    assert client.wait(HOUR) is None


# --- waits ---


def test_one_wait_is_outstanding(client: Client) -> None:
    client.welcome()
    client.record(3)
    client.push_all()
    wait = client.wait()
    assert wait == wire.Wait(
        client.producer.producer_id,
        from_seq=0,
        target_seq=3,
        seen_seq=0,
        dropped=0,
        urgent=False,
        report=wire.Report(3, client.producer.spool_bytes, resent=0, send_failures=0),
    )
    client.record(2)
    client.push_all()
    assert client.wait(HOUR) is None
    client.ack(3, now=10.0)
    wait = client.wait(10.0 + CALM_S)
    assert wait is not None
    assert wait.target_seq == 5


def test_nothing_is_asked_when_all_is_committed(client: Client) -> None:
    client.welcome()
    assert client.wait(HOUR) is None
    client.record()
    client.push_all()
    client.wait()
    client.ack(1)
    assert client.wait(HOUR) is None
    assert client.transmission.wakes_at(HOUR) is None


def test_waits_that_nobody_hurries_are_apart(client: Client) -> None:
    client.welcome()
    client.record(2)
    client.push_all()
    client.wait(5.0)
    client.ack(1, now=5.0)
    assert client.wait(5.0 + CALM_S / 2) is None
    assert client.transmission.wakes_at(5.0) == 5.0 + CALM_S
    assert client.wait(5.0 + CALM_S) is not None
    assert client.transmission.wakes_at(HOUR) is None


def test_a_caller_who_waits_overtakes_a_wait_that_nobody_hurries(client: Client) -> None:
    client.welcome()
    client.record(2)
    client.push_all()
    calm = client.wait()
    assert calm is not None
    assert not calm.urgent
    client.producer.ticket(2, wants_outcome=True)
    wait = client.wait()
    assert wait is not None
    assert (wait.urgent, wait.from_seq, wait.target_seq) == (True, 2, 2)
    client.producer.ticket(1, wants_outcome=True)
    assert client.wait(HOUR) is None, "two who hurry do not overtake each other"


UNDERSTOOD = {wire.URGENT_FRAMES: 1}


def marks(client: Client) -> list[bool]:
    """Push all that is to be pushed: which frames are urgent."""
    marks = []
    while (frame := client.transmission.next_frame()) is not None:
        client.transmission.pushed(frame)
        marks.append(frame.urgent)
    return marks


def test_the_last_frame_is_urgent_where_an_urgent_wait_follows_it(client: Client) -> None:
    client.welcome(limits=UNDERSTOOD)
    client.record()
    assert marks(client) == [False], "nobody waits"
    client.record(wire.FRAME_EVENTS_CUT + 1)
    client.producer.ticket(client.producer.seq, wants_outcome=True)
    assert marks(client) == [False, True], "one commit is for all of them"
    wait = client.wait()
    assert wait
    assert wait.urgent
    client.record()
    assert marks(client) == [False], "its wait comes behind an answer: they are committed together"


def test_a_writer_that_does_not_understand_urgent_frames_gets_none(client: Client) -> None:
    client.welcome()
    client.record()
    client.producer.ticket(1, wants_outcome=True)
    assert marks(client) == [False]
    client.transmission.begin()
    client.welcome(limits=UNDERSTOOD)
    assert marks(client) == [True]
    client.transmission.begin()
    client.welcome(limits={})
    assert marks(client) == [False], "another writer"


def test_a_caller_does_not_wait_for_the_calm_to_end(client: Client) -> None:
    client.welcome()
    client.record(2)
    client.push_all()
    client.wait()
    client.ack(1)
    client.producer.ticket(2, wants_outcome=False)
    assert client.wait() is not None
    client.ack(2)
    client.record()
    client.push_all()
    assert client.wait(CALM_S) is not None


def test_an_answer_gives_the_caller_its_id(client: Client) -> None:
    client.welcome()
    client.record(2)
    ticket = client.producer.ticket(2, wants_outcome=True)
    client.push_all()
    client.wait()
    client.ack(2, runs=[(1, 2, 70)])
    assert ticket.wait(0)
    assert (ticket.status, ticket.id) == ("committed", 71)


def test_a_pending_answer_is_asked_again_at_once_for_who_waits(client: Client) -> None:
    client.welcome()
    client.record()
    ticket = client.producer.ticket(1, wants_outcome=True)
    client.push_all()
    for _ in range(3):
        assert client.wait() is not None
        client.ack(0, status=wire.PENDING)
    assert not ticket.wait(0)
    assert client.push_all() == []


@pytest.mark.parametrize("from_seq", [0, 2])
def test_an_answer_says_nothing_of_who_came_after_the_question(
    client: Client, from_seq: int
) -> None:
    client.welcome()
    client.record(2)
    client.push_all()
    if from_seq:
        client.producer.ticket(from_seq, wants_outcome=True)
    wait = client.wait()
    assert wait is not None
    assert wait.from_seq == from_seq
    ticket = client.producer.ticket(1, wants_outcome=True)  # its thread was not quicker
    client.ack(2, runs=[(2, 1, 71)] if from_seq else [])
    assert ticket.status != "rejected", "its event is committed, with an id of its own"
    wait = client.wait()
    assert wait is not None
    assert wait.from_seq == 1
    client.ack(2, runs=[(1, 1, 50), (2, 1, 71)])
    assert (ticket.wait(0), ticket.id) == (True, 50)


def test_an_answer_that_was_overtaken_changes_nothing(client: Client) -> None:
    client.welcome()
    client.record(2)
    client.push_all()
    assert client.ack(2) is Verdict.GO_ON
    assert client.producer.acked == 0


def test_a_question_asked_again_is_the_same_question(client: Client) -> None:
    client.welcome()
    client.record()
    client.push_all()
    first = client.wait()
    client.transmission.ask_again()
    assert client.wait() == first


# --- sending again ---


def test_a_resume_sends_again_from_where_the_log_is(client: Client) -> None:
    client.welcome()
    client.record(5)
    client.push_all()
    client.wait()
    assert client.ack(2, status=wire.RESUME) is Verdict.GO_ON
    assert client.push_all() == [(3, 3)]
    assert client.transmission.resent == 3
    assert client.wait() is not None
    assert client.push_all() == []


def test_only_what_was_pushed_before_counts_as_resent(client: Client) -> None:
    client.welcome()
    client.record(2)
    client.push_all()
    client.record(3)
    client.wait()
    client.ack(1, status=wire.RESUME)
    assert client.push_all() == [(2, 4)]
    assert client.transmission.resent == 1


def test_what_is_committed_after_a_resume_is_not_sent_again(client: Client) -> None:
    client.welcome()
    client.record(6)
    client.push_all()
    client.wait()
    client.ack(2, status=wire.RESUME)
    client.wait()  # the pipe is full: nothing was pushed in between
    client.ack(5)  # and what was in it has arrived
    assert client.push_all() == [(6, 1)]


def test_a_lost_connection_sends_again_what_is_not_committed(client: Client) -> None:
    client.welcome()
    client.record(5)
    client.push_all()
    client.transmission.begin()
    client.welcome(4)
    assert client.transmission.statistics()["queue_depth"] == 1
    assert client.push_all() == [(5, 1)]
    assert client.transmission.statistics() == {
        "queue_depth": 0,
        "resent": 1,
        "duplicates_dropped": 0,
        "send_failures": 0,
        "writer_restarts": 0,
        "suspended": False,
    }


def test_an_answer_from_another_run_is_a_reason_to_greet_again(client: Client) -> None:
    client.welcome()
    client.record(3)
    client.push_all()
    client.wait()
    assert client.ack(3, run_id=OTHER_RUN) is Verdict.GREET_AGAIN
    assert client.producer.acked == 0, "what another run says is heard from its welcome only"
    client.transmission.begin()
    assert client.welcome(1, run_id=OTHER_RUN) is Verdict.GO_ON
    assert client.transmission.writer_restarts == 1
    assert client.push_all() == [(2, 2)]
    client.wait()
    assert client.ack(3, run_id=OTHER_RUN) is Verdict.GO_ON
    assert client.producer.waiting == 0


def test_the_same_run_met_again_is_no_restart(client: Client) -> None:
    for _ in range(3):
        client.transmission.begin()
        client.welcome()
    assert client.transmission.writer_restarts == 0


# --- what was refused, and what was there already ---


def exchange(client: Client, watermark: int, **changes: Any) -> wire.Wait:
    """A wait, and its answer."""
    client.push_all()
    wait = client.wait()
    assert wait is not None
    assert client.ack(watermark, -HOUR, **changes) is Verdict.GO_ON
    return wait


def test_a_wait_says_what_is_known_to_be_committed_and_how_the_producer_is_doing(
    client: Client,
) -> None:
    client.welcome()
    client.record(5)
    assert exchange(client, 3).seen_seq == 0
    client.transmission.send_failures = 2
    client.transmission.resent = 4
    client.push_all()
    wait = client.wait()
    assert wait is not None
    assert wait.seen_seq == 3
    assert wait.report == wire.Report(5, client.producer.spool_bytes, resent=4, send_failures=2)
    assert client.producer.spool_bytes > 0


def test_what_the_log_refused_is_counted(client: Client) -> None:
    client.welcome()
    client.record(5)
    exchange(client, 4, refusals=wire.Refusals(3, 1, 2))
    figures = client.producer.statistics()
    assert (figures["appended"], figures["dead_lettered"], figures["orphaned"]) == (2, 2, 2)
    client.transmission.begin()
    client.welcome(5, refusals=wire.Refusals(3, 3, 0))
    figures = client.producer.statistics()
    assert (figures["appended"], figures["dead_lettered"], figures["orphaned"]) == (5, 0, 0)
    assert figures["append_failures"] == 3


def test_what_was_refused_before_the_first_welcome_is_not_counted(client: Client) -> None:
    client.welcome(refusals=wire.Refusals(7, 1, 2))
    client.record(2)
    exchange(client, 2, refusals=wire.Refusals(8, 1, 2))
    assert client.producer.statistics()["append_failures"] == 1


def test_duplicates_that_the_writer_dropped_are_counted_once(client: Client) -> None:
    client.welcome()
    client.record(3)
    for watermark, duplicates in ((1, 2), (2, 2), (2, 5)):
        exchange(client, watermark, duplicates=duplicates)
    assert client.transmission.statistics()["duplicates_dropped"] == 5


def test_duplicates_are_counted_anew_by_another_run_of_the_writer(client: Client) -> None:
    client.welcome()
    client.record(3)
    exchange(client, 1, duplicates=2)
    client.transmission.begin()
    client.welcome(1, run_id=OTHER_RUN)
    exchange(client, 2, duplicates=1, run_id=OTHER_RUN)
    assert client.transmission.statistics()["duplicates_dropped"] == 3


def test_duplicates_are_counted_once_however_often_the_same_run_is_greeted(client: Client) -> None:
    client.welcome()
    client.record(3)
    exchange(client, 1, duplicates=2)
    client.transmission.begin()
    client.welcome(1)
    exchange(client, 2, duplicates=2)
    assert client.transmission.statistics()["duplicates_dropped"] == 2


def test_a_writer_that_takes_nothing_in_is_warned_of_with_its_reason(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.welcome()
    client.record(3)
    client.push_all()
    for _ in range(5):
        exchange(client, 0, status=wire.PENDING, suspended="the disk is full: make room on it")
    assert client.transmission.statistics()["suspended"]
    (said,) = (each.message for each in caplog.records)
    assert said == (
        "the writer takes nothing in: the disk is full: make room on it; events wait here "
        "(3 events so far), and go on by themselves"
    )
    exchange(client, 3)
    assert not client.transmission.statistics()["suspended"]


def test_a_welcome_says_so_too_and_a_new_conversation_begins_without(client: Client) -> None:
    client.welcome(suspended="the disk is full")
    assert client.transmission.statistics()["suspended"]
    client.transmission.begin()
    assert not client.transmission.statistics()["suspended"]


def test_who_has_nothing_to_enter_is_not_warned(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.welcome(suspended="the disk is full")
    assert caplog.records == []


def notice(seq: int, reason: str = "invalid", event_type: str = "task.done") -> wire.Notice:
    return wire.Notice(seq, reason, event_type, "why")


def test_a_refused_event_that_nobody_waits_for_is_warned_of(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.welcome()
    client.record(3)
    orphan = wire.Notice(2, wire.ORPHAN, "step.done", "task 'T1' is not registered")
    exchange(client, 3, notices=[notice(1), orphan])
    assert caplog.messages == [
        "task.done event was refused: why; see `hansard dlq list`",
        (
            "a 'step.done' event is an orphan: task 'T1' is not registered; "
            "it is entered when register_task() makes it known"
        ),
    ]


def test_who_waits_for_a_refused_event_learns_it_without_a_warning(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.welcome()
    client.record(2)
    ticket = client.producer.ticket(2, wants_outcome=True)
    exchange(client, 2, dead=[(2, 1, "invalid", "bad")], notices=[notice(2)])
    assert (ticket.wait(0), ticket.status, ticket.reason) == (True, "rejected", "bad")
    assert caplog.messages == []


# --- another log, another one with this id ---


def test_a_log_that_was_replaced_is_left(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.welcome()
    client.record(3)
    client.push_all()
    old_id = client.producer.producer_id
    client.transmission.begin()
    assert client.welcome(log_id=OTHER_LOG) is Verdict.GREET_AGAIN
    assert not client.transmission.welcomed
    assert client.producer.producer_id != old_id
    assert client.producer.accounts.dropped == {"set_aside": 3}
    assert any(OTHER_LOG.hex() in message for message in caplog.messages)
    client.transmission.begin()
    assert client.welcome(log_id=OTHER_LOG) is Verdict.GO_ON
    assert client.push_all() == []
    client.producer.append(b"<1>")
    assert client.push_all() == [(1, 1)]
    assert client.transmission.resent == 0


@pytest.mark.parametrize(("watermark", "crc"), [(2, 1), (4, 0)], ids=["other crc", "ahead"])
@pytest.mark.parametrize("by", ["welcome", "ack"])
def test_a_twin_is_left_its_numbers(
    client: Client, by: str, watermark: int, crc: int, caplog: pytest.LogCaptureFixture
) -> None:
    client.record(3)
    old_id = client.producer.producer_id
    if by == "welcome":
        verdict = client.welcome(watermark, crc=crc)
    else:
        client.welcome()
        client.push_all()
        client.wait()
        verdict = client.ack(watermark, crc=crc)
    assert verdict is Verdict.ASK
    assert client.push_all() == []
    assert client.wait() is None
    assert client.asked()[:4] == (old_id, 1, 3, 0)
    assert client.compared(0) is Verdict.GREET_AGAIN
    assert client.producer.producer_id != old_id
    assert any("copied machine image" in message for message in caplog.messages)
    client.transmission.begin()
    client.welcome()
    assert client.push_all() == [(1, 3)]
    assert client.transmission.resent == 0, "under another id it was never sent"
    client.wait()
    client.ack(3)
    assert client.producer.waiting == 0


def test_what_a_twin_has_sent_is_freed_and_the_rest_renumbered(client: Client) -> None:
    client.record(700)
    old_id = client.producer.producer_id
    assert client.welcome(800, crc=1) is Verdict.ASK
    tickets = [client.producer.ticket(seq, wants_outcome=True) for seq in (1, 2, 600)]
    assert client.asked()[:4] == (old_id, 1, 250, 0)
    dead = {"refusals": wire.Refusals(1, 0, 0), "dead": [(2, 1, "invalid", "so")]}
    assert client.compared(250, runs=[(1, 1, 71)], **dead) is Verdict.ASK
    assert [(t.status, t.id) for t in tickets[:2]] == [("committed", 71), ("rejected", None)]
    assert client.asked()[:4] == (old_id, 251, 250, client.crc(250))
    assert client.compared(400) is Verdict.GREET_AGAIN
    assert client.producer.producer_id != old_id
    client.transmission.begin()
    client.welcome()
    assert client.push_all() == [(1, 250), (251, 50)]
    figures = client.producer.statistics()
    assert (figures["appended"], figures["dead_lettered"], figures["waiting"]) == (399, 1, 300)
    assert tickets[2].seq == 200


def test_where_all_is_a_twins_too_nothing_is_sent_again(client: Client) -> None:
    client.record(3)
    client.welcome(4, crc=1)
    assert client.compared(3) is Verdict.GREET_AGAIN
    assert client.producer.waiting == 0
    assert client.producer.committed == 3
    assert client.producer.seq == 0


def test_a_producer_that_holds_nothing_takes_leave_at_once(client: Client) -> None:
    client.producer.hello()
    assert client.welcome(4, crc=1) is Verdict.GREET_AGAIN


def test_another_s_events_are_not_taken_for_its_own(client: Client) -> None:
    client.record(3)
    client.welcome(4, crc=1)
    assert client.compared(2, crc=7) is Verdict.GREET_AGAIN
    assert (client.producer.committed, client.producer.waiting) == (0, 3)


def test_what_another_run_says_of_a_twin_counts_for_nothing(client: Client) -> None:
    client.record(3)
    client.welcome(4, crc=1)
    old_id = client.producer.producer_id
    assert client.compared(3, run_id=OTHER_RUN) is Verdict.GREET_AGAIN
    assert client.producer.waiting == 3
    assert client.producer.producer_id == old_id
    client.transmission.begin()
    assert client.welcome(4, crc=1, run_id=OTHER_RUN) is Verdict.ASK


def test_a_late_comparison_is_passed_over(client: Client) -> None:
    client.record(3)
    client.welcome()
    assert client.compared(3) is Verdict.GO_ON
    assert client.producer.waiting == 3


def test_a_source_takes_over_what_another_has_sent(make: Callable[..., Client]) -> None:
    client = make(Source(b"s" * 16))
    client.record(5)
    assert client.welcome(3, crc=99) is Verdict.GREET_AGAIN
    client.transmission.begin()
    _, arguments = wire.unpack_request(client.transmission.greeting())
    assert wire.hello_of(arguments)[:3] == (b"s" * 16, 4, 99)
    assert client.welcome(3, crc=99) is Verdict.GO_ON
    assert client.push_all() == [(4, 2)]


# --- answers that refuse, or make no sense ---


def test_a_refusal_is_said_counted_and_greeted_again(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.welcome()
    assert client.transmission.on_reply(wire.pack_error("no"), 0.0) is Verdict.GREET_AGAIN
    assert caplog.messages == ["the writer refused: no"]
    assert client.transmission.send_failures == 1


def test_another_wire_version_is_a_mismatch(client: Client) -> None:
    with pytest.raises(ProtocolMismatch):
        client.transmission.on_reply(pack((2, "hello", ())), 0.0)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        pack((1, "hello", ())),
        pack((1, "hello", None)),
        pack((1, "hello", (LOG,))),
        pack((1, "wait", ())),
        pack((1, "wait", {"status": "committed"})),
        pack((1, "wait", 7)),
    ],
    ids=range(8),
)
def test_an_answer_that_makes_no_sense_does_not_end_the_sender(
    client: Client, message: bytes
) -> None:
    client.record()
    client.welcome()
    client.push_all()
    client.wait()
    assert client.transmission.on_reply(message, 0.0) is Verdict.GREET_AGAIN
    assert client.producer.waiting == 1


def test_an_answer_to_an_unknown_verb_is_passed_over(client: Client) -> None:
    reply = wire.pack_reply("news", {})
    assert client.transmission.on_reply(reply, 0.0) is Verdict.GO_ON


def test_a_renumbered_producer_asks_what_the_wire_can_say(client: Client) -> None:
    client.record(5)
    client.welcome()
    client.push_all()
    client.producer.ticket(2, wants_outcome=True)
    client.wait()
    client.ack(4, outcomes_to=1)  # its outcome is in the next answer
    client.wait()
    assert client.ack(5, crc=1) is Verdict.ASK  # but a twin has come
    assert client.compared(4) is Verdict.GREET_AGAIN
    client.transmission.begin()
    client.welcome()
    client.push_all()
    client.wait()  # checked as the writer would


# --- all together ---


class Log:
    """The writer's side of the rules: in order, no doubles, no gaps; a kill forgets the batch."""

    def __init__(self) -> None:
        self.run = 1
        self.events: list[bytes] = []
        self.crcs = [0]
        self.committed = 0
        self.gap_at: int | None = None
        self.gap_told = False

    @property
    def run_id(self) -> bytes:
        return b"%016d" % self.run

    def greet(self) -> None:
        self.gap_at, self.gap_told = None, False
        self.committed = len(self.events)

    def kill(self) -> None:
        self.run += 1
        del self.events[self.committed :], self.crcs[self.committed + 1 :]
        self.gap_at, self.gap_told = None, False

    def take(self, frame: wire.Frame) -> None:
        taken = len(self.events)
        if frame.first_seq > taken + 1:
            if self.gap_at != taken:
                self.gap_at, self.gap_told = taken, False
            return
        events = [b"<%d>" % seq for seq in range(frame.first_seq, frame.last_seq + 1)]
        assert frame.body == b"".join(events), "the numbers are not those of the events"
        assert frame.crc_before == self.crcs[frame.first_seq - 1]
        for data in events[taken + 1 - frame.first_seq :]:
            self.events.append(data)
            self.crcs.append(zlib.crc32(data, self.crcs[-1]))
            self.gap_at = None

    def status(self, wait: wire.Wait) -> str:
        self.committed = len(self.events)
        if self.gap_at == self.committed and not self.gap_told:
            self.gap_told = True
            return wire.RESUME
        return wire.COMMITTED if self.committed >= wait.target_seq else wire.PENDING


class Way:
    """Between a client and a log: connections that are cut, and what is still in them."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self.client, self.chance, self.log = client, chance, Log()
        self.now = 0.0
        self.pipes: list[list[wire.Frame]] = [[]]  # the last is the present one
        self.greet()

    def greet(self) -> None:
        """On a new connection; of the old one an end is lost, the rest may still arrive."""
        old = self.pipes[-1]
        del old[self.chance.randint(0, len(old)) :]
        self.pipes.append([])
        self.client.transmission.begin()
        self.log.greet()
        committed = self.log.committed
        verdict = self.client.welcome(
            committed, crc=self.log.crcs[committed], run_id=self.log.run_id
        )
        assert verdict is Verdict.GO_ON

    def record(self) -> None:
        self.client.record(self.chance.randint(1, 5))

    def push(self) -> None:
        frame = self.client.transmission.next_frame()
        if frame is not None:
            self.client.transmission.pushed(frame)
            self.pipes[-1].append(frame)

    def arrive(self) -> None:
        pipe = self.chance.choice(self.pipes)
        if pipe:
            self.log.take(pipe.pop(0))

    def ask(self) -> None:
        self.now += CALM_S
        wait = self.client.wait(self.now)
        if wait is None:
            return
        status, committed = self.log.status(wait), self.log.committed
        verdict = self.client.ack(
            committed,
            self.now,
            status=status,
            crc=self.log.crcs[committed],
            run_id=self.log.run_id,
        )
        if verdict is Verdict.GREET_AGAIN:
            self.greet()

    def kill(self) -> None:
        self.log.kill()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_cut_or_killed_every_event_is_entered_once(client: Client, seed: int) -> None:
    way = Way(client, random.Random(seed))
    usual = [way.record, way.push, way.arrive, way.ask]
    for _ in range(600):
        way.chance.choice(usual * 5 + [way.greet, way.kill])()
    for _ in range(1_000):
        way.chance.choice([way.push, way.arrive, way.ask])()
    assert b"".join(way.log.events) == client.recorded
    assert client.producer.waiting == 0
    assert len(client.recorded) > 500
    assert client.transmission.resent > 0
