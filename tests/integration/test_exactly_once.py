"""Every event is entered exactly once and in order, whatever happens to frames and processes."""

import collections
from pathlib import Path
from typing import Any

import msgpack
import pytest

from hansard import wire
from hansard_writer.intake import Intake
from stepped import Killed, Log, Worker, encode


def greeted(log: Log, name: str = "w") -> Worker:
    """A worker whose hello is answered."""
    worker = log.worker(name)
    log.turn()
    log.turn()
    assert worker.transmission.welcomed or not worker.producer.has_work
    return worker


def send_separately(worker: Worker, frames: int) -> None:
    """One event a frame, all of them on their way."""
    for _ in range(frames):
        worker.record()
        worker.send()


def test_what_is_recorded_is_entered_in_order(log: Log) -> None:
    worker = log.worker()
    worker.record(2_500)
    log.settle()
    log.assert_all_is_in()
    assert worker.producer.committed == 2_500
    assert worker.transmission.resent == 0


def test_no_frame_is_sent_before_the_hello_is_answered(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    worker.send()
    assert not log.link.frames
    log.step()
    worker.hear()
    worker.send()
    assert len(log.link.frames) == 1


def test_a_resent_frame_is_entered_once(log: Log) -> None:
    worker = greeted(log)
    worker.record(5)
    worker.send()
    log.link.frames.extend(list(log.link.frames) * 3)
    log.settle()
    log.assert_all_is_in()
    assert log.writer.figures()["duplicates_dropped"] == 15


def test_a_resent_frame_is_entered_once_when_the_first_is_committed(log: Log) -> None:
    worker = greeted(log)
    worker.record(5)
    worker.send()
    copy = list(log.link.frames)
    log.settle()
    log.link.frames.extend(copy)
    log.pass_time(1)
    log.turn()
    log.assert_all_is_in()


def test_a_lost_frame_is_resent_after_resume_at(log: Log) -> None:
    worker = greeted(log)
    send_separately(worker, 5)
    del log.link.frames[1]
    log.settle()
    log.assert_all_is_in()
    assert worker.transmission.resent == 4  # from the gap on, and nothing before it


def test_a_gap_is_told_once_however_many_frames_lie_behind_it(log: Log) -> None:
    worker = greeted(log)
    send_separately(worker, 4)
    del log.link.frames[0]
    behind_the_gap = list(log.link.frames)
    told = []
    for _ in range(20):
        log.step()
        told += [ack.watermark for ack in worker.hear() if ack.status == wire.RESUME]
        worker.send()
        if len(told) == 1 and behind_the_gap:  # stragglers, from before the resume
            log.link.frames.extendleft(reversed(behind_the_gap))
            behind_the_gap = []
        log.pass_time(0.05)
    assert told == [0]
    log.settle()
    log.assert_all_is_in()
    assert worker.transmission.resent == 4


def test_two_gaps_are_told_each(log: Log) -> None:
    worker = greeted(log)
    for _ in range(2):
        send_separately(worker, 3)
        log.link.frames.popleft()
        log.settle()
    log.assert_all_is_in()
    assert log.writer.figures()["gaps"] == 4


def test_a_frame_that_is_lost_again_when_it_is_resent_is_resent_again(log: Log) -> None:
    worker = greeted(log)
    send_separately(worker, 3)
    log.link.frames.popleft()
    log.step()
    worker.hear()  # resume
    worker.send()
    assert worker.transmission.resent == 3
    log.link.frames.clear()
    worker.record(2)
    log.settle()
    log.assert_all_is_in()


def test_a_resume_whose_answer_is_overtaken_by_a_hurried_wait_is_not_forgotten(log: Log) -> None:
    worker = greeted(log)
    send_separately(worker, 3)
    log.link.frames.popleft()
    log.pass_time(1)
    log.step()  # the answer is on its way: resume
    assert log.link.replies
    ticket = worker.ticket(1)
    worker.send()  # a caller waits: REQ gives up the request before
    log.settle()
    assert ticket.id == 1
    log.assert_all_is_in()


def test_a_resume_that_was_lost_is_told_again_where_a_late_frame_closed_part_of_the_gap(
    log: Log,
) -> None:
    worker = greeted(log)
    send_separately(worker, 4)
    late = log.link.frames.popleft()
    log.link.frames.popleft()
    log.pass_time(1)
    log.step()  # the answer is on its way: resume at 1
    log.link.replies.clear()
    worker.transmission.ask_again()
    log.link.frames.append(late)
    log.settle()
    log.assert_all_is_in()


def test_the_last_frame_of_all_is_resent_when_the_connection_was_lost_with_it(log: Log) -> None:
    worker = greeted(log)
    send_separately(worker, 3)
    log.link.frames.pop()
    log.turn()
    log.disconnect()
    log.settle()
    log.assert_all_is_in()


def test_a_frame_that_overlaps_the_watermark_is_entered_from_the_new_part_on(log: Log) -> None:
    worker = greeted(log)
    worker.record(3)
    worker.send()
    log.turn()
    worker.record(4)
    worker.transmission.begin()
    worker.transmission.welcomed = True  # it sends all seven again, in one frame
    worker.producer.acknowledge = lambda *_: True  # type: ignore[method-assign]
    log.link.replies.clear()
    frame = worker.producer.frame(worker.producer.acked + 1)
    assert frame is not None
    assert frame.event_count == 7
    log.link.frames.append([wire.pack_header(frame), frame.body])
    log.step()
    log.pass_time(1)
    log.step()
    assert log.entered("w") == [1, 2, 3, 4, 5, 6, 7]
    assert log.store is not None
    assert log.query("SELECT watermark, crc FROM producers WHERE watermark = 7") == [
        (7, worker.producer._crc)
    ]


def test_frames_that_arrive_in_another_order_are_entered_in_theirs(log: Log) -> None:
    worker = greeted(log)
    send_separately(worker, 6)
    log.link.frames.reverse()
    log.settle()
    log.assert_all_is_in()


def test_workers_share_batches_and_keep_their_own_order(log: Log) -> None:
    workers = [log.worker(f"w{number}") for number in range(5)]
    for _ in range(10):
        for worker in workers:
            worker.record(3)
        log.turn()
    log.settle()
    log.assert_all_is_in()
    assert log.query("SELECT count(*) FROM entries") == [(150,)]


def test_a_new_run_makes_the_producer_greet_again_and_resend_what_is_uncommitted_only(
    log: Log,
) -> None:
    worker = greeted(log)
    worker.record(10)
    log.settle()
    send_separately(worker, 4)
    log.restart_writer()
    log.settle()
    log.assert_all_is_in()
    assert worker.transmission.resent == 4
    assert worker.transmission.writer_restarts == 1


def test_a_new_run_behind_the_same_connection_is_noticed_by_its_answers(log: Log) -> None:
    """What a stopped process's socket queue does: the connection seems to live on."""
    worker = greeted(log)
    worker.record(2)
    log.settle()
    log.pass_time(1)
    send_separately(worker, 4)
    requests = list(log.link.requests)
    assert requests
    workers, log.workers = log.workers, []
    log.restart_writer()
    log.workers = workers
    log.link.requests.extend(requests)
    log.settle()
    log.assert_all_is_in()
    assert worker.transmission.writer_restarts == 1


def test_a_writer_that_was_stopped_has_committed_what_it_read(log: Log) -> None:
    worker = greeted(log)
    send_separately(worker, 3)
    assert log.writer._read_messages(log.now)
    log.stop_writer()
    assert log.entered("w") == [1, 2, 3]
    log.start_writer()
    log.settle()
    assert worker.transmission.resent == 0
    log.assert_all_is_in()


class DiesAt:
    """An exec trace: the process is killed when it comes to its n-th statement."""

    def __init__(self, statements: int) -> None:
        self._left = statements
        self.seen: list[str] = []

    def __call__(self, _cursor: Any, statement: str, _bindings: Any) -> bool:
        if self._left <= 0:
            raise Killed
        self._left -= 1
        self.seen.append(statement)
        return True


def write_until(log: Log, dies: DiesAt) -> bool:
    """Step with a statement that kills; whether the writer lived through it."""
    assert log.store is not None
    log.store._connection.set_exec_trace(dies)
    try:
        log.step()
        log.pass_time(1)
        log.step()
    except Killed:
        return False
    log.store._connection.set_exec_trace(None)
    return True


def test_a_kill_at_any_statement_of_a_commit_leaves_nothing_doubled_or_missing(
    tmp_path: Path,
) -> None:
    lived, at = False, 0
    outcomes: collections.Counter[int] = collections.Counter()
    while not lived:
        log = Log(tmp_path / str(at)).start_writer()
        first, second = greeted(log, "a"), greeted(log, "b")
        first.record(2)
        log.settle()
        first.record(3)
        second.record(2)
        second.producer.append(b"\x90")  # no event: it becomes a dead letter
        first.send()
        second.send()
        lived = write_until(log, DiesAt(at))
        log.kill_writer()
        log.start_writer()
        entries = log.query("SELECT count(*) FROM entries")[0][0]
        watermarks = dict(log.query("SELECT id, watermark FROM producers WHERE id > 0"))
        outcomes[entries] += 1
        assert (entries, sum(watermarks.values())) in {(2, 2), (7, 8)}
        log.settle()
        log.assert_all_is_in()
        assert len(log.dead_letters()) == 1
        log.close()
        at += 1
    assert outcomes[2] > 8, "the commit was one statement after another"
    assert outcomes[7] >= 1


def test_an_answer_is_never_given_before_the_commit(log: Log) -> None:
    worker = greeted(log)
    worker.record(5)
    ticket = worker.ticket(5)
    worker.send()
    order: list[str] = []
    assert log.store is not None

    def trace(_cursor: Any, statement: str, _bindings: Any) -> bool:
        if statement in {"BEGIN IMMEDIATE", "COMMIT"}:
            order.append(statement)
        return True

    log.store._connection.set_exec_trace(trace)
    reply = log.link.reply
    log.link.reply = lambda *answer: (order.append("answer"), reply(*answer))  # type: ignore[assignment,func-returns-value,misc]
    log.step()
    assert order[:3] == ["BEGIN IMMEDIATE", "COMMIT", "answer"]
    worker.hear()
    assert (ticket.status, ticket.id) == ("committed", 5)


def test_an_answer_says_only_what_is_committed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch has more than the database: a wait that is due says what the database has."""
    worker = greeted(log)
    worker.record(2)
    log.settle()
    log.pass_time(1)
    worker.record(3)
    worker.send()
    monkeypatch.setattr(log.writer, "_should_commit", lambda *_: False)
    log.step()
    log.pass_time(0.3)
    log.step()
    (ack,) = worker.hear()
    assert (ack.status, ack.watermark, ack.outcomes_to) == (wire.PENDING, 2, 2)
    assert worker.producer.waiting == 3


def test_a_kill_between_commit_and_answer_doubles_nothing(log: Log) -> None:
    worker = greeted(log)
    worker.record(5)
    ticket = worker.ticket(5)
    worker.send()

    def dies(*_: object) -> None:
        raise Killed

    log.link.reply = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        log.step()
    del log.link.reply  # type: ignore[attr-defined]
    assert log.entered("w") == [1, 2, 3, 4, 5]
    log.restart_writer()
    log.settle()
    log.assert_all_is_in()
    assert ticket.id == 5
    assert worker.transmission.resent == 0


# --- twins ---


@pytest.mark.parametrize("second_events", [1, 3, 5])
@pytest.mark.parametrize("first_events", [1, 3, 5])
def test_of_twins_the_later_goes_on_under_a_new_id_and_both_are_in(
    log: Log, first_events: int, second_events: int
) -> None:
    first, second = log.twins()
    first.record(first_events)
    log.turn()
    second.record(second_events)
    log.settle()
    log.assert_all_is_in()
    assert first.producer.producer_id != second.producer.producer_id
    first.record(3)
    second.record(3)
    log.settle()
    log.assert_all_is_in()


@pytest.mark.parametrize("second_events", [2, 3, 4])
def test_twins_that_are_greeted_before_either_sends_are_both_in(
    log: Log, second_events: int
) -> None:
    first, second = log.twins()
    first.record(3)
    second.record(second_events)
    for worker in (first, second):
        worker.send()
    log.step()
    for worker in (first, second):
        worker.hear()
    assert first.transmission.welcomed
    assert second.transmission.welcomed
    log.settle()
    log.assert_all_is_in()


def test_a_twins_sync_caller_gets_the_id_of_its_own_event(log: Log) -> None:
    first, second = log.twins()
    first.record(3)
    log.settle()
    ticket = second.ticket(second.record(2))
    log.settle()
    assert log.query(
        "SELECT payload ->> 'w', payload ->> 'n' FROM entries WHERE seq = ?", ticket.id
    ) == [("second", 2)]


def settle_only(log: Log, worker: Worker) -> None:
    """All that one worker has is committed before the others have said a word."""
    workers, log.workers = log.workers, [worker]
    for _ in range(100):
        log.turn()
    assert not worker.producer.has_work
    log.workers = workers


def bad_event(level: str) -> bytes:
    """One that becomes a dead letter."""
    data: bytes = msgpack.packb([0, 7, "step.done", level, None, None, "{}"])
    return data


def image(log: Log, events: int, first: int = 1) -> list[list[bytes]]:
    """Events that both of two twins hold, in records of one; they must be in the log once."""
    numbers = list(range(first, first + events))
    log.recorded.setdefault("image", []).extend(numbers)
    return [[encode({"w": "image", "n": number})] for number in numbers]


@pytest.mark.parametrize("common", [1, 3, 249, 250, 251, 2_600])
@pytest.mark.parametrize("has_own", [False, True])
def test_what_twins_hold_in_common_is_entered_once(log: Log, common: int, has_own: bool) -> None:
    """One is heard; the other, greeted only then, has sent nothing yet."""
    first, second = log.twins_of_one_image(*image(log, common))
    first.record(2)
    settle_only(log, first)
    if has_own:
        second.record(3)
    log.settle()
    log.assert_all_is_in()
    assert second.producer.statistics()["appended"] == common + 3 * has_own
    assert first.producer.producer_id != second.producer.producer_id


@pytest.mark.parametrize("committed", [0, 5])
@pytest.mark.parametrize("own", [(1, 1), (3, 1), (1, 3), (0, 1), (600, 500)])
def test_what_twins_hold_in_common_and_both_have_sent_is_entered_once(
    log: Log, committed: int, own: tuple[int, int]
) -> None:
    twins = log.twins_of_one_image(*image(log, committed))
    log.settle()
    for record in image(log, 3, committed + 1):
        for worker in twins:
            worker.record_together(*record)
    for worker, count in zip(twins, own, strict=True):
        if count:
            worker.record(count)
    log.settle()
    log.assert_all_is_in()


def test_a_forged_event_between_commit_and_answer_does_not_double_the_producers_own(
    log: Log,
) -> None:
    worker = greeted(log)
    worker.record(3)
    ticket = worker.ticket(2)
    worker.send()
    frame = worker.producer.frame(1)
    assert frame is not None
    forged = wire.Frame(
        frame.producer_id, 4, 1, worker.producer._crc, wire.Drops(), encode({"w": "thief"})
    )
    log.link.frames.append([wire.pack_header(forged), forged.body])
    worker.record(2)
    log.settle()
    log.assert_all_is_in()
    assert (ticket.status, ticket.id) == ("committed", 2)
    assert len(log.entered("thief")) == 1


def test_a_sync_caller_gets_the_id_of_the_event_that_a_twin_has_sent(log: Log) -> None:
    first, second = log.twins_of_one_image(*image(log, 3))
    first.record()
    settle_only(log, first)
    tickets = [second.ticket(2), second.ticket(second.record())]
    log.settle()
    assert [ticket.id for ticket in tickets] == [2, 5]
    log.assert_all_is_in()


def test_a_dead_letter_that_twins_have_in_common_is_one_and_counted_for_both(log: Log) -> None:
    bad = bad_event("loud")
    twins = log.twins_of_one_image(*image(log, 2), [bad], *image(log, 2, 3))
    for worker in twins:
        worker.record()
    log.settle()
    log.assert_all_is_in()
    assert log.dead_letters() == [(3, 1, "invalid")]
    for worker in twins:
        figures = worker.producer.statistics()
        assert (figures["appended"], figures["dead_lettered"]) == (5, 1)


def test_an_event_at_the_number_of_a_twins_dead_letter_is_not_taken_for_it(log: Log) -> None:
    first, second = log.twins()
    first.producer.append(bad_event("loud"))
    first.record(2)
    second.record(1)
    second.producer.append(bad_event("louder"))
    log.settle()
    log.assert_all_is_in()
    assert [reason for _, _, reason in log.dead_letters()] == ["invalid", "invalid"]


def test_what_is_not_known_to_be_in_the_log_is_not_freed(log: Log) -> None:
    """A dead letter that nobody has kept may be any event, and so may a number that was lost."""
    bad = bad_event("loud")
    first, second = log.twins_of_one_image(*image(log, 1), [bad], [bad])
    first.record()
    settle_only(log, first)
    assert log.ask(wire.DropLetters(0, None, None, False, False))[0] == 2
    log.settle()
    assert len(log.dead_letters()) == 2
    assert second.producer.statistics()["dead_lettered"] == 2
    log.assert_all_is_in()


def test_joined_events_that_twins_hold_in_common_stay_whole(log: Log) -> None:
    joined = [each for (each,) in image(log, 3)]
    twins = log.twins_of_one_image(joined[:1], joined[1:])
    for worker in twins:
        worker.record_together(encode({"w": worker.name, "n": 1}), encode({"w": "both"}))
        log.recorded[worker.name] = [1]
    log.settle()
    log.assert_all_is_in()
    assert len(log.entered("both")) == 2


@pytest.mark.parametrize("turns", range(12))
def test_a_writer_that_is_killed_while_twins_part_doubles_nothing(log: Log, turns: int) -> None:
    twins = log.twins_of_one_image(*image(log, 600))
    for worker in twins:
        worker.record(2)
    for _ in range(turns):
        log.turn()
    log.restart_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_third_twin_is_told_of_its_own_events(log: Log) -> None:
    with_more = image(log, 4)
    first, second = log.twins_of_one_image(*with_more)
    third, fourth = log.twins_of_one_image(*with_more[:2])
    for number, worker in enumerate((first, second, third, fourth)):
        worker.name = f"twin{number}"
        worker.record(2)
    log.settle()
    log.assert_all_is_in()


def test_a_forger_who_knows_the_id_cannot_make_the_producers_events_disappear(log: Log) -> None:
    worker = greeted(log)
    worker.record(2)
    log.settle()
    forged = wire.Frame(worker.producer.producer_id, 3, 2, 12345, wire.Drops(), b"\x90\x90")
    worker.record(2)
    log.link.frames.append([wire.pack_header(forged), forged.body])
    log.settle()
    log.assert_all_is_in()
    assert log.writer.figures()["conflicts"] == 1
    assert log.dead_letters() == []


# --- producers that are forgotten ---


def test_more_producers_than_are_remembered_are_all_served(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.intake.PRODUCERS_MAX", 4)
    workers = [log.worker(f"w{number}") for number in range(12)]
    for _ in range(4):
        for worker in workers:
            worker.record(2)
            worker.send()
            log.turn()
    log.settle()
    log.assert_all_is_in()
    intake: Intake = log.writer._intake
    assert len(intake._states) < 16
