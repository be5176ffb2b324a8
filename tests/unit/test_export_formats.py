"""What an entry is in each format of an export: encoders take entries and give bytes."""

import csv
import io
import json
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from hansard import AuditLogError, ConfigError
from hansard.reader import Event, Extent
from hansard_writer import arrow
from hansard_writer.exporting import FORMATS
from hansard_writer.exporting import parquet as parquet_module
from hansard_writer.exporting.comma_separated import EscapedFormulas

EXTENT = Extent("ab" * 16, 0, 9)
NUMBERS = '{ "z": 1.10, "a": 123456789012345678901234567890, "e": 1E400,\n"s": "\\ud800" }'

FULL = Event(
    id=7,
    created_at="2026-01-31T23:59:00.000001Z",
    created_at_ns=1_769_903_940_000_001_234,
    event_type="task.done",
    level="info",
    actor="agent:7",
    task_id="T1",
    payload='{"title":"ä, \\"b\\""}',
    producer="0123456789abcdef" * 4,
    producer_seq=3,
    host="host-a",
    pid=4711,
)
BARE = replace(FULL, id=8, producer_seq=4, actor=None, task_id=None, payload=None)
REDACTED = replace(BARE, id=9, producer_seq=5, redacted=True)
EXACT = replace(FULL, id=10, payload=NUMBERS)
NASTY = replace(
    FULL, id=11, producer_seq=6, actor="=cmd|'/c'!A1", task_id='a"b,\r\nc\x7f\ufffe\U0010ffff',
    payload='{"=":"\\n"}',
)  # fmt: skip
EMPTY = replace(FULL, id=12, producer_seq=7, actor="", task_id="")
ALL = (FULL, BARE, REDACTED, EXACT, NASTY, EMPTY)


def encoded(format_name: str, events: Iterable[Event] = ALL) -> bytes:
    encoder = FORMATS[format_name](EXTENT)
    return b"".join([encoder.begin(), *map(encoder.add, events), encoder.end()])


def lines(format_name: str, events: Iterable[Event] = ALL) -> list[str]:
    text = encoded(format_name, events).decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def spliced(line: str, name: str) -> str:
    """The value of the line's last-but-known member, letter by letter."""
    decoder = json.JSONDecoder()
    start = line.index(f'"{name}":') + len(name) + 3
    _, end = decoder.raw_decode(line, start)
    return line[start:end]


# --- jsonl ---


def test_json_lines_have_every_column_of_an_entry() -> None:
    for line, event in zip(lines("jsonl"), ALL, strict=True):
        row = json.loads(line)
        expected = asdict(event)
        payload = expected["payload"]
        expected["payload"] = None if payload is None else json.loads(payload)
        assert row == expected
        assert list(row) == list(expected)


@pytest.mark.parametrize(("format_name", "member"), [("jsonl", "payload"), ("cloudevents", "data")])
def test_a_payload_stands_in_json_character_by_character(format_name: str, member: str) -> None:
    (line,) = lines(format_name, [EXACT])
    assert spliced(line, member) == NUMBERS.replace("\n", " ")
    number = json.loads(line, parse_float=Decimal)[member]["e"]
    assert number == Decimal("1E400")


# --- csv ---


def rows_of_csv(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


def test_csv_has_every_column_of_an_entry() -> None:
    header, *rows = rows_of_csv(encoded("csv"))
    assert header == list(Event.__dataclass_fields__)
    for row, event in zip(rows, ALL, strict=True):
        words = {None: "", True: "true", False: "false"}
        assert row == [
            words[value] if value is None or isinstance(value, bool) else str(value)
            for value in asdict(event).values()
        ]


def test_csv_tells_null_from_empty_text_and_ends_its_lines_as_rfc_4180_has_it() -> None:
    header, bare, empty, end = encoded("csv", [BARE, EMPTY]).split(b"\r\n")
    assert (header[:2], end) == (b"id", b"")
    assert b',"task.done","info",,,,"0123' in bare
    assert b',"task.done","info","","","{' in empty


def test_csv_gives_what_was_recorded_and_a_spreadsheet_no_formula() -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]
    harmless = ["agent:7", "'=1", " =1", "a=1", ""]
    actors = [*formulas, *harmless]
    for encoder, expected in [
        (FORMATS["csv"](EXTENT), actors),
        (EscapedFormulas(EXTENT), ["'" + each for each in formulas] + harmless),
    ]:
        data = b"".join(encoder.add(replace(FULL, actor=actor)) for actor in actors)
        assert [row[5] for row in rows_of_csv(data)] == expected
        assert {row[7] for row in rows_of_csv(data)} == {FULL.payload}


# --- cloudevents ---

NAME = re.compile(r"[a-z0-9]{1,20}")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
MEDIA_TYPE = re.compile(r"[a-z]+/[a-z.+-]+")
URI = re.compile(r"[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


def is_allowed(text: str) -> bool:
    """Whether it may be a String of CloudEvents: no control, noncharacter or lone surrogate."""
    return not any(
        code <= 0x1F or 0x7F <= code <= 0x9F or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
        or 0xD800 <= code <= 0xDFFF
        for code in map(ord, text)
    )  # fmt: skip


def violations(event: dict[str, Any]) -> list[str]:
    """Which rules of CloudEvents 1.0.2 and its JSON format a structured event breaks."""
    attributes = {name: value for name, value in event.items() if name != "data"}
    rules = {
        "required": all(event.get(name) for name in ("id", "source", "specversion", "type")),
        "version": event.get("specversion") == "1.0",
        "names": all(NAME.fullmatch(name) for name in attributes),
        "types": all(type(value) in (bool, int, str) for value in attributes.values()),
        "integers": all(
            -(2**31) <= value < 2**31 for value in attributes.values() if type(value) is int
        ),
        "strings": all(is_allowed(value) for value in attributes.values() if type(value) is str),
        "source": bool(URI.fullmatch(event["source"])),
        "time": bool(RFC_3339.fullmatch(event["time"])),
        "subject": event.get("subject") != "",
        "content type": "data" not in event or bool(MEDIA_TYPE.fullmatch(event["datacontenttype"])),
        "sequence": isinstance(event["sequence"], str) and event["sequence"] != "",
    }
    return [name for name, holds in rules.items() if not holds]


def test_the_rules_of_cloudevents_find_what_breaks_them() -> None:
    good = json.loads(lines("cloudevents", [FULL])[0])
    for broken in (
        {"id": ""}, {"type": None}, {"specversion": "1"}, {"producer_seq": "1"}, {"actor": "a\n"},
        {"source": "no uri"}, {"time": "2026-01-01 00:00:00"}, {"subject": ""}, {"sequence": 7},
        {"pid": 2**31}, {"actor": None}, {"datacontenttype": "json"}, {"host": "\ufdd0"},
    ):  # fmt: skip
        assert violations({**good, **broken}), broken


def test_every_entry_is_a_cloudevent() -> None:
    hostile = replace(FULL, host="\x00\ud7ff", pid=2**40, actor="\U0001fffe\x9f")
    found = [json.loads(line) for line in lines("cloudevents", [*ALL, hostile])]
    assert [violations(event) for event in found] == [[]] * len(found)


def test_a_cloudevent_says_all_that_the_entry_says() -> None:
    assert json.loads(lines("cloudevents", [FULL])[0]) == {
        "specversion": "1.0",
        "id": "0123456789abcdef-3-1769903940000001234",
        "source": "urn:hansard:" + "ab" * 16,
        "type": "task.done",
        "time": "2026-01-31T23:59:00.000001234Z",
        "subject": "T1",
        "datacontenttype": "application/json",
        "data": {"title": 'ä, "b"'},
        "sequence": "0000000000000000007",
        "level": "info",
        "actor": "agent:7",
        "producer": "0123456789abcdef" * 4,
        "producerseq": "3",
        "host": "host-a",
        "pid": 4711,
    }


def test_what_a_cloudevent_must_not_hold_is_escaped_as_in_json() -> None:
    (event,) = (json.loads(line) for line in lines("cloudevents", [NASTY]))
    assert event["subject"] == 'a"b,\\u000d\\u000ac\\u007f\\ufffe\\udbff\\udfff'
    assert json.loads(f'"{event["subject"][3:]}"') == NASTY.task_id[3:]  # type: ignore[index]


def test_sequences_sort_as_numbers_do() -> None:
    events = [replace(FULL, id=number) for number in (9, 10, 2**63 - 1)]
    found = [json.loads(line)["sequence"] for line in lines("cloudevents", events)]
    assert found == sorted(found)
    assert [int(each) for each in found] == [9, 10, 2**63 - 1]


def test_an_id_is_the_events_own_even_where_a_log_was_put_back() -> None:
    """Numbers are given anew behind a backup; the event that comes again is the same."""
    own = replace(FULL, event_type="hansard.redacted", producer_seq=12)
    other = replace(own, event_type="hansard.rollback", created_at_ns=own.created_at_ns + 1)
    again = replace(FULL, id=4)
    found = [json.loads(line)["id"] for line in lines("cloudevents", [FULL, own, other, again])]
    assert found[3] == found[0]
    assert len(set(found)) == 3


# --- parquet ---


def table_of(data: bytes) -> Any:
    return parquet.read_table(io.BytesIO(data))


def test_parquet_has_every_entry_typed() -> None:
    table = table_of(encoded("parquet"))
    types = {field.name: str(field.type) for field in table.schema}
    word = "dictionary<values=string, indices=int32, ordered=0>"
    assert types == {
        "id": "int64", "created_at": "timestamp[ns, tz=UTC]", "event_type": word, "level": word,
        "actor": "string", "task_id": "string", "payload": "string", "producer": word,
        "producer_seq": "int64", "host": word, "pid": "int64", "redacted": "bool",
    }  # fmt: skip
    nullable = {field.name for field in table.schema if field.nullable}
    assert nullable == {"actor", "task_id", "payload"}
    rows = {name: table.column(name).to_pylist() for name in types if name != "created_at"}
    for name, values in rows.items():
        assert values == [getattr(event, name) for event in ALL], name


def test_parquet_times_are_exact_to_the_nanosecond() -> None:
    times = table_of(encoded("parquet", [FULL])).column("created_at")
    assert times.cast("int64").to_pylist() == [FULL.created_at_ns]
    moment = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    assert int(moment.timestamp()) == FULL.created_at_ns // 10**9


def test_parquet_says_of_which_log_it_is_and_may_be_empty() -> None:
    table = table_of(encoded("parquet", []))
    assert table.num_rows == 0
    about = table.schema.metadata
    assert about[b"hansard.log_id"] == b"ab" * 16
    assert about[b"hansard.entries"] == b"9"


@pytest.mark.parametrize(
    ("bound", "value"),
    [("ROW_GROUP_ENTRIES_MAX", 10), ("ROW_GROUP_BYTES_MAX", 10 * len(FULL.payload or ""))],
)
def test_a_row_group_is_written_when_it_is_full(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(parquet_module, "BATCH_ENTRIES", 4)
    monkeypatch.setattr(parquet_module, bound, value)
    encoder = FORMATS["parquet"](EXTENT)
    pieces = [encoder.begin(), *(encoder.add(replace(FULL, id=each)) for each in range(25))]
    written = [number for number, piece in enumerate(pieces) if piece]
    assert written == [0, 10, 20]
    file = parquet.ParquetFile(io.BytesIO(b"".join(pieces) + encoder.end()))
    groups = file.metadata.num_row_groups
    assert [file.metadata.row_group(each).num_rows for each in range(groups)] == [10, 10, 5]
    assert file.read().column("id").to_pylist() == list(range(25))


def test_an_entry_that_only_an_altered_log_can_have_is_said_to_be_so() -> None:
    encoder = FORMATS["parquet"](EXTENT)
    altered: Any = b"\xff"
    encoder.add(replace(FULL, payload=altered))
    with pytest.raises(AuditLogError, match="entries 7 to 7 was altered"):
        encoder.end()


def test_without_pyarrow_the_message_is_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'pyarrow>=16'")):
        FORMATS["parquet"](EXTENT)


def test_the_package_asks_for_the_pyarrow_that_the_message_names() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    assert extras["parquet"] == [arrow.REQUIREMENT]
    assert arrow.REQUIREMENT in extras["dev"]


# --- all of them ---


def test_a_redacted_payload_is_told_from_one_that_never_was_in_each_format() -> None:
    bare, redacted = (json.loads(line) for line in lines("jsonl", [BARE, REDACTED]))
    assert (bare["payload"], bare["redacted"]) == (None, False)
    assert (redacted["payload"], redacted["redacted"]) == (None, True)
    _, *rows = encoded("csv", [BARE, REDACTED]).splitlines()
    assert [row.rsplit(b",", 1)[1] for row in rows] == [b"false", b"true"]
    bare, redacted = (json.loads(line) for line in lines("cloudevents", [BARE, REDACTED]))
    assert "data" not in {*bare, *redacted}
    assert ("redacted" in bare, redacted["redacted"]) == (False, True)
