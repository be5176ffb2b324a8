"""`hansard top` without a terminal: what changed between looks, what a frame says, what fits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hansard.reader import Event
from hansard_writer.doctor.facts import Verified
from hansard_writer.glance import amounts
from hansard_writer.glance.drawing import lines_of, text_of
from hansard_writer.glance.frame import BAD, GOOD, WARN, Frame, frame_of
from hansard_writer.glance.history import History, quantile, rates_between
from hansard_writer.glance.snapshot import Snapshot
from hansard_writer.terminal_text import width_of
from stepped import Log

NOW_NS = 1_800_000_000 * 10**9
PLACE = Path("/var/lib/app/audit")
EVENT = Event(
    7, "2026-11-22T09:00:01.000000Z", 0, "tool.call", "info", "user:7", "T1", None, "a", 1, "h", 1
)
SIZES = [(120, 40), (80, 24), (60, 18), (40, 20), (40, 8), (20, 5), (1, 1), (300, 100)]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real writer's, at rest."""
    log = Log(tmp_path_factory.mktemp("glance")).start_writer()
    worker = log.worker()
    worker.record(3)
    log.settle()
    log.turn()
    found = log.statistics()
    log.close()
    return found | {"started_at": "2027-01-15T07:00:00Z"}


def snapshot(at: float, figures: dict[str, Any] | None = None, **facts: Any) -> Snapshot:
    return Snapshot(at, NOW_NS + int(at * 1e9), figures, **facts)


def history_of(*snapshots: Snapshot) -> History:
    history = History()
    for each in snapshots:
        history.add(each)
    return history


def frame(*snapshots: Snapshot, **how: Any) -> Frame:
    return frame_of(PLACE, history_of(*snapshots), **how)


def value_of(frame: Frame, label: str) -> str:
    (value,) = [row.value for block in frame.blocks for row in block.rows if row.label == label]
    return value


def texts(frame: Frame, width: int, height: int, keys: str = "") -> list[str]:
    return [text_of(line) for line in lines_of(frame, width, height, keys)]


# --- what changed ---


def test_rates_are_what_was_added_by_the_time_between(figures: dict[str, Any]) -> None:
    later = {**figures, "entries": figures["entries"] + 50, "entered_by_type": {"a": 40, "b": 10}}
    rates = rates_between(
        snapshot(0, {**figures, "entered_by_type": {"a": 20}}), snapshot(2, later)
    )
    assert rates is not None
    assert rates.entries == 25
    assert rates.by_type == {"a": 10, "b": 5}


def test_another_run_is_not_compared_with_the_one_before(figures: dict[str, Any]) -> None:
    other = {**figures, "run_id": "another", "entries": 9_999}
    assert rates_between(snapshot(0, figures), snapshot(1, other)) is None
    history = history_of(snapshot(0, figures), snapshot(1, other), snapshot(2, other))
    assert history.entry_rates() == [0.0, 0.0]
    now = history.now()
    assert now is not None
    assert now.entries == 0


def test_a_writer_that_was_away_is_no_negative_rate(figures: dict[str, Any]) -> None:
    history = history_of(snapshot(0, figures), snapshot(1), snapshot(2, figures))
    assert history.entry_rates() == [0.0, 0.0]
    assert history_of(snapshot(0, figures), snapshot(1)).now() is None


def test_a_rate_is_over_the_last_ten_seconds(figures: dict[str, Any]) -> None:
    looks = [snapshot(each, {**figures, "entries": each**2}) for each in range(31)]
    now = history_of(*looks).now()
    assert now is not None
    assert now.entries == (30**2 - 20**2) / 10


def test_latencies_are_lately_s_and_where_nothing_happened_the_run_s(
    figures: dict[str, Any],
) -> None:
    slow = {"bounds": [1.0, 2.0], "counts": [0, 10, 0], "sum": 15.0}
    fast = {"bounds": [1.0, 2.0], "counts": [10, 10, 0], "sum": 20.0}
    before, after = {**figures, "commit_seconds": slow}, {**figures, "commit_seconds": fast}
    history = history_of(snapshot(0, before), snapshot(1, after))
    assert history.quantiles("commit_seconds", 0.5) == [0.5]
    assert history.mean("commit_seconds") == 0.5
    assert history_of(snapshot(0, before)).quantiles("commit_seconds", 0.5) == [1.5]
    assert history_of(snapshot(0, before)).mean("commit_seconds") == 1.5
    assert history_of(snapshot(0)).mean("commit_seconds") is None
    assert history_of(snapshot(0)).quantiles("commit_seconds", 0.5, 0.9) == [None, None]


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [([0, 0, 0], 0.5, None), ([4, 0, 0], 0.5, 0.5), ([0, 4, 0], 0.25, 1.25), ([1, 1, 8], 0.9, 2.0),
     ([0, 0, 1], 0.5, 2.0), ([2, 2, 0], 0.5, 1.0), ([2, 0, 2], 1.0, 2.0)],
)  # fmt: skip
def test_a_quantile_is_found_by_straight_lines_within_buckets(
    counts: list[int], share: float, expected: float | None
) -> None:
    assert quantile([1.0, 2.0], counts, share) == expected


# --- what is said ---


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (9_999, "9,999"), (12_345, "12.3k"), (99_990, "100k"), (1_234_567, "1,235k"),
     (12_345_678, "12.3M"), (98_765_432_100, "98.8G")],
)  # fmt: skip
def test_a_number_has_at_most_four_digits(value: float, shown: str) -> None:
    assert amounts.number(value) == shown


def test_amounts_are_short_and_have_a_unit() -> None:
    assert [amounts.rate(each) for each in (None, 0, 0.04, 3.14, 50, 98_765)] == [
        "—", "0/s", "<0.1/s", "3.1/s", "50/s", "98.8k/s",
    ]  # fmt: skip
    assert [amounts.size(each) for each in (0, 1_023, 1_500_000, 200 << 30)] == [
        "0 B", "1023 B", "1.43 MiB", "200 GiB",
    ]  # fmt: skip
    assert [amounts.latency(each) for each in (None, 0.00042, 0.042, 4.2)] == [
        "—", "0.4 ms", "42 ms", "4.2 s",
    ]  # fmt: skip
    assert [amounts.span(each) for each in (-1, 0.5, 119, 7_300, 200_000)] == [
        "0 s", "0 s", "119 s", "2 h", "2 d",
    ]  # fmt: skip


def test_bars_show_the_last_values_against_the_highest() -> None:
    assert amounts.bars([9, 0, 4, 8], 3) == "▁▅█"
    assert amounts.bars([0, 0], 5) == "▁▁"
    assert amounts.bars([1], 0) == amounts.bars([], 5) == ""


def test_a_healthy_writer_is_good_and_nothing_is_wrong(figures: dict[str, Any]) -> None:
    said = frame(snapshot(0, figures), snapshot(1, figures, entries=(EVENT,)))
    assert (said.state_style, said.troubles) == (GOOD, [])
    assert said.state.startswith("serving: pid ")
    assert value_of(said, "in the log") == "3 entries"
    assert value_of(said, "waiting") == "0 events"
    assert [(each.name, each.total) for each in said.types] == [("step.done", 3)]


def test_what_is_wrong_is_said_in_words(figures: dict[str, Any]) -> None:
    wrong = {
        **figures, "suspended": True, "suspended_by": "the disk is full: make room",
        "wal_bytes_held": 5, "wal_held_by": "pid 9", "reader_age": 61.0, "dead_letters": 2,
        "dropped": {"by_producers": 3},
    }  # fmt: skip
    shipping = ({"target": "nats://x", "state": "killed", "why": "", "shipped_to": 1},)
    verified = Verified("altered", 3, NOW_NS)
    said = frame(snapshot(0, wrong, shipping=shipping, verified=verified))
    assert said.state_style == BAD
    for words in ("make room", "61 s: pid 9", "found the log altered", "nats://x killed"):
        assert any(words in trouble for trouble in said.troubles), words
    styles = {row.label: row.style for block in said.blocks for row in block.rows}
    assert (styles["lost"], styles["dead letters"], styles["verified"]) == (BAD, WARN, BAD)
    assert value_of(said, "shipping") == "2 behind, killed"


def test_without_a_writer_the_log_says_what_it_can() -> None:
    said = frame(snapshot(0, None, silence="no writer runs", entries=(EVENT,), last_id=7))
    assert (said.state, said.is_served) == ("no writer answers", False)
    assert said.troubles == ["no writer runs"]
    assert value_of(said, "in the log") == "7 entries"
    assert [(each.name, each.total) for each in said.types] == [("tool.call", 1)]


def test_only_what_is_serious_is_shown_where_that_is_asked_for() -> None:
    entries = (EVENT, replace(EVENT, level="error"), replace(EVENT, level="warning"))
    said = frame(snapshot(0, entries=entries), serious_only=True)
    assert [each.level for each in said.entries] == ["error", "warning"]
    assert said.entries_title == "warnings and errors of the last 3 entries"


# --- what fits ---


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("is_served", [True, False])
def test_whatever_the_size_every_line_fits_and_the_keys_are_there(
    figures: dict[str, Any], width: int, height: int, is_served: bool
) -> None:
    wide = replace(EVENT, event_type="x" * 90, actor="日本語の監査" * 5, task_id="T\x1b[2J\n" * 9)
    types = {f"type.{each}.of.some.length": each for each in range(99)}
    facts: dict[str, Any] = {"entries": (EVENT, wide) * 9, "silence": "start one " * 40}
    served = {**figures, "entered_by_type": types} if is_served else None
    said = frame(snapshot(0, served, **facts), snapshot(1, served, **facts))
    lines = texts(said, width, height, "q quit")
    assert len(lines) <= height
    assert all(width_of(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "q quit"[:width] if width > 5 else lines


def test_in_little_room_the_main_figures_stay_and_both_lists(figures: dict[str, Any]) -> None:
    entries = (EVENT,) * 9
    said = frame(snapshot(0, figures, entries=entries), snapshot(1, figures, entries=entries))
    small, large = "\n".join(texts(said, 40, 20)), "\n".join(texts(said, 120, 40))
    for words in ("in the log", "commit", "acknowledged", "WAL", "dead letters", "signed",
                  "step.done", "INF tool.call"):  # fmt: skip
        assert words in small, words
        assert words in large, words
    assert "STORAGE" in large
    assert "STORAGE" not in small


def test_a_way_out_is_wrapped_and_not_cut_off(figures: dict[str, Any]) -> None:
    said = frame(snapshot(0, None, silence=f"no writer runs in {PLACE}: start one with `hansard`"))
    assert "start one with `hansard`" in " ".join(line.strip() for line in texts(said, 40, 20))
