"""Counts and kinds in messages."""

import pytest

from hansard.wording import counted, kind_of


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (12_345, "12,345 events")]
)
def test_one_is_not_many(count: int, text: str) -> None:
    assert counted(count, "event") == text


def test_what_takes_no_s_has_its_own_plural() -> None:
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("value", "text"), [(1, "an int"), ("", "a str"), (object(), "an object"), (None, "None")]
)
def test_a_kind_has_its_article(value: object, text: str) -> None:
    assert kind_of(value) == text
