"""What the bench makes of its figures: tables, files, pictures, and the README's block."""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench.measuring import processes
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Curve, Figure, Found, latency_curve
from bench.measuring.run import Run
from bench.parts import PARTS, growth, peers, recover
from bench.peers import HANSARD, PEERS, REDIS, SQLITE
from bench.reporting import compare, plots, progress, readme, saved, table, wording
from bench.reporting.saved import NoRun, Saved

MACHINE = {
    "at": "2026-11-21T21:58:36+00:00", "cpu": "A CPU", "cores": 2, "memory_bytes": 8 << 30,
    "load_before": 0.5, "kernel": "6.1", "file_system": "ext4", "python": "3.11.7",
    "hansard": "0.1.0", "sqlite": "3.54.1", "libzmq": "4.3.5",
}  # fmt: skip
SETTINGS = {"workers": 4, "events": 1_000, "quick": True}
INGEST = Figure("ingest", "to the last commit", 45_265.4, "events/s", workload="tasks")
RANDOM = Figure("ingest", "to the last commit", 20_000.0, "events/s", workload="random keys")
RATIO = Figure("record", "record() p50 / QueueHandler p50", 0.3, "x", 0.2)
FASTER = Figure("sync", "acks/s of 64 callers / of 1", 9.5, "x", reach_min=8.0)
CURVES = [
    latency_curve("record latency", "Hansard, record()", list(range(1_000, 200_000, 50))),
    latency_curve("record latency", "QueueHandler", list(range(5_000, 900_000, 90))),
    Curve("growth", "tasks", [(1e5, 60_000.0), (1e6, 58_000.0), (1e7, 51_000.0)]),
]


def a_run(*figures: Figure, machine: dict[str, Any] | None = None, **rest: Any) -> Saved:
    return Saved(MACHINE | (machine or {}), SETTINGS, Found(list(figures), **rest))


def lines_of(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


# The table.


def test_figures_stand_under_their_part_however_they_come() -> None:
    shown = table.table(a_run(INGEST, RATIO, RANDOM)).splitlines()
    assert shown.count("ingest") == 1
    at = shown.index("ingest")
    assert [line.split()[0] for line in shown[at + 1 : at + 3]] == ["tasks", "random"]
    assert shown.index("record") > at


def test_a_workload_is_named_only_where_a_part_tells_them_apart() -> None:
    shown = table.table(a_run(INGEST, RATIO))
    assert lines_of(shown, "45,265")[0].startswith("  tasks  to the last commit ")
    assert lines_of(shown, "missed")[0].startswith("  record() p50 / QueueHandler p50 ")


def test_a_line_fits_a_terminal_of_100_columns_however_long_a_name_is() -> None:
    long = Figure("ingest", "name " * 20, 1.5, "events/s", 20_000, workload="github webhooks")
    shown = table.table(a_run(INGEST, long))
    assert max(map(len, shown.splitlines())) <= table.WIDTH
    assert shown.count("name") == 20
    assert "at most 20,000: reached" in shown


def test_what_was_skipped_is_said_under_the_table() -> None:
    shown = table.table(a_run(INGEST, notes=["peers: Redis is skipped: not installed"]))
    assert shown.endswith("\n\npeers: Redis is skipped: not installed")


def test_what_broke_is_said_before_what_was_skipped() -> None:
    shown = table.table(a_run(INGEST, notes=["Redis is skipped"], failed=["sync: it died"],
                              wrong=["growth: 1 for 2"]))  # fmt: skip
    said = "wrong: growth: 1 for 2\nfailed: sync: it died\nRedis is skipped"
    assert shown.endswith(f"\n\n{said}")


def test_misses_are_said_in_words() -> None:
    assert wording.misses([INGEST, RATIO, FASTER]) == [
        "1 of 2 figures misses what it should reach:",
        "  record: record() p50 / QueueHandler p50 is 0.30 x, and should be at most 0.2",
    ]
    assert wording.misses([FASTER]) == ["none of 1 figures misses what it should reach"]
    slow = FASTER._replace(value=7.5, workload="tasks")
    assert wording.misses([slow])[1:] == [
        "  sync, tasks: acks/s of 64 callers / of 1 is 7.50 x, and should be at least 8"
    ]
    assert wording.misses([INGEST]) == []


# Comparing.


def test_each_figure_stands_beside_what_it_was() -> None:
    shown = compare.table(a_run(INGEST, RANDOM), a_run(INGEST._replace(value=90_530.8)))
    (ours,) = lines_of(shown, "45,265")
    assert ours.split()[-2:] == ["90,531", "0.50"]
    (new,) = lines_of(shown, "20,000")
    assert new.split()[-2:] == ["—", "—"]


def test_another_machine_or_version_is_said_and_another_time_is_not() -> None:
    later = {"at": "2027-01-01T00:00:00+00:00", "load_before": 3.0}
    assert "not of the same kind" not in compare.table(a_run(machine=later), a_run())
    shown = compare.table(a_run(machine={"sqlite": "3.55.0"} | later), a_run())
    assert shown.endswith("  sqlite was 3.54.1, and is 3.55.0")


# The file.


def test_a_saved_run_is_read_back_as_it_was(tmp_path: Path) -> None:
    said = {"notes": ["Redis is skipped: „not there“"], "failed": ["sync"], "wrong": ["growth"]}
    run = a_run(INGEST, RATIO, FASTER, curves=CURVES, **said)
    saved.write(tmp_path / "run.json", run)
    assert saved.read(tmp_path / "run.json") == run


WHOLE = {"format": 1, "machine": {}, "settings": {}, "figures": [], "curves": [], "notes": []}
WORDS = [{"part": "a", "name": "b", "value": "fast", "unit": "x"}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no JSON", "is no JSON"),
        ("[1]", "is no run of this bench"),
        (json.dumps({"machine": {}, "figures": []}), "or one of another release"),
        (json.dumps(WHOLE | {"format": 2}), "or one of another release"),
        (json.dumps({"format": 1}), "is a damaged run"),
        (json.dumps(WHOLE | {"figures": WORDS}), "is a damaged run"),
        (json.dumps(WHOLE | {"curves": [{"plot": "growth"}]}), "is a damaged run"),
    ],
)
def test_a_file_that_is_no_run_is_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(NoRun, match=says) as caught:
        saved.read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoRun, match=r"none\.json cannot be read: No such file"):
        saved.read(tmp_path / "none.json")


# The README.

PAGE = (
    "before\n<!-- figures: made by scripts/check --fix -->\nold\n<!-- end of figures -->\nafter\n"
)


def test_the_readme_shows_the_figures_with_their_reach_and_names_what_is_absent() -> None:
    shown = readme.block(a_run(INGEST, RANDOM, RATIO, curves=CURVES))
    assert len(lines_of(shown, "| 45,265 events/s |")) == 1
    assert "20,000" not in shown, "the first workload is what stands there"
    assert lines_of(shown, "| 0.30 x | at most 0.2: missed |")
    (absent,) = lines_of(shown, "Not in this run, or not all of it: ")
    assert "sync" in absent
    assert "ingest" not in absent
    assert "![record latency](bench/runs/record-latency.svg)" in shown
    assert "Made by `scripts/bench --quick` on 2026-11-21: A CPU, 2 cores" in shown


def test_the_readme_asks_for_figures_by_the_names_that_parts_give_them() -> None:
    rows = {row.part: [each.name for each in readme.ROWS if each.part == row.part]
            for row in readme.ROWS}  # fmt: skip
    held_against = [f"{HANSARD.name} / {peer.name}" for peer in PEERS.values()]
    assert set(rows[peers.PART]) <= set(held_against)
    assert rows[growth.PART] == [f"ingest at {growth.SIZES[-1]:,} / at {growth.SIZES[0]:,}"]
    assert all(f" {recover.SPOOLED:,} " in name for name in rows[recover.PART][1:])
    assert rows.keys() - {"limit"} <= PARTS.keys()


def test_the_readme_sets_hansard_beside_its_peers() -> None:
    def peer(name: str, value: float, unit: str = "events/s") -> Figure:
        return Figure("peers", name, value, unit, workload="tasks")

    shown = readme.block(
        a_run(
            peer("Hansard: 4 processes, fsync a commit", 45_000.0),
            peer("Hansard: caller's p50", 3.5, "µs"),
            peer("Hansard: caller's p99", 9.25, "µs"),
            peer("sqlite3, one commit an event: 4 processes, fsync each", 2_000.0),
            peer("sqlite3, one commit an event: caller's p50", 1_500.0, "µs"),
            peer("bare executemany: one process, fsync a commit", 90_000.0),
            peer("Hansard / sqlite3, one commit an event", 21.0, "x")._replace(reach_min=15.0),
            notes=["Redis Streams always is skipped: redis not installed"],
        )
    )
    assert shown.splitlines()[2:5] == [
        "| **Hansard** | 4 processes, fsync a commit | 45,000 | 3.50 µs | 9.25 µs |  |",
        "| sqlite3, one commit an event | 4 processes, fsync each | 2,000 | 1,500 µs | — | 21 |",
        "| bare executemany | one process, fsync a commit | 90,000 | — | — | 0.50 |",
    ]
    assert lines_of(
        shown,
        "| ingest of 4 workers / stdlib `sqlite3` from 4 processes | 21 x | at least 15: reached |",
    )
    assert "\nRedis Streams always is skipped: redis not installed.\n" in shown


def test_nothing_but_its_block_is_changed() -> None:
    made = readme.with_block(PAGE, "figures", r"new \1")
    assert made == PAGE.replace("old", r"new \1")
    assert readme.with_block(made, "figures", "old") == PAGE
    with pytest.raises(LookupError, match="no block 'tables'"):
        readme.with_block(PAGE, "tables", "new")


def test_pictures_are_stale_when_their_run_is_another(tmp_path: Path) -> None:
    checkout = tmp_path
    directory = (checkout / readme.RUN).parent
    directory.mkdir(parents=True)
    saved.write(checkout / readme.RUN, a_run(INGEST, curves=CURVES))
    named = [readme.RUN.parent / name for name in ("growth.svg", "record-latency.svg")]
    assert readme.stale_pictures(checkout) == named

    for plot, drawn in plots.plots(CURVES).items():
        (directory / plots.file_name(plot)).write_text(f"<svg>{plots.digest(drawn)}</svg>")
    assert readme.stale_pictures(checkout) == []

    slower = [*CURVES[:2], CURVES[2]._replace(points=[(1e5, 1.0)])]
    saved.write(checkout / readme.RUN, a_run(INGEST, curves=slower))
    assert readme.stale_pictures(checkout) == named[:1]

    saved.write(checkout / readme.RUN, a_run(INGEST, curves=CURVES[:2]))
    assert readme.stale_pictures(checkout) == named[:1], "of which there is no curve any more"


def test_no_readme_is_made_of_a_run_with_wrong_entries(tmp_path: Path, matplotlib: None) -> None:
    (tmp_path / readme.RUN).parent.mkdir(parents=True)
    (tmp_path / readme.README).write_text(PAGE)
    saved.write(tmp_path / readme.RUN, a_run(INGEST, wrong=["growth: the log has 4 of 5"]))
    for use in (readme.write, readme.stale_pictures, readme.saved_run):
        with pytest.raises(NoRun, match="with wrong entries: growth: the log has 4 of 5"):
            use(tmp_path)
    assert (tmp_path / readme.README).read_text() == PAGE


def test_the_readme_says_what_failed() -> None:
    shown = readme.block(a_run(INGEST, failed=["sync: TimeoutError: no ack"]))
    assert "\nfailed: sync: TimeoutError: no ack.\n" in shown


# The pictures.


@pytest.fixture
def matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="draws the bench's pictures: pip install '.[bench]'")


def test_the_same_curves_give_the_same_small_pictures(tmp_path: Path, matplotlib: None) -> None:
    first, again = (plots.draw(CURVES, tmp_path / name) for name in ("first", "again"))
    assert [path.name for path in first] == ["record-latency.svg", "growth.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert all(path.stat().st_size < 100_000 for path in first)
    assert plots.stale(CURVES, tmp_path / "first") == []


def test_a_picture_says_in_words_what_it_shows(tmp_path: Path, matplotlib: None) -> None:
    latency, growth = (path.read_text() for path in plots.draw(CURVES, tmp_path))
    for word in ("Hansard, record()", "QueueHandler", "99.9", "100 µs"):
        assert f">{word}</text>" in latency
    for word in ("tasks", "1 million", "60,000", ">0<"):
        assert word in growth


def test_the_readme_and_its_pictures_are_made_from_the_saved_run(
    tmp_path: Path, matplotlib: None
) -> None:
    directory = (tmp_path / readme.RUN).parent
    directory.mkdir(parents=True)
    (directory / "of-an-earlier-run.svg").write_text("<svg/>")
    (tmp_path / readme.README).write_text(PAGE)
    saved.write(tmp_path / readme.RUN, run := a_run(INGEST, curves=CURVES))
    readme.write(tmp_path)
    assert readme.stale_pictures(tmp_path) == []
    made = (tmp_path / readme.README).read_text()
    assert made == readme.with_block(PAGE, readme.NAME, readme.block(run))


# The command.


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts that measure nothing; which of them were run."""
    ran: list[str] = []

    def measured(name: str) -> Callable[[Run], Found]:
        def run(share: Run) -> Found:
            ran.append(name)
            return Found([INGEST._replace(part=name)], list(CURVES), ["Redis is skipped"])

        return run

    for name, part in list(PARTS.items()):
        monkeypatch.setitem(PARTS, name, part._replace(run=measured(name)))
    return ran


def test_a_run_is_saved_drawn_and_compared(
    tmp_path: Path, parts: list[str], capsys: pytest.CaptureFixture[str], matplotlib: None
) -> None:
    before, now = tmp_path / "before.json", tmp_path / "now.json"
    only = ["--only", "ingest", "--dir", str(tmp_path)]
    assert bench.main([*only, "--json", str(before)]) == 0
    pictures = tmp_path / "pictures"
    plotted = ["--json", str(now), "--compare", str(before), "--plots", str(pictures)]
    assert bench.main([*only, *plotted]) == 0
    shown = capsys.readouterr().out
    assert lines_of(shown, "45,265", "1.00")
    assert "Redis is skipped" in shown
    assert json.loads(now.read_text())["notes"] == ["Redis is skipped"]
    assert sorted(path.name for path in pictures.iterdir()) == ["growth.svg", "record-latency.svg"]
    assert parts == ["ingest", "ingest"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--compare", "none.json"], "none.json cannot be read"),
        (["--json", "no/such/place.json"], "no file can be written in no/such"),
        (["--json", "."], ". is no file that can be written"),
        (["--dir", "no/such"], "no/such is no directory that can be written to"),
        (["--only", "nothing"], "invalid choice"),
        (["--events", "0"], "at least 1"),
        (["--events", "1e6"], "1e6 is no whole number"),
        (["--readme", "--list"], "not allowed with"),
    ],
)
def test_what_would_fail_at_the_end_is_refused_before_anything_runs(
    arguments: list[str], says: str, parts: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        bench.main(arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err
    assert parts == []


@pytest.mark.parametrize("arguments", [["--plots", "pictures"], ["--readme"]])
def test_without_matplotlib_pictures_are_refused_at_once(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with pytest.raises(SystemExit) as caught:
        bench.main(arguments)
    assert caught.value.code == 2
    assert "pip install '.[bench]'" in capsys.readouterr().err
    assert parts == []


def test_neither_the_command_nor_the_check_needs_matplotlib() -> None:
    assert "matplotlib" not in vars(plots)


def test_parts_and_peers_are_listed_with_what_is_missing_and_none_is_run(
    parts: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(REDIS), "missing", lambda _: "redis-server not on PATH")
    assert bench.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(lines_of(shown, f" {name} ", part.about) for name, part in PARTS.items())
    assert lines_of(shown, REDIS.name, "skipped: redis-server not on PATH")
    assert lines_of(shown, SQLITE.name, SQLITE.durability)
    assert {line.split()[1] for line in lines_of(shown, "* ")[1:]} >= {"ingest", "record", "sync"}
    assert parts == []


def test_an_interrupted_run_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Run) -> Found:
        raise KeyboardInterrupt

    monkeypatch.setitem(PARTS, "ingest", PARTS["ingest"]._replace(run=interrupted))
    path = tmp_path / "run.json"
    only = ["--only", "ingest", "--dir", str(tmp_path)]
    assert bench.main([*only, "--json", str(path)]) == 130
    assert "nothing is saved" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError("no ack"), "failed: record: TimeoutError: no ack"),
        (OSError(28, "No space left"), "failed: record: OSError: [Errno 28] No space left"),
        (EOFError(), "failed: record: a process that was to report has died"),
        (WrongEntries("the log has 4 of 5"), "wrong: record: the log has 4 of 5"),
    ],
)
def test_a_part_that_breaks_is_said_and_takes_nothing_from_the_others(
    tmp_path: Path, parts: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], error: Exception, says: str,
) -> None:  # fmt: skip
    went_on: list[bool] = []

    def breaks(share: Run) -> Found:
        share.place.mkdir()
        processes.started(_stay).recv()
        raise error

    def looks(share: Run) -> Found:
        went_on.append("failed" in (said := capsys.readouterr().err) or "wrong" in said)
        assert list(tmp_path.glob("hansard-bench-*/*")) == [], "the broken part's logs are removed"
        assert multiprocessing.active_children() == [], "nor do its processes go on"
        return Found([FASTER])

    monkeypatch.setitem(PARTS, "record", PARTS["record"]._replace(run=breaks))
    monkeypatch.setitem(PARTS, "sync", PARTS["sync"]._replace(run=looks))
    only = [option for name in ("ingest", "record", "sync") for option in ("--only", name)]
    path = tmp_path / "run.json"
    assert bench.main([*only, "--dir", str(tmp_path), "--json", str(path)]) == 1
    assert went_on == [True], "it was said at once"
    shown, run = capsys.readouterr().out, saved.read(path)
    assert says in shown.splitlines()
    assert lines_of(shown, "45,265")
    assert run.found.broken == [says]
    assert [figure.part for figure in run.found.figures] == ["ingest", "sync"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_table_is_shown_even_when_it_cannot_be_saved(
    tmp_path: Path, parts: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved, "write", full)
    only = ["--only", "ingest", "--dir", str(tmp_path), "--json", str(tmp_path / "run.json")]
    assert bench.main(only) == 1
    shown = capsys.readouterr()
    assert lines_of(shown.out, "45,265")
    assert shown.err.endswith("run.json is not saved: No space left on device\n")


def _stay(result: Any) -> None:
    """A worker that does not end by itself."""
    result.send("here")
    time.sleep(60)


# The line of progress.


class Terminal:
    """What a terminal is sent."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...


def test_a_terminal_shows_what_is_done_and_keeps_what_each_part_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.Progress(2) as line:
        tell = line.begin("ingest")
        tell("random keys " * 40)
        line.end()
    shown = [each.removeprefix("\033[K") for each in terminal.text.split("\r")]
    assert "[1/2] ingest       0:00 of 0:00  random keys" in shown[2]
    assert max(map(len, shown)) <= 80
    assert shown[3] == "[1/2] ingest       0:00\n"
    assert shown[-1] == "", "the last line is wiped"


def test_nothing_but_a_terminal_is_shown_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress(1) as line:
        line.begin("ingest")("records")
        line.end()
    assert capsys.readouterr().err == ""


def test_wrong_entries_keep_their_line_apart_from_the_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def wrong(_: Run) -> Found:
        raise WrongEntries("an event is missing")

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setitem(PARTS, "ingest", PARTS["ingest"]._replace(run=wrong))
    assert bench.main(["--only", "ingest", "--dir", str(tmp_path)]) == 1
    assert "\nwrong: ingest: an event is missing\n" in terminal.text
