"""What a line is, and what its fields say."""

import json
from typing import Any

import pytest

from hansard.errors import InvalidEvent
from hansard_writer.importing.fields import Fields, parse_object, read_event
from hansard_writer.json_path import Number, Path
from hansard_writer.moments import parse_time

SECOND = 1_000_000_000
NOON = 1_704_110_400 * SECOND  # 2024-01-01T12:00:00Z


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"n": 123456789012345678901234567890, "f": 1e400}',
        b'{"n": ' + b"9" * 5_000 + b"}",
        rb'{"lone": "\ud800", "\udfff": 1}',
        rb'{"nul": "\u0000", "control": "\u0001"}',
        '{"text": "\u2028 \ufeff é 🦉 \x7f"}'.encode(),
        b'{"a": 1, "a": 2}',
    ],
)
def test_all_that_json_allows_is_an_object(line: bytes) -> None:
    parse_object(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the line is empty"),
        (b"nonsense", "no JSON: "),
        (b'{"a": 1', "no JSON: "),
        (b'{"a": 1} {"b": 2}', "no JSON: "),
        (b'{"a": NaN}', "no JSON: "),
        (b'{"a": -Infinity}', "no JSON: "),
        (b'{"a": "\x01"}', "no JSON: "),
        (b'{"a": "\xff"}', "no JSON: "),
        (b'{"a": "\xed\xa0\x80"}', "no JSON: "),
        ('{"a": 1}'.encode("utf-16"), "no JSON: "),
        (b'{"a":' * 100_000, "no JSON: "),
        (b"[1, 2]", r"no JSON object: '\[1, 2\]'"),
        (b"null", "no JSON object: 'null'"),
        (b'"\\u001b[2J"', "no JSON object: "),
        (b'{"a": "' + b"x" * (1 << 20) + b'"}', "longer than 1,048,576 bytes"),
    ],
)
def test_what_is_no_object_is_refused_with_its_reason(line: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason):
        parse_object(line)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", {"b": [{"c": 7}], "d.e": 8}),
        ("a.b.0.c", 7),
        (r"a.d\.e", 8),
        ("a.b.1.c", None),
        ("a.b.c", None),
        ("x.y", None),
        ("0", 9),
    ],
)
def test_a_path_follows_names_and_list_indexes(path: str, value: Any) -> None:
    document = {"a": {"b": [{"c": 7}], "d.e": 8}, "0": 9}
    assert Path(path).follow(document) == value


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a\\"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        Path(text)


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        ("2024-01-01T12:00:00Z", NOON),
        ("2024-01-01T12:00:00", NOON),
        ("2024-01-01 14:00:00+02:00", NOON),
        ("20240101T120000Z", NOON),
        ("2024-01-01", NOON - 12 * 3_600 * SECOND),
        ("20240101", NOON - 12 * 3_600 * SECOND),
        ("2024-01-01T12:00:00.123456789Z", NOON + 123_456_789),
        ("2024-01-01T12:00:00.1234567", NOON + 123_456_700),
        ("2024-01-01T14:00:00.123456+02:00", NOON + 123_456_000),
        ("2024-01-01T07:00:00.5-05:00", NOON + 500_000_000),
        ("2024-01-01T120000.1234567", NOON + 123_456_700),
        ("2024-W01-1T12:00:00", NOON),
        ("1970-01-01T00:00:00Z", 0),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ("2024-01-01T12:00:00,5+00:00", NOON + 500_000_000),
        ("2024-01-01T12:00:00+00:00:01.500000", NOON - 1_500_000_000),
        ("2024-01-01T12:00:00.000000001-00:00:01.5", NOON + 1_500_000_001),
        ("20240101T120000.25Z", NOON + 250_000_000),
        (1_704_110_400, NOON),
        (Number("1704110400.123456789"), NOON + 123_456_789),
        (1_704_110_400_000, NOON),
        (1_704_110_400_000_000, NOON),
        (1_704_110_400_000_000_001, NOON + 1),
        ("1704110400", NOON),
        ("1704110400.5", NOON + 500_000_000),
        (0, 0),
    ],
)
def test_times_are_exact_to_the_nanosecond(value: Any, ns: int) -> None:
    assert parse_time(value) == ns


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [],
        {},
        "",
        "yesterday",
        "2024-13-01",
        -1,
        "1969-12-31",
        "1969-12-31T23:59:59Z",
        "2262-04-11T23:47:17Z",
        "2024-02-30T12:00:00Z",
        "9999-01-01",
        10**30,
        Number("1e999999999"),
        Number("-1e99"),
    ],
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"there is none|text nor a number|ISO 8601|1970 and 2262"):
        parse_time(value)


def test_the_fields_of_a_line_become_the_arguments_of_record() -> None:
    line = json.dumps(
        {
            "kind": "user.login",
            "meta": {"at": 1704110400.25, "who": [12345678901234567890123]},
            "job": 1.50,
        }
    ).encode()
    fields = Fields(
        type_path=Path("kind"),
        time_path=Path("meta.at"),
        actor_path=Path("meta.who.0"),
        task_path=Path("job"),
    )
    event = read_event(line, fields)
    assert event == (
        "user.login",
        line,
        "12345678901234567890123",
        "1.5",
        NOON + 250_000_000,
        "info",
    )


def test_numbers_are_taken_as_they_are_written() -> None:
    fields = Fields(event_type="x", actor_path=Path("a"), task_path=Path("t"))
    event = read_event(b'{"a": 1.50, "t": 10e3, "s": "\\ud800"}', fields)
    assert (event.actor, event.task_id) == ("1.50", "10e3")


def test_a_missing_actor_or_task_is_none() -> None:
    fields = Fields(event_type="x", actor_path=Path("a"), task_path=Path("t"))
    event = read_event(b'{"t": null}', fields)
    assert (event.actor, event.task_id, event.created_at) == (None, None, None)


@pytest.mark.parametrize("line", [b"{}", b'{"t": "9 lives"}', b'{"t": 7}', b'{"t": ["x"]}'])
def test_a_line_without_a_valid_type_is_refused_unless_there_is_another(line: bytes) -> None:
    with pytest.raises(InvalidEvent, match="event_type is"):
        read_event(line, Fields(type_path=Path("t")))
    assert read_event(line, Fields(type_path=Path("t"), event_type="other")).event_type == "other"


@pytest.mark.parametrize("line", [b'{"a": true}', b'{"a": {}}', b'{"a": [1]}'])
def test_an_actor_that_is_neither_text_nor_number_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidEvent, match="must be text, a number or null"):
        read_event(line, Fields(event_type="x", actor_path=Path("a")))


def test_a_time_that_is_missing_is_refused_by_name() -> None:
    with pytest.raises(InvalidEvent, match=r"time at meta\.at: there is none"):
        read_event(b"{}", Fields(event_type="x", time_path=Path("meta.at")))


def test_a_type_is_needed() -> None:
    with pytest.raises(InvalidEvent, match="event_type"):
        Fields()
    with pytest.raises(InvalidEvent, match="event_type"):
        Fields(event_type="no good")
