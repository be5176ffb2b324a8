"""Callers that wait: who is let go on by which ack, and with what."""

import threading

import pytest

from hansard import wire
from hansard.tickets import Ticket, Tickets


def ack(
    outcomes_to: int,
    runs: list[tuple[int, int, int]] | None = None,
    dead: list[tuple[int, int, str, str]] | None = None,
) -> wire.Ack:
    """An answer that tells outcomes up to a number."""
    return wire.Ack(
        status=wire.COMMITTED,
        run_id=b"r" * 16,
        watermark=0,
        crc=0,
        dropped=0,
        outcomes_to=outcomes_to,
        duplicates=0,
        refusals=wire.Refusals(),
        runs=runs or [],
        dead=dead or [],
        notices=[],
    )


def tickets_for(*seqs: int, wants_outcome: bool = True) -> tuple[Tickets, list[Ticket]]:
    """A bundle, and the tickets in it."""
    tickets, each = Tickets(), [Ticket(seq, wants_outcome=wants_outcome) for seq in seqs]
    for ticket in each:
        tickets.add(ticket)
    return tickets, each


def is_settled(ticket: Ticket) -> bool:
    return ticket.wait(0)


def test_a_ticket_is_unknown_until_it_is_settled() -> None:
    ticket = Ticket(1, wants_outcome=True)
    assert not ticket.wait(0)
    assert not ticket.wait(-1)
    assert (ticket.status, ticket.id, ticket.reason) == ("unknown", -1, "")


def test_a_settled_ticket_lets_its_caller_go_on() -> None:
    ticket = Ticket(1, wants_outcome=True)
    caller = threading.Thread(target=ticket.settle, args=("committed", 7))
    caller.start()
    assert ticket.wait(10)
    caller.join()
    assert (ticket.status, ticket.id) == ("committed", 7)


def test_a_caller_may_wait_without_end() -> None:
    for timeout in (float("inf"), 1e12):
        ticket = Ticket(1, wants_outcome=True)
        ticket.settle("committed", 7)
        assert ticket.wait(timeout)


def test_a_settled_ticket_calls_back_once_its_outcome_can_be_read() -> None:
    seen: list[tuple[str, int | None]] = []
    ticket = Ticket(
        1, wants_outcome=True, on_settled=lambda: seen.append((ticket.status, ticket.id))
    )
    assert seen == []
    ticket.settle("committed", 7)
    assert seen == [("committed", 7)]


def test_the_target_is_the_highest_number_waited_for() -> None:
    assert Tickets().target() == 0
    assert tickets_for(3, 9, 5)[0].target() == 9


def test_the_first_outcome_is_the_lowest_that_somebody_wants() -> None:
    tickets, _ = tickets_for(3, wants_outcome=False)
    assert tickets.first_outcome() == 0
    for seq in (9, 5):
        tickets.add(Ticket(seq, wants_outcome=True))
    assert tickets.first_outcome() == 5


def test_who_has_given_up_is_not_waited_for() -> None:
    tickets, (first, second) = tickets_for(3, 9)
    tickets.discard(second)
    tickets.discard(second)
    assert (len(tickets), tickets.target()) == (1, 3)
    tickets.discard(first)
    assert len(tickets) == 0


def test_what_is_not_committed_is_not_settled() -> None:
    tickets, (low, high) = tickets_for(3, 4, wants_outcome=False)
    tickets.settle(ack(0), asked_from=1, committed_to=3)
    assert (is_settled(low), is_settled(high)) == (True, False)
    assert (low.status, len(tickets)) == ("committed", 1)


def test_a_flush_is_settled_by_the_watermark_alone() -> None:
    tickets, (ticket,) = tickets_for(3, wants_outcome=False)
    tickets.settle(ack(0, dead=[(3, 1, "invalid", "bad")]), asked_from=1, committed_to=3)
    assert is_settled(ticket)
    assert ticket.status == "committed"


def test_each_caller_gets_its_own_id() -> None:
    tickets, each = tickets_for(6, 2, 5, 1)
    answer = ack(6, runs=[(1, 2, 100), (3, 4, 203)])
    tickets.settle(answer, asked_from=1, committed_to=6)
    assert [(ticket.status, ticket.id) for ticket in each] == [
        ("committed", 206),
        ("committed", 101),
        ("committed", 205),
        ("committed", 100),
    ]
    assert len(tickets) == 0


def test_a_dead_letters_caller_gets_the_reason() -> None:
    tickets, (ticket,) = tickets_for(5)
    tickets.settle(
        ack(5, runs=[(1, 3, 1)], dead=[(4, 3, "invalid", "bad level")]),
        asked_from=1,
        committed_to=6,
    )
    assert is_settled(ticket)
    assert (ticket.status, ticket.id, ticket.reason) == ("rejected", None, "bad level")


def test_an_orphans_caller_learns_that_it_waits_for_its_task() -> None:
    tickets, (before, orphan, rejected) = tickets_for(3, 4, 6)
    dead = [(4, 2, wire.ORPHAN, "no task"), (6, 1, "invalid", "bad")]
    tickets.settle(ack(6, runs=[(1, 3, 1)], dead=dead), asked_from=1, committed_to=6)
    assert [(each.status, each.id, each.reason) for each in (before, orphan, rejected)] == [
        ("committed", 3, ""),
        ("orphaned", None, "no task"),
        ("rejected", None, "bad"),
    ]


def test_what_somebody_wants_to_know_is_awaited() -> None:
    tickets, (ticket,) = tickets_for(4)
    tickets.add(Ticket(5, wants_outcome=False))
    assert [tickets.awaits(seq) for seq in (3, 4, 5)] == [False, True, False]
    tickets.discard(ticket)
    assert not tickets.awaits(4)


def test_what_is_in_no_run_and_no_dead_letter_was_not_kept() -> None:
    tickets, (ticket,) = tickets_for(5)
    tickets.settle(ack(5, runs=[(1, 4, 1)]), asked_from=1, committed_to=5)
    assert is_settled(ticket)
    assert (ticket.status, ticket.id) == ("rejected", None)
    assert "not kept" in ticket.reason


def test_outcomes_that_an_answer_did_not_reach_are_waited_for() -> None:
    tickets, (near, far) = tickets_for(2, 5)
    tickets.settle(ack(3, runs=[(1, 3, 1)]), asked_from=1, committed_to=6)
    assert (is_settled(near), is_settled(far)) == (True, False)
    assert (tickets.first_outcome(), tickets.target()) == (5, 5)
    tickets.settle(ack(6, runs=[(4, 3, 4)]), asked_from=1, committed_to=6)
    assert is_settled(far)
    assert far.id == 5


@pytest.mark.parametrize("asked_from", [0, 3])
def test_an_answer_tells_nothing_of_who_was_not_asked_for(asked_from: int) -> None:
    tickets, (late, asked) = tickets_for(2, 3)
    answer = ack(3, runs=[(3, 1, 9)] if asked_from else [])
    tickets.settle(answer, asked_from=asked_from, committed_to=3)
    assert not is_settled(late)
    assert is_settled(asked) == bool(asked_from)


def test_a_flush_needs_no_outcomes() -> None:
    tickets, (ticket,) = tickets_for(2, wants_outcome=False)
    tickets.settle(ack(0), asked_from=0, committed_to=2)
    assert is_settled(ticket)


def test_a_renumbering_leaves_what_was_committed_before_unknown() -> None:
    tickets, (before, behind) = tickets_for(10, 11)
    tickets.shift(10)
    assert (is_settled(before), before.status, before.id) == (True, "unknown", -1)
    assert "new id" in before.reason
    assert (is_settled(behind), tickets.first_outcome()) == (False, 1)


def test_two_may_wait_for_the_same_number() -> None:
    tickets, (one, other) = tickets_for(1, 1)
    tickets.settle(ack(1, runs=[(1, 1, 9)]), asked_from=1, committed_to=1)
    assert (one.id, other.id) == (9, 9)


def test_given_up_tickets_are_unknown_and_say_why() -> None:
    tickets, (ticket,) = tickets_for(1)
    tickets.give_up()
    assert is_settled(ticket)
    assert (ticket.status, ticket.id, len(tickets)) == ("unknown", -1, 0)
    assert "replaced" in ticket.reason


def test_tickets_follow_a_renumbering() -> None:
    tickets, (ticket,) = tickets_for(12)
    tickets.shift(10)
    tickets.settle(ack(2, runs=[(2, 1, 50)]), asked_from=1, committed_to=2)
    assert ticket.id == 50
