"""What the view shows of recorded text: escaped, bounded, and as it was recorded."""

import json
from typing import Any

import pytest

from hansard_writer.viewing import plot, text
from hansard_writer.viewing.cursors import Cursor
from hansard_writer.viewing.excerpts import EXCERPT_CHARS, excerpt, words_of
from hansard_writer.viewing.payloads import STRING_CHARS_MAX, VALUES_MAX, folded

HOUR_NS = 3_600 * 10**9


def html_of(payload: Any) -> str:
    found = folded(json.dumps(payload))
    assert found is not None
    return str(found.html)


def test_markup_is_escaped() -> None:
    assert text.visible("<b>&\"'") == "&lt;b&gt;&amp;&#34;&#39;"


@pytest.mark.parametrize(
    ("character", "code"),
    [("\x1b", r"\x1b"), ("\u202e", r"\u202e"), ("\ud800", r"\ud800"), ("\0", r"\x00")],
)
def test_what_cannot_be_seen_is_shown_by_its_code(character: str, code: str) -> None:
    shown = str(text.visible(f"a{character}b"))
    assert character not in shown
    assert f">{code}</span>" in shown
    shown.encode()


def test_lines_and_tabs_stay() -> None:
    assert text.visible("a\r\nb\tc\n") == "a\nb\tc\n"


def test_arabic_and_emoji_stay_as_they_are() -> None:
    assert text.visible("مرحبا 🙂 é") == "مرحبا 🙂 é"


def test_a_payloads_numbers_keep_their_digits() -> None:
    found = folded('{"n": 123456789012345678901, "x": 1.10, "e": 1E400}')
    assert found is not None
    for digits in ("123456789012345678901", "1.10", "1E400"):
        assert f">{digits}<" in found.html


def test_a_payload_is_bounded_in_values_and_in_each_string() -> None:
    found = folded(json.dumps({"many": list(range(VALUES_MAX + 500)), "long": "x" * 10_000}))
    assert found is not None
    assert found.left_out == 502  # the list itself counts, and what stands behind it
    assert str(found.html).count("<li>") == VALUES_MAX
    assert html_of({"long": "x" * 10_000}).count("x") == STRING_CHARS_MAX


def test_a_payload_of_64_levels_folds() -> None:
    deep: Any = 1
    for _ in range(63):
        deep = {"in": deep}
    html = html_of(deep)
    assert html.count("<details") == 62
    assert html.count("<details open>") == 2


def test_names_in_a_payload_are_escaped_too() -> None:
    assert "<script>" not in html_of({"<script>": {"<script>": ["<script>"]}})


@pytest.mark.parametrize("payload", ['{"cut": "of', "[" * 100_000])
def test_what_cannot_be_parsed_is_not_folded(payload: str) -> None:
    assert folded(payload) is None


def test_a_searchs_words_are_marked_by_their_beginning() -> None:
    words = words_of('installing AND "numpy*" NOT x')
    found = excerpt("we installed NumPy-1.2", words)
    assert [piece for piece, is_found in found if is_found] == ["installed", "NumPy"]


def test_an_excerpt_is_around_the_first_word_that_is_found() -> None:
    pieces = excerpt("a" * 5_000 + " needle " + "b" * 5_000, words_of("needle"))
    assert ("needle", True) in pieces
    assert sum(len(piece) for piece, _ in pieces) <= EXCERPT_CHARS + 2
    assert pieces[0] == pieces[-1] == ("…", False)


@pytest.mark.parametrize("said", ["7", "1700000000000000000.7"])
def test_a_cursor_is_read_as_it_was_written(said: str) -> None:
    assert str(Cursor.parse(said)) == said


@pytest.mark.parametrize("said", ["", "x", "-1", "1.2.3", "9" * 30, "\u0663"])
def test_what_is_no_cursor_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="no place in the log"):
        Cursor.parse(said)


def rates(**counts: list[int]) -> dict[str, Any]:
    length = len(next(iter(counts.values()), []))
    return {
        "counts": counts,
        "since_ns": 0,
        "until_ns": length * HOUR_NS,
        "width_ns": HOUR_NS,
        "one_in": 1.0,
    }


def test_a_plots_bars_stand_on_each_other_and_say_what_they_are() -> None:
    svg = str(plot.plot(rates(a=[1, 0, 3], b=[2, 0, 0]), "a title"))
    assert svg.count("<rect") == 3
    assert "<title>a: 3 from 1970-01-01 02:00:00 on, in 1 hour</title>" in svg
    assert "6 entries, from 1970-01-01 00:00 to 1970-01-01 03:00 UTC." in svg


def test_types_beyond_the_most_frequent_are_one() -> None:
    counts = {f"t{number:02}": [number] for number in range(20)}
    ranked = plot.ranked(counts)
    assert [name for name, _ in ranked][:2] == ["t19", "t18"]
    assert ranked[-1] == (plot.OTHERS, [sum(range(13))])


def test_a_plot_escapes_types() -> None:
    assert "<b>" not in plot.plot(rates(**{"<b>": [1]}), "<b>")


def test_a_plot_of_nothing_has_its_axes() -> None:
    assert "time, UTC" in plot.plot(rates(), "nothing")
