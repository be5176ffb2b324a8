"""``hansard export`` in the test's own process: what it writes, where, and what it says of it."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from frames import event
from hansard.reader import LogReader
from hansard_writer.cli import main
from hansard_writer.cli.export import command as export_command
from hansard_writer.cli.query import command as query_command
from provable import ProvableLog

Export = Callable[..., Result]

OPERATION = '{"workflow_id":"wf","operation":"run","status":"failed","stderr":"no package"}'
REFUSAL = '{"action":{"kind":"shell"},"agent_id":"agent:7"}'


@pytest.fixture
def log(directory: Path) -> Iterator[ProvableLog]:
    log = ProvableLog(directory)
    log.enter(
        event('{"n":1.10}', task_id="T1"),
        event('{"n":2}', event_type="note", actor=None, task_id=None),
        event(OPERATION, event_type="env.operation", task_id=None),
        event(REFUSAL, event_type="governance.refusal", actor="agent:7", task_id=None),
    )
    yield log
    log.close()


@pytest.fixture
def export(log: ProvableLog) -> Export:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(
            main, ["export", *map(str, arguments), "--dir", str(log.directory)]
        )

    return run


def ids(result: Result) -> list[int]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["id"] for line in result.stdout.splitlines()]


def test_entries_are_chosen_by_the_options_of_query_and_by_no_others() -> None:
    def options(of: click.Command) -> dict[str, object]:
        return {each.name or "": each.to_info_dict() for each in of.params}

    export, query = options(export_command), options(query_command)
    shared = export.keys() & query.keys() - {"format", "limit"}
    assert {name: export[name] for name in shared} == {name: query[name] for name in shared}
    assert query.keys() - export.keys() == {"oldest_first", "count", "show_derived"}
    assert export.keys() - query.keys() == {"to", "force", "escape_formulas"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [1, 2, 3, 4]),
        (["--after-id", 1, "--limit", 2], [2, 3]),
        (["--task-id", "T1"], [1]),
        (["--where", "n=2"], [2]),
        (["--status", "failed", "--workflow-id", "wf"], [3]),
        (["--operations"], [3]),
        (["--refusals"], [4]),
        (["--agent-id", "agent:7"], [4]),
        (["--search", "package"], [3]),
    ],
)
def test_whole_entries_come_oldest_first_whatever_they_are_chosen_by(
    export: Export, arguments: list[object], expected: list[int]
) -> None:
    result = export(*arguments)
    assert ids(result) == expected
    assert all("payload" in json.loads(line) for line in result.stdout.splitlines())


def test_json_lines_are_those_of_a_query(log: ProvableLog, export: Export) -> None:
    query = ["query", "--oldest-first", "--format", "jsonl", "--dir", str(log.directory)]
    assert export().stdout == CliRunner().invoke(main, query).stdout


def test_it_says_what_the_export_is_of_and_which_checkpoint_covers_it(
    log: ProvableLog, export: Export
) -> None:
    head = "Exported 4 entries, 1 to 4, of the log as it was at 4.\n"
    tail = "No checkpoint covers them yet: `hansard checkpoint` takes one.\n"
    assert export().stderr == head + tail
    root = log.sign().splitlines()[2]
    log.enter(count=3)
    log.sign()
    said = export("--limit", 2).stderr
    assert said == (
        "Exported 2 entries, 1 to 2, of the log as it was at 7.\n"
        f"Covered by the checkpoint of 4 entries, root {root}.\n"
    )


def test_the_format_is_guessed_by_the_files_name(
    log: ProvableLog, export: Export, tmp_path: Path
) -> None:
    for name, begin in [
        ("a.csv", b"id,created_at,"),
        ("a.jsonl", b'{"id":1,'),
        ("a.cloudevents", b'{"specversion":"1.0",'),
        ("a.ocsf", b'{"time":'),
    ]:
        for suffix in ("", ".gz"):
            path = tmp_path / (name + suffix)
            result = export("--to", path)
            assert (result.exit_code, result.stdout) == (0, ""), result.output
            content = path.read_bytes()
            assert (gzip.decompress(content) if suffix else content).startswith(begin)
    other = tmp_path / "a.txt"
    assert export("--to", other, "--format", "csv").exit_code == 0
    assert other.read_bytes() == (tmp_path / "a.csv").read_bytes()
    source = json.loads((tmp_path / "a.cloudevents").read_text().splitlines()[0])["source"]
    with LogReader(log.directory) as reader:
        assert source == f"urn:hansard:{reader.extent().log_id}"


def test_a_file_is_replaced_only_with_force(export: Export, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    result = export("--to", path)
    assert (result.exit_code, path.read_text()) == (1, "old")
    assert "--force" in result.stderr
    assert export("--to", path, "--force").exit_code == 0
    assert path.read_text() != "old"
    assert list(tmp_path.glob(".*")) == []


def test_what_begins_a_formula_is_escaped_for_who_asks(log: ProvableLog, export: Export) -> None:
    log.enter(event("{}", actor="=1"))
    assert '"=1"' in export("--format", "csv").stdout
    assert '"\'=1"' in export("--format", "csv", "--escape-formulas").stdout


def test_where_no_entry_meets_the_conditions_the_answer_is_no_and_the_file_is_empty(
    export: Export, tmp_path: Path
) -> None:
    result = export("--to", tmp_path / "a.csv", "--actor", "nobody")
    assert result.exit_code == 1
    assert result.stderr == "No entry of the log's 4 meets these conditions.\n"
    assert (tmp_path / "a.csv").read_text().startswith("id,")


def test_what_was_pruned_or_removed_is_said(log: ProvableLog, export: Export) -> None:
    log.execute("INSERT INTO meta VALUES('unlocked', 'prune'), ('pruned_to', 1)")
    log.execute("DELETE FROM entries WHERE seq = 1")
    result = export()
    assert ids(result) == [2, 3, 4]
    assert "Entries up to 1 were pruned: the log begins behind them.\n" in result.stderr
    log.execute("DELETE FROM entries WHERE seq = 3")
    result = export()
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "1 entry is missing between them: they were removed, and not by pruning" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--to", "a.txt"], "one of the suffixes .jsonl, .csv, .parquet, .cloudevents, .ocsf"),
        (["--to", "a.parquet.gz"], "leave out .gz"),
        (["--to", "log/a.csv"], "name a place outside"),
        (["--to", "pipe", "--format", "csv", "--force"], "redirect stdout"),
        (["--escape-formulas"], "goes with csv, and this is jsonl"),
        (["--format", "xml"], "jsonl"),
        (["--operations", "--refusals"], "not both"),
        (["--search", "a &"], "AND, OR, NOT"),
    ],
)
def test_what_makes_no_sense_is_bad_usage(
    export: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    complaint: str,
) -> None:
    import os

    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    result = export(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in " ".join(result.stderr.split())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "pipe"]


def test_a_directory_that_is_not_there_is_named(export: Export, tmp_path: Path) -> None:
    result = export("--to", tmp_path / "none" / "a.csv")
    assert result.exit_code == 2
    assert f"there is no directory {tmp_path / 'none'}: make it" in result.stderr
