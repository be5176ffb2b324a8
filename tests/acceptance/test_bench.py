"""The bench as it is run: its figures, its exit status, and that it believes no count unseen."""

import json
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from bench import __main__ as bench
from bench.measuring import entered
from bench.measuring.figures import Figure
from bench.parts import QUICK, backfill, crowded, ingest, proof, proof_cost, readers, search, verify
from bench.reporting import readme
from bench.workloads.event import Event
from bench.workloads.tasks import events
from hansard import AuditLog
from hansard_writer import RunningWriter

CHECKOUT = Path(__file__).resolve().parents[2]
WORKERS = 2
EVENTS = 2_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The figures of a small run of the real command, by name."""
    place = tmp_path_factory.mktemp("bench")
    report = place / "report.json"
    sizes = ["--workers", str(WORKERS), "--events", str(EVENTS)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", *sizes, "--dir", place, "--json", report],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(report.read_text())
    assert content["settings"] == {"workers": WORKERS, "events": EVENTS, "quick": True}
    assert content["machine"]["cores"] >= 1
    for figure in content["figures"]:
        assert figure["name"] in done.stdout
    assert sorted(place.iterdir()) == [report], "the bench left something behind"
    return {f"{each['part']}: {each['name']}": each["value"] for each in content["figures"]}


def test_it_counts_what_was_entered(run: dict[str, float]) -> None:
    assert run["ingest: events entered, each checked"] == EVENTS
    assert run["ingest: commits"] >= 1


def test_the_readme_has_its_figures_from_it(run: dict[str, float]) -> None:
    parts = {name.partition(": ")[0] for name in run}
    wanted = {f"{row.part}: {row.name}" for row in readme.ROWS if row.part in parts}
    assert wanted <= run.keys()
    assert parts == {*QUICK, "limit"}


def test_every_figure_is_a_measurement(run: dict[str, float]) -> None:
    # CPU time comes in ticks of 10 ms, too coarse for so small a run.
    assert all(value > 0 for name, value in run.items() if "CPU" not in name), run


def test_the_proof_is_measured_against_a_writer_without_it(tmp_path: Path) -> None:
    """All logs hold the same events, one alone has a tree, and bare rows are those of a log."""
    figures = proof_cost.run(tmp_path / "cost", 500)
    assert all(figure.value > 0 for figure in figures), figures
    logs = [
        apsw.Connection(str(tmp_path / "cost" / side / "log.db"))
        for side in ("with", "without", "bare-with", "bare")
    ]
    columns = "seq, producer, producer_seq, event_type, level, actor, task_id, payload"
    proven, *others = (log.execute(f"SELECT {columns} FROM entries").fetchall() for log in logs)
    assert others == [proven] * 3
    assert [log.execute("SELECT count(*) > 0 FROM tree").get for log in logs] == [1, 0, 0, 0]
    hidden = "SELECT count(*) FROM entries WHERE (payload IS NULL) = (payload_hash IS NULL)"
    unhidden = sum(row[-1] is None for row in proven)
    assert [log.execute(hidden).get for log in logs] == [len(proven), unhidden] * 2


def test_readers_are_measured_beside_those_who_record(tmp_path: Path) -> None:
    figures = readers.run(tmp_path / "readers", 500, rounds=1, calls=20)
    assert {figure.workload for figure in figures} == {"tasks"}
    assert {figure.name.split(":")[0] for figure in figures} == {
        "0 readers", "1 readers", "4 readers", "4 readers, inconsiderate",
    }  # fmt: skip
    assert all(figure.value > 0 for figure in figures), figures


def test_searches_are_measured_and_their_answers_checked(tmp_path: Path) -> None:
    figures = search.run(tmp_path / "search", entries=10_000, cost_events=1_000)
    assert all(figure.value > 0 for figure in figures), figures
    assert {"rare word p99", "common word, newest 20 p50"} <= {each.name for each in figures}


def test_proofs_are_timed_and_checked_and_their_bytes_counted(tmp_path: Path) -> None:
    figures = proof.run(tmp_path / "proof", entries=5_000, large_entries=70_000)
    assert all(figure.value > 0 for figure in figures), figures
    assert {"a proof p50", "hashes read for a proof, at most"} <= {each.name for each in figures}


def test_a_log_is_verified_and_its_memory_measured(tmp_path: Path) -> None:
    figures = {each.name: each.value for each in verify.run(tmp_path / "verify", entries=5_000)}
    assert figures["entries of 200 bytes of payload"] == 5_000
    assert figures["CPU an entry"] > 0


def test_a_backfill_is_timed_and_its_values_counted_beside_a_caller_too(tmp_path: Path) -> None:
    sizes = ((300, 1.0, 1),)
    figures = backfill.run(
        tmp_path / "backfill", sizes=sizes, beside_entries=20_000, rounds=1, calls=20
    )
    names = {figure.name for figure in figures}
    assert {"300 entries", "sync p99 beside a backfill", "p99 beside / alone"} <= names


def test_a_backfill_that_leaves_values_out_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "_command", lambda *_: [sys.executable, "-c", ""])
    with pytest.raises(entered.WrongEntries, match="a backfill has left"):
        backfill.run(tmp_path / "backfill", sizes=((10, 1.0, 1),), rounds=0)


def test_a_caller_is_measured_in_a_crowd(tmp_path: Path) -> None:
    figures = crowded.run(tmp_path / "crowded", producers=2, calls=20)
    assert all(figure.value > 0 for figure in figures), figures


def test_the_same_worker_makes_the_same_events_again() -> None:
    assert events(3, 500) == events(3, 800)[:500]
    assert events(3, 500) != events(4, 500)


def test_a_count_that_differs_is_an_error(directory: Path, writer: RunningWriter) -> None:
    producer = _record(directory, recorded := events(0, 5))
    entered.check(directory, {producer: recorded})
    with pytest.raises(entered.WrongEntries, match=r"recorded 6 events, and the log has 5"):
        entered.check(directory, {producer: events(0, 6)})
    with pytest.raises(entered.WrongEntries, match=r"recorded 0 events, and the log has 5"):
        entered.check(directory, {})
    entered.check_count(directory, 5)
    with pytest.raises(entered.WrongEntries, match=r"6 events were recorded, and the log has 5"):
        entered.check_count(directory, 6)


def test_an_entry_that_differs_is_an_error(directory: Path, writer: RunningWriter) -> None:
    producer = _record(directory, recorded := events(0, 5))
    other = [*recorded[:4], recorded[4]._replace(payload={"status": "forged"})]
    with pytest.raises(entered.WrongEntries, match="event 5 "):
        entered.check(directory, {producer: other})


def test_wrong_entries_are_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_is_missing(*_: object) -> list[Figure]:
        raise entered.WrongEntries("worker 0 recorded 5 events, and the log has 4 of it")

    monkeypatch.setattr(ingest, "measure", one_is_missing)
    assert bench.main(["--only", "ingest", "--dir", str(tmp_path)]) == 1
    assert "the log has 4" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _record(directory: Path, recorded: list[Event]) -> bytes:
    """Record events and wait for their commit; the producer's hash."""
    with AuditLog(directory) as log:
        for event_type, payload, level, actor, task_id in recorded:
            entry = log.record(event_type, payload, level=level, actor=actor, task_id=task_id)
        assert log.flush()
    assert entry.key is not None
    return entry.key[0]
