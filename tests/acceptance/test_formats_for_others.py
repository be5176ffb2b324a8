"""What others read of a log: CloudEvents by their SDK, OCSF by its schema, files by DuckDB; of real
events, recorded by a real writer."""

import functools
import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

import hansard
from hansard.reader import Event, LogReader
from hansard_writer.cli import main as command
from hansard_writer.running_writer import running
from many_entries import fill, lines_and_memory
from ocsf import violations

DATA = Path(__file__).parents[1] / "data"
SETS = {
    "agent.step": "agent_sweagent_steps",
    "cli.snapshot": "cli_uv_snapshots",
    "cloudtrail": "cloudtrail_stratus",
    "webhook": "github_webhooks",
}
LINES_A_SET = 60
ATTRIBUTES_BYTES_MAX = 1 << 10  # of the 64 KiB that whoever passes on an event must take
ENTRIES = 20_000
FEW = 2_000
RSS_GROWTH_MAX = 8 << 20
REDACTED = 7


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of real payloads, and of one entry of each kind that a format knows."""
    directory = tmp_path_factory.mktemp("formats") / "log"
    with running(directory), hansard.AuditLog(directory) as log:
        for event_type, name in SETS.items():
            lines = gzip.decompress((DATA / f"{name}.jsonl.gz").read_bytes()).splitlines()
            log.record_many(
                [
                    {
                        "event_type": event_type,
                        "payload": json.loads(line),
                        "actor": f"agent:{number % 3}" if number % 4 else None,
                        "task_id": f"T{number // 9}",
                        "level": ("info", "debug", "warning", "error", "critical")[number % 5],
                    }
                    for number, line in enumerate(lines[:LINES_A_SET])
                ],
                sync=True,
            )
        environment = log.environment("nightly", "n1")
        environment.start_operation("add_deps", metadata={"packages": ["numpy"]}).failed("no such")
        environment.start_operation("run").success("4\n", exit_code=0)
        log.refusal("agent:1", {"kind": "delete"}, {"decision": "refuse", "rule_id": "R1"})
        log.record("http.request", {"method": "GET", "route": "/", "status": 200}, sync=True)
        log.record("bare", sync=True)
        log.flush()
        run("redact", directory, "--seq", str(REDACTED), "--reason", "a test")
    return directory


@functools.cache
def run(name: str, directory: Path, *arguments: str) -> str:
    """What the command prints; once, for what it is asked of does not change."""
    said = CliRunner().invoke(command, [name, "--dir", str(directory), *arguments])
    assert said.exit_code == 0, said.output
    return said.stdout


@pytest.fixture(scope="module")
def entries(log: Path) -> list[Event]:
    with LogReader(log) as reader:
        return list(reader.events())


@pytest.fixture
def exported(log: Path) -> Callable[[str], Path]:
    """Writes an export of the whole log."""

    def write(name: str) -> Path:
        path = log.parent / name
        run("export", log, "--to", str(path))
        return path

    return write


def payload_of(event: Event) -> Any:
    return None if event.payload is None else json.loads(event.payload)


# --- cloudevents ---


def test_the_sdk_of_cloudevents_reads_every_line_as_the_entry_that_it_was(
    log: Path, entries: list[Event]
) -> None:
    lines = run("export", log, "--format", "cloudevents").splitlines()
    events = [JSONFormat().read(CloudEvent, line) for line in lines]
    for event, entry in zip(events, entries, strict=True):
        assert event.get_specversion() == "1.0"
        assert event.get_type() == entry.event_type
        assert event.get_subject() == entry.task_id
        assert event.get_time() == datetime.fromisoformat(entry.created_at)
        assert event.get_data() == payload_of(entry)
        found = {name: event.get_extension(name) for name in ("actor", "level", "host", "pid")}
        assert found == {name: getattr(entry, name) or None for name in found}
        assert int(event.get_extension("sequence")) == entry.id
        assert event.get_extension("producer") == entry.producer
        assert bool(event.get_extension("redacted")) == entry.redacted
    assert len({(event.get_source(), event.get_id()) for event in events}) == len(entries)


def test_what_the_sdk_writes_again_is_equal_and_its_attributes_are_small(log: Path) -> None:
    for line in run("export", log, "--format", "cloudevents").splitlines():
        once = JSONFormat().read(CloudEvent, line)
        again = JSONFormat().read(CloudEvent, JSONFormat().write(once))
        assert (again.get_attributes(), again.get_data()) == (
            once.get_attributes(),
            once.get_data(),
        )
        attributes = {name: value for name, value in json.loads(line).items() if name != "data"}
        assert len(json.dumps(attributes)) < ATTRIBUTES_BYTES_MAX


# --- ocsf ---


def test_every_line_is_an_ocsf_event_of_the_pinned_schema(log: Path, entries: list[Event]) -> None:
    events = [json.loads(line) for line in run("export", log, "--format", "ocsf").splitlines()]
    for event, entry in zip(events, entries, strict=True):
        assert violations(event) == [], entry
        assert event["api"]["operation"] == entry.event_type
        assert event["time"] == entry.created_at_ns // 1_000_000
        assert event["metadata"]["sequence"] == entry.id
        assert event.get("unmapped") == payload_of(entry)
    assert len({event["metadata"]["uid"] for event in events}) == len(entries)
    of_type = {event["metadata"]["event_code"]: event for event in events}
    assert of_type["governance.refusal"]["disposition"] == "Blocked"
    assert of_type["http.request"]["http_response"] == {"code": 200}
    assert [event["status"] for event in events if "resources" in event] == ["Failure", "Success"]


# --- query and tail ---


@pytest.mark.parametrize("standard", ["cloudevents", "ocsf"])
def test_query_and_tail_print_the_lines_that_an_export_has(log: Path, standard: str) -> None:
    whole = run("export", log, "--format", standard).splitlines()
    options = ("--format", standard, "--limit", "0")
    assert run("query", log, *options, "--oldest-first").splitlines() == whole
    assert run("query", log, *options).splitlines() == whole[::-1]
    assert run("tail", log, "--format", standard, "-n", "5").splitlines() == whole[-5:]


@pytest.mark.parametrize(
    ("conditions", "event_type", "count"),
    [
        (("--operations",), "env.operation", 2),
        (("--status", "failed"), "env.operation", 1),
        (("--refusals",), "governance.refusal", 1),
        (("--agent-id", "agent:1"), "governance.refusal", 1),
    ],
)
def test_operations_and_refusals_are_printed_as_the_entries_that_they_are(
    log: Path, conditions: tuple[str, ...], event_type: str, count: int
) -> None:
    lines = run("query", log, *conditions, "--format", "cloudevents").splitlines()
    assert [json.loads(line)["type"] for line in lines] == [event_type] * count
    assert all(json.loads(line)["data"] for line in lines)


def test_derived_fields_are_refused_where_there_is_no_column_for_them(log: Path) -> None:
    for name in ("query", "tail"):
        asked = [name, "--dir", str(log), "--show-derived", "--format", "ocsf"]
        said = CliRunner().invoke(command, asked)
        assert (said.exit_code, said.stdout) == (2, "")
        assert "--show-derived is a column, and ocsf has none" in said.stderr


def test_an_event_a_line_takes_no_more_memory_for_all_than_for_a_few(tmp_path: Path) -> None:
    fill(tmp_path / "log", ENTRIES, "task.done", {"title": "x" * 200})
    options = ("--format", "ocsf", "--limit")
    few, bytes_for_few = lines_and_memory("query", tmp_path / "log", *options, FEW)
    every, bytes_for_all = lines_and_memory("query", tmp_path / "log", *options, 0)
    assert (few, every) == (FEW, ENTRIES)
    assert bytes_for_all - bytes_for_few < RSS_GROWTH_MAX


# --- DuckDB, with the line that the README has for each ---


def rows(question: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(question).fetchall()


def types(source: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in rows(f"DESCRIBE SELECT * FROM {source}")}


def by_type(entries: list[Event]) -> list[tuple[str, int]]:
    found = [entry.event_type for entry in entries]
    return sorted((each, found.count(each)) for each in set(found))


@pytest.mark.parametrize(
    "name", ["log.jsonl", "log.jsonl.gz", "log.csv", "log.csv.gz", "log.parquet"]
)
def test_duckdb_reads_an_export_in_one_line(
    exported: Callable[[str], Path], entries: list[Event], name: str
) -> None:
    path = exported(name)
    question = f"SELECT event_type, count(*) FROM '{path}' GROUP BY ALL ORDER BY ALL"
    assert rows(question) == by_type(entries)
    found = types(f"'{path}'")
    assert {found[name] for name in ("id", "producer_seq", "pid")} == {"BIGINT"}
    assert found["redacted"] == "BOOLEAN"
    assert found["created_at"].startswith("TIMESTAMP")
    assert {found[name] for name in ("event_type", "level", "actor", "task_id", "host")} == {
        "VARCHAR"
    }
    assert rows(f"SELECT id FROM '{path}' WHERE redacted") == [(REDACTED,)]
    bare, empty = rows(f"SELECT id, actor FROM '{path}' WHERE event_type = 'bare'"), entries[-2]
    assert bare == [(empty.id, None)]


@pytest.mark.parametrize("name", ["log.cloudevents", "log.ocsf.gz"])
def test_duckdb_reads_events_of_the_standards(
    exported: Callable[[str], Path], entries: list[Event], name: str
) -> None:
    source = f"read_json_auto('{exported(name)}')"
    is_ocsf = "ocsf" in name
    event_type = "api.operation" if is_ocsf else "type"
    question = f"SELECT {event_type} AS t, count(*) FROM {source} GROUP BY ALL ORDER BY ALL"
    assert rows(question) == by_type(entries)
    found = types(source)
    if is_ocsf:
        assert {found[each] for each in ("time", "type_uid", "status_id")} == {"BIGINT"}
    else:
        assert found["time"].startswith("TIMESTAMP")
        assert found["sequence"] == "VARCHAR"
