"""What became of events that are not simply waiting: refused, returned, dropped, and under
which id."""

from hansard.accounts import Accounts
from hansard.wire import Drops, Refusals


def test_nothing_is_refused_before_the_log_has_spoken() -> None:
    assert Accounts().refusals == Refusals()


def test_what_the_log_said_last_counts() -> None:
    accounts = Accounts()
    accounts.meet(Refusals())
    accounts.refused(Refusals(5, 0, 3))
    accounts.refused(Refusals(6, 3, 0))
    assert accounts.refusals == Refusals(6, 3, 0)


def test_what_was_refused_before_the_first_greeting_is_somebody_elses() -> None:
    accounts = Accounts()
    accounts.meet(Refusals(7, 2, 1))
    assert accounts.refusals == Refusals()
    accounts.refused(Refusals(9, 3, 2))
    assert accounts.refusals == Refusals(2, 1, 1)


def test_a_later_greeting_takes_nothing_away() -> None:
    accounts = Accounts()
    accounts.meet(Refusals(7, 2, 1))
    accounts.refused(Refusals(9, 3, 2))
    accounts.meet(Refusals(9, 3, 2))
    accounts.refused(Refusals(10, 3, 3))
    assert accounts.refusals == Refusals(3, 1, 2)


def test_others_orphans_that_are_entered_later_are_not_ours_to_subtract() -> None:
    accounts = Accounts()
    accounts.meet(Refusals(7, 0, 5))
    accounts.refused(Refusals(8, 5, 1))
    refused, returned, orphaned = accounts.refusals
    assert orphaned == 0
    assert returned <= refused == 1, "or fewer than none are dead letters"


def test_refusals_of_earlier_ids_are_kept() -> None:
    accounts = Accounts()
    accounts.meet(Refusals(7, 2, 1))
    accounts.refused(Refusals(9, 3, 2))
    accounts.start_over()
    assert accounts.refusals == Refusals(2, 1, 1)
    accounts.meet(Refusals())
    accounts.refused(Refusals(4, 0, 4))
    assert accounts.refusals == Refusals(6, 1, 5)
    accounts.start_over()
    accounts.start_over()
    assert accounts.refusals == Refusals(6, 1, 5)


def test_a_new_id_is_met_anew() -> None:
    accounts = Accounts()
    accounts.meet(Refusals())
    accounts.refused(Refusals(2, 0, 0))
    accounts.start_over()
    accounts.meet(Refusals(50, 0, 0))
    accounts.refused(Refusals(51, 0, 0))
    assert accounts.refusals == Refusals(3, 0, 0)


def test_drops_are_counted_by_cause_and_told_with_their_times() -> None:
    accounts = Accounts()
    accounts.drop("full", 2, 100)
    accounts.drop("other_log", 1, 200)
    accounts.lose("set_aside", 4)
    assert accounts.dropped == {"full": 2, "other_log": 1, "set_aside": 4}
    assert accounts.dropped_total == 7
    assert accounts.drops == Drops(3, 100, 200), "what is set aside may still be entered"


def test_drops_that_are_reported_are_not_told_under_a_new_id() -> None:
    accounts = Accounts()
    accounts.drop("full", 2, 100)
    accounts.reported(2)
    assert not accounts.has_unreported
    accounts.drop("full", 3, 200)
    assert accounts.drops == Drops(5, 200, 200)
    accounts.start_over()
    assert accounts.drops == Drops(3, 200, 200)
    assert accounts.has_unreported
    assert accounts.dropped == {"full": 5}


def test_a_twin_that_reported_more_drops_than_fell_here_leaves_none_to_tell() -> None:
    """A negative total would fit neither a frame's header nor the spool's."""
    accounts = Accounts()
    accounts.drop("full", 2, 100)
    accounts.reported(5)
    accounts.start_over()
    assert accounts.drops.total == 0
    accounts.drop("full", 1, 200)
    assert accounts.has_unreported
