"""Counts for dashboards: bounded, and none of them ever goes down."""

from collections import Counter

import pytest

from hansard_writer.tallies import OTHERS, Histogram, Tally, count_into


def test_a_value_is_counted_in_the_bucket_of_the_first_bound_that_is_not_below_it() -> None:
    histogram = Histogram((1, 5))
    for value in (0.5, 1, 1.5, 5, 6):
        histogram.observe(value)
    assert histogram.figures() == {"bounds": [1, 5], "counts": [2, 2, 1], "sum": 14.0}


def test_a_time_that_a_clock_made_negative_took_no_time() -> None:
    histogram = Histogram((1,))
    histogram.observe(-3.0)
    assert histogram.figures() == {"bounds": [1], "counts": [1, 0], "sum": 0.0}


def test_names_beyond_the_limit_are_counted_together_and_known_ones_go_on() -> None:
    tally = Tally(2)
    tally.add({"a": 1, "b": 2, "c": 4})
    tally.add({"d": 8, "a": 16})
    assert tally.figures() == {"a": 17, OTHERS: 12, "b": 2}
    assert list(tally.figures()) == ["a", OTHERS, "b"], "the most frequent first"


@pytest.mark.parametrize("values", [("a", "a", "a"), ("a", "b", "a"), ("b",)])
def test_a_column_is_counted_whether_it_has_one_value_or_many(values: tuple[str, ...]) -> None:
    counts = Counter({"a": 10})
    count_into(counts, values, set(values))
    assert counts == Counter(values) + Counter({"a": 10})
