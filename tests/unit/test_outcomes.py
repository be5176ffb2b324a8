"""An operation's payload: its keys, its limits, and what is refused."""

import hashlib
from typing import Any

import orjson
import pytest

from hansard.errors import InvalidEvent
from hansard.outcomes import (
    ERROR_BYTES_MAX,
    FAILED,
    METADATA_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    SUCCESS,
    Outcome,
    check_metadata,
    check_name,
    described,
    metadata_in,
)

NAMES = {"workflow_id": "wf", "node_id": "n", "version_id": None, "operation": "sync"}
KEPT = 64 << 10


def payload(known: Outcome, metadata: dict[str, Any] | None = None, kept: int = KEPT) -> Any:
    return orjson.loads(known.payload(NAMES, 1.5, metadata or {}, kept))


def test_the_payload_has_these_keys_in_this_order() -> None:
    assert list(payload(Outcome(SUCCESS)).items()) == [
        ("workflow_id", "wf"),
        ("node_id", "n"),
        ("version_id", None),
        ("operation", "sync"),
        ("status", "success"),
        ("stdout", None),
        ("stderr", None),
        ("exit_code", None),
        ("duration_ms", 1.5),
        ("metadata", {}),
    ]


def test_the_length_and_digest_are_told_of_what_was_cut_only() -> None:
    known = Outcome(SUCCESS, stdout=b"o" * 20, stderr=b"e" * 21)
    told = payload(known, kept=20)
    assert list(told)[10:] == ["stderr_bytes", "stderr_sha256"]
    assert told["stderr_bytes"] == 21
    assert told["stderr_sha256"] == hashlib.sha256(b"e" * 21).hexdigest()
    assert told["stdout"] == "o" * 20
    assert list(payload(known, kept=5))[10:] == [
        "stdout_bytes", "stdout_sha256", "stderr_bytes", "stderr_sha256",
    ]  # fmt: skip


def test_an_error_is_in_the_metadata_beside_the_rest() -> None:
    known = Outcome(FAILED, "ValueError: no")
    assert payload(known, {"packages": ["a"]})["metadata"] == {
        "packages": ["a"],
        "error": "ValueError: no",
    }


def test_a_long_error_is_cut() -> None:
    error = payload(Outcome(FAILED, "x" * 100_000))["metadata"]["error"]
    assert "100,000 bytes" in error
    assert len(error) < ERROR_BYTES_MAX + 200


@pytest.mark.parametrize("output", [b"\x01", b"\xff", b'"', "é".encode()])
def test_the_largest_outputs_of_any_bytes_fit_an_event(output: bytes) -> None:
    known = Outcome(FAILED, "\x01" * 100_000, stdout=output * 600_000, stderr=output * 600_000)
    metadata = {"m": "x" * (METADATA_BYTES_MAX - 100)}
    text = known.payload(NAMES, 1.5, metadata, 512 << 10)
    assert len(text) <= PAYLOAD_BYTES_MAX
    told = orjson.loads(text)
    assert told["stdout_bytes"] == len(output) * 600_000
    assert "bytes left out" in told["stdout"]


def test_of_several_commands_outputs_follow_and_the_first_failure_counts() -> None:
    known = Outcome()
    known.add_command(b"1", b"a", 0, "")
    assert (known.status, known.exit_code) == (None, 0)
    known.add_command(b"2", b"b", 3, "exit status 3")
    known.add_command(b"3", b"c", 0, "")
    known.add_command(b"4", b"d", 4, "exit status 4")
    assert (known.stdout, known.stderr) == (b"1234", b"abcd")
    assert (known.status, known.exit_code, known.error) == (FAILED, 3, "exit status 3")


def test_the_latest_word_on_the_outcome_counts() -> None:
    known = Outcome()
    known.add_command(b"", b"", 3, "exit status 3")
    known.decide(SUCCESS)
    assert (known.status, known.error, known.exit_code) == (SUCCESS, None, 3)
    known.add_command(b"", b"", 4, "exit status 4")
    assert (known.status, known.error, known.exit_code) == (FAILED, "exit status 4", 4)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"stdout": 7}, "stdout is an int: it must be a string or bytes"),
        ({"stderr": ["x"]}, "stderr is a list: it must be a string or bytes"),
        ({"exit_code": "1"}, "exit_code is '1': it must be an exit status"),
        ({"exit_code": True}, "exit_code is True"),
        ({"exit_code": 1 << 40}, "exit_code is 1099511627776"),
    ],
)
def test_what_replaces_the_captured_is_checked_by_name(given: Any, rule: str) -> None:
    known = Outcome(stdout=b"kept", exit_code=1)
    arguments = {"stdout": "x", "stderr": None, "exit_code": None, **given}
    with pytest.raises(InvalidEvent, match=rule):
        known.replace(**arguments)
    assert known.exit_code == 1
    assert known.stdout == b"kept"


@pytest.mark.parametrize(
    ("metadata", "rule"),
    [
        ([1], "metadata is a list: it must be a mapping"),
        ("x", "metadata is a str: it must be a mapping"),
        ({"x": object()}, "metadata cannot be encoded as JSON: .*object"),
        ({"x": "y" * METADATA_BYTES_MAX}, "metadata has 262,1.. bytes of JSON: at most 262,144"),
    ],
)
def test_metadata_that_json_cannot_hold_is_refused_by_name(metadata: Any, rule: str) -> None:
    with pytest.raises(InvalidEvent, match=rule):
        check_metadata(metadata)


def test_metadata_that_is_nested_as_deep_as_a_payload_may_be_is_too_deep_by_one() -> None:
    nested: Any = {}
    for _ in range(62):
        nested = {"a": nested}
    check_metadata(nested)
    with pytest.raises(InvalidEvent, match="metadata is nested too deep"):
        check_metadata({"a": nested})


def test_metadata_comes_out_as_it_went_in() -> None:
    metadata = {"packages": ["numpy"], "n": 2**70, "f": 1.5, "none": None}
    assert metadata_in(check_metadata(metadata)) == metadata


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, "node_id is None: it must be a string"),
        (7, "node_id is an int: it must be a string"),
        ("", "node_id has 0 characters: it must have 1 to 255"),
        ("x" * 256, "node_id has 256 characters: it must have 1 to 255"),
        ("a\0b", "node_id holds a NUL"),
        ("\udc80", "node_id holds a lone surrogate"),
    ],
)
def test_a_name_that_breaks_a_rule_is_refused_with_it(value: Any, rule: str) -> None:
    with pytest.raises(InvalidEvent, match=rule):
        check_name("node_id", value, 255)


def test_a_name_is_measured_in_characters() -> None:
    check_name("node_id", "\N{GRINNING FACE}" * 255, 255)


def test_an_exception_is_described_by_type_and_message() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert described(ValueError("no")) == "ValueError: no"
    assert described(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert described(Rude()) == "Rude: its message could not be made"
