"""What can be said of a dead letter's first event, from whatever bytes it has."""

import os

import msgpack
import pytest

from hansard.reader.first_event import FirstEvent, first_event

EVENT = (0, 1_767_225_600_000_001_999, "step", "info", "me", "T1", '{"n": 1}')


def packed(*values: object) -> bytes:
    return b"".join(map(msgpack.packb, values))


def test_the_first_of_several_events_is_said_field_by_field() -> None:
    assert first_event(packed(EVENT, (0, 1, "other", "info", None, None, None))) == FirstEvent(
        "2026-01-01T00:00:00.000001Z", "step", "info", "me", "T1", '{"n": 1}'
    )


def test_of_an_event_that_is_cut_the_beginning_is_said() -> None:
    found = first_event(packed(EVENT)[:-13])
    assert (found.event_type, found.level, found.payload) == ("step", "info", None)
    assert first_event(b"") == first_event(b"\x97") == FirstEvent()


def test_what_is_of_another_kind_is_left_out_and_the_rest_is_said() -> None:
    found = first_event(packed((0, -1, b"step", ["info"], 7, "T\ud7ff", {"n": 1})))
    assert found == FirstEvent(task_id="T\ud7ff")
    far = first_event(packed((0, 2**64 - 1, "step", "info", None, None, None)))
    assert (far.created_at, far.event_type) == (None, "step")


def test_text_that_is_no_utf_8_is_said_with_its_bytes() -> None:
    body = packed(EVENT).replace(b"step", b"s\xffep")
    assert first_event(body).event_type == r"s\xffep"


@pytest.mark.parametrize(
    "frame",
    [
        b"frame", b"\x00\xff", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x97" * 100_000,
        b"\x97\x00\x00\xdd\xff\xff\xff\xff", b"\x97\x00\x00\xdf\xff\xff\xff\xff",
        b"\x97\x00\x00\xd6\xff\xff\xff\xff\xff", b"\x97\x00\x00\x81\x90\x00",
        packed((1, 2)), packed("text"), packed({"a": 1}),
    ],
)  # fmt: skip
def test_any_bytes_can_be_asked(frame: bytes) -> None:
    assert first_event(frame).payload is None


def test_any_random_bytes_can_be_asked() -> None:
    for _ in range(2_000):
        first_event(b"\x97\x00\x00" + os.urandom(40))
