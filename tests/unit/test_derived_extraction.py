"""Drawing a field out of a payload: a value of its type, or why there is none."""

import json
from typing import Any

import pytest

from hansard_writer.derived import extraction
from hansard_writer.derived.definitions import BUILT_IN, DerivedField
from hansard_writer.derived.deriving import Deriving, StoredField
from hansard_writer.derived.extraction import (
    EXACT_CHARS_MAX,
    TEXT_BYTES_MAX,
    Cause,
    Extractor,
    Payload,
)

NOON = 1_704_110_400 * 10**9  # 2024-01-01T12:00:00Z


def drawn(kind: str, payload: Any, *paths: str) -> Any:
    field = DerivedField("f", paths or ("v",), kind, ("*",))
    text = payload if isinstance(payload, str | bytes | None) else json.dumps(payload)
    return Extractor(field).draw(Payload(text))


@pytest.mark.parametrize(
    "given",
    [
        "2024-01-01T12:00:00Z",
        "2024-01-01T12:00:00",
        "2024-01-01 12:00:00.000000",
        "2024-01-01T14:00:00+02:00",
        "20240101T120000Z",
        NOON // 10**9,
        NOON // 10**9 + 0.0,
        NOON // 10**6,
        NOON // 10**3,
        NOON,
        str(NOON // 10**9),
    ],
)
def test_a_timestamp_is_read_in_each_usual_form(given: Any) -> None:
    assert drawn("timestamp", {"v": given}) == NOON


def test_a_timestamp_keeps_every_digit_that_is_written() -> None:
    assert drawn("timestamp", {"v": "2024-01-01T12:00:00.123456789Z"}) == NOON + 123_456_789
    assert drawn("timestamp", b'{"v": 1704110400.123456789}') == NOON + 123_456_789


def test_a_long_payload_is_not_parsed_again_for_a_floats_last_digits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extraction, "parse_exactly", None)
    long = {"v": NOON / 1e9 + 0.25, "note": "x" * EXACT_CHARS_MAX}
    assert drawn("timestamp", long) == NOON + 250_000_000
    assert drawn("real", long) == NOON / 1e9 + 0.25


@pytest.mark.parametrize("given", ["", "soon", "2024-13-01", "1969-12-31", -1, 10**20])
def test_a_broken_timestamp_is_said_to_be_one(given: Any) -> None:
    assert drawn("timestamp", {"v": given}) is Cause.BROKEN_TIMESTAMP


@pytest.mark.parametrize("given", ["1e99999999999999999999", "-1e-99999999999999999999"])
def test_a_number_beyond_all_exponents_is_a_broken_timestamp(given: str) -> None:
    assert drawn("timestamp", f'{{"v": {given}}}') is Cause.BROKEN_TIMESTAMP


def test_an_index_beyond_all_lists_leads_nowhere() -> None:
    assert drawn("text", {"v": ["a"]}, "v." + "9" * 5_000) is Cause.MISSING


@pytest.mark.parametrize("given", [True, [], {}, [NOON]])
def test_what_can_be_no_timestamp_is_of_another_type(given: Any) -> None:
    assert drawn("timestamp", {"v": given}) is Cause.ANOTHER_TYPE


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("text", "é🦉", "é🦉"),
        ("text", 1, Cause.ANOTHER_TYPE),
        ("text", "x" * TEXT_BYTES_MAX, "x" * TEXT_BYTES_MAX),
        ("text", "x" * TEXT_BYTES_MAX + "x", Cause.TOO_LONG),
        ("text", "\ud800", Cause.ANOTHER_TYPE),
        ("integer", -(2**63), -(2**63)),
        ("integer", 2**63, Cause.ANOTHER_TYPE),
        ("integer", 1.5, Cause.ANOTHER_TYPE),
        ("integer", True, Cause.ANOTHER_TYPE),
        ("real", 1, 1.0),
        ("real", 0.1, 0.1),
        ("real", 10**400, Cause.ANOTHER_TYPE),
        ("real", "1", Cause.ANOTHER_TYPE),
        ("boolean", True, 1),
        ("boolean", False, 0),
        ("boolean", 1, Cause.ANOTHER_TYPE),
    ],
)
def test_a_value_has_the_fields_type_or_there_is_none(kind: str, given: Any, value: Any) -> None:
    found = drawn(kind, {"v": given})
    assert (found, type(found)) == (value, type(value))


def test_the_first_path_with_a_value_counts() -> None:
    paths = ("a.b", "list.1", r"dotted\.name", "last")
    payload = {"a": {"b": None}, "list": [1, 2], "dotted.name": 3, "last": 4}
    assert drawn("integer", payload, *paths) == 2
    del payload["list"]
    assert drawn("integer", payload, *paths) == 3
    assert drawn("integer", {"a": {"b": "text"}, "last": 4}, *paths) == 4


def test_of_several_paths_without_a_value_the_first_that_has_something_tells_the_cause() -> None:
    assert drawn("timestamp", {"a": "soon", "b": []}, "x", "a", "b") is Cause.BROKEN_TIMESTAMP
    assert drawn("timestamp", {"a": None}, "x", "a") is Cause.MISSING


def test_what_is_no_payload_has_no_value() -> None:
    assert drawn("text", None) is Cause.NO_PAYLOAD
    assert drawn("text", b"{") is Cause.INVALID_JSON
    assert drawn("text", b'{"v": NaN}') is Cause.INVALID_JSON
    assert drawn("text", b"[1]") is Cause.MISSING


@pytest.mark.parametrize("field", BUILT_IN, ids=lambda field: field.name)
def test_the_built_in_fields_are_found_at_each_of_their_paths(field: DerivedField) -> None:
    for path in field.paths:
        payload: Any = "2024-01-01T12:00:00Z"
        for step in reversed(path.split(".")):
            payload = {step: payload}
        assert Extractor(field).draw(Payload(json.dumps(payload))) == NOON


def test_only_entries_of_the_fields_types_are_looked_at() -> None:
    fields = [StoredField(i, field, 0, 0) for i, field in enumerate(BUILT_IN, start=1)]
    rows = Deriving(fields).rows(
        10,
        ["A_SUPERVISOR", "other", "A_SUPERVISOR"],
        ['{"event_ts": 1704110400}', '{"event_ts": 1704110400}', '{"processed_at": 1704110400}'],
    )
    assert list(rows) == [(1, 10, NOON), (2, 12, NOON)]
