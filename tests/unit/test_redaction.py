"""What may be asked to be redacted: ids as ranges, and requests on the wire."""

from collections.abc import Iterable
from typing import Any

import msgpack
import pytest

from frames import event
from hansard import wire
from hansard.errors import InvalidEvent
from hansard.redaction import ranges_of
from hansard_writer import letter_bytes
from hansard_writer.redacting import ranges_of as ranges_of_numbers

GOOD = wire.Redact([[1, 3], [5, 5]], None, None, "why", "who", 0, 0, dry_run=False)


@pytest.mark.parametrize(
    ("seq", "ranges"),
    [
        (7, [[7, 7]]),
        ([3, 1, 2], [[1, 3]]),
        ([5, (1, 3), 2, (7, 9), (8, 12)], [[1, 3], [5, 5], [7, 12]]),
        (range(4, 9), [[4, 8]]),
        (range(4, 9, 2), [[4, 4], [6, 6], [8, 8]]),
        ((each for each in (1, 1, 3)), [[1, 1], [3, 3]]),
        ([(1, wire.INT64_MAX)], [[1, wire.INT64_MAX]]),
    ],
)
def test_ids_become_ranges_in_order_and_apart(seq: Any, ranges: list[list[int]]) -> None:
    assert ranges_of(seq) == ranges


@pytest.mark.parametrize(
    "seq",
    [0, -1, [], range(3, 3), "12", [1.5], [(3, 1)], [(1, 2, 3)], None, [None], {1: 2, "a": 3}],
)
def test_what_is_no_id_is_refused(seq: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"^seq"):
        ranges_of(seq)


@pytest.mark.parametrize(
    ("seqs", "ranges"), [([], []), ([4], [[4, 4]]), ([1, 2, 4, 5, 6], [[1, 2], [4, 6]])]
)
def test_what_was_redacted_is_listed_exactly(seqs: list[int], ranges: Iterable[Any]) -> None:
    assert ranges_of_numbers(seqs) == ranges


def test_a_request_is_what_was_asked() -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(GOOD))
    assert (verb, wire.redact_of(arguments)) == ("redact", GOOD)
    assert wire.unpack_request(wire.pack_request(wire.Wipe())) == ("wipe", [])


@pytest.mark.parametrize(
    "changed",
    [
        {"ranges": None},
        {"task_id": "T1"},
        {"ranges": []},
        {"ranges": [[1, 1]] * 1_001},
        {"ranges": [[3, 1]]},
        {"ranges": [[1, 3], [3, 4]]},
        {"ranges": [[0, 3]]},
        {"ranges": [[1]]},
        {"ranges": [1]},
        {"ranges": "1"},
        {"ranges": None, "workflow_id": 7},
        {"ranges": None, "task_id": "T" * 1_025},
        {"ranges": None, "task_id": "a\0b"},
        {"reason": None},
        {"reason": ""},
        {"reason": "x" * 4_097},
        {"by": " "},
        {"by": "\ud800"},
        {"after_seq": -1},
        {"after_letter": None},
        {"dry_run": 1},
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError):
        wire.redact_of(list(GOOD._replace(**changed)))


@pytest.mark.parametrize("content", [None, [], [1] * 8, [0, 0, 0, 0, 0, 0, -1, True]])
def test_an_answer_that_is_none_is_refused(content: Any) -> None:
    with pytest.raises(wire.WireError):
        wire.redacted_of(content)


@pytest.mark.parametrize("content", [None, [1, 2, [], 0], [1, 2, [3], True], [1, -2, [], True]])
def test_an_answer_to_wipe_that_is_none_is_refused(content: Any) -> None:
    with pytest.raises(wire.WireError):
        wire.wiped_of(content)


# --- what the bytes of letters say ---


def frame(*events: bytes) -> wire.Frame:
    return wire.Frame(b"p" * 16, 4, len(events), 0, wire.Drops(), b"".join(events))


def test_an_event_is_of_its_task_and_of_the_workflow_in_its_payload() -> None:
    made = frame(event('{"workflow_id":"wf"}', task_id="T1"), event("{no json wf2", task_id="T2"))
    assert [letter_bytes.is_of_task(made, task) for task in ("T1", "T2", "T")] == [
        True,
        True,
        False,
    ]
    found = [letter_bytes.is_of_workflow(made, each) for each in ("wf", "wf2", "wf3", "f")]
    assert found == [True, True, False, True]  # what is no JSON goes by what it mentions


def test_of_the_content_only_kinds_and_times_are_left() -> None:
    made = frame(event(created_at=7), msgpack.packb(["kind", -1, "type", "secret", 0, 0, 0]))
    left = letter_bytes.without_content(made)
    assert [msgpack.packb([0, 7, *[None] * 5]), msgpack.packb([None] * 7)] == [left[:8], left[8:]]
    assert letter_bytes.without_content(frame(b"\xc1", event())) == b""


def test_a_frame_of_nobodys_is_known_by_its_header() -> None:
    made = frame(event())
    message = wire.pack_header(made) + made.body
    assert letter_bytes.frame_of_nobodys(message) == made
    assert letter_bytes.frame_of_nobodys(b"\xc1" + message) is None
    assert letter_bytes.frame_of_nobodys(b"") is None
