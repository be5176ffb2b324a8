"""A frame's body becomes columns, and what is bad in it costs only itself."""

import zlib
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frames import PRODUCER, event, fields
from hansard import wire
from hansard_writer import decoding
from hansard_writer.decoding import INVALID, UNDECODABLE, Decoder, Fault, Run

BROKEN_TEXT = event().replace(b"task.done", b"task.\xff\xfene")
TOO_DEEP = "{" + '"a":{' * wire.JSON_DEPTH_MAX + "}" * wire.JSON_DEPTH_MAX + "}"


def frame(*events: bytes, first_seq: int = 1, count: int | None = None) -> wire.Frame:
    number = len(events) if count is None else count
    return wire.Frame(PRODUCER, first_seq, number, 0, wire.Drops(), b"".join(events))


def payloads(run: Run) -> list[Any]:
    return list(run.columns[-1])


def test_a_frame_of_good_events_is_one_run_of_columns() -> None:
    runs, refused = Decoder().decode(frame(event("{}"), event(None, actor=None), first_seq=5))
    assert refused == []
    (run,) = runs
    assert (run.first_seq, run.length) == (5, 2)
    assert [list(column) for column in run.columns] == [
        [1_700_000_000_000_000_000] * 2,
        ["task.done"] * 2,
        ["info"] * 2,
        ["agent:7", None],
        ["T1"] * 2,
        ["{}", None],
    ]


def test_a_map_costs_its_own_event_but_in_a_large_body_all() -> None:
    """Decoded, two million empty ones in two MiB would take a hundred times their memory."""
    runs, refused = Decoder().decode(frame(event(), event({}), event()))
    assert [(run.first_seq, run.length) for run in runs] == [(1, 1), (3, 1)]
    assert [(each.first_seq, each.reason) for each in refused] == [(2, INVALID)]
    large = event('{"a":"' + "x" * wire.FRAME_BYTES_MAX + '"}')
    runs, refused = Decoder().decode(frame(large, event([])))
    assert (runs, [each.reason for each in refused]) == ([], [UNDECODABLE])
    assert len(Decoder().decode(frame(large, event()))[0]) == 1


def test_a_payload_is_the_text_that_was_sent() -> None:
    text = '{ "z":1,  "a": 123456789012345678901234567890, "é": "\\u0000\\ud800" }'
    runs, _ = Decoder().decode(frame(event(text)))
    assert payloads(runs[0]) == [text]


def test_what_is_skipped_is_not_in_the_run() -> None:
    runs, _ = Decoder().decode(frame(event("{}"), event('{"b":2}'), first_seq=8), skip=1)
    assert runs[0].first_seq == 9
    assert payloads(runs[0]) == ['{"b":2}']


BAD_EVENTS: dict[str, Any] = {
    "a type with a space": fields(event_type="task done"),
    "a type that ends with a line break": fields(event_type="task\n"),
    "an empty type": fields(event_type=""),
    "a type that is too long": fields(event_type="t" * (wire.EVENT_TYPE_CHARS_MAX + 1)),
    "a type that is a number": fields(event_type=5),
    "a type that is bytes": fields(event_type=b"task.done"),
    "a type that is a map": fields(event_type={"a": 1}),
    "a type that is an array": fields(event_type=["task.done"]),
    "an unknown level": fields(level="fatal"),
    "no level": fields(level=None),
    "another kind": fields(kind=9),
    "a kind that is false": fields(kind=False),
    "a kind that is zero, but a float": fields(kind=0.0),
    "no kind": fields(kind=None),
    "a time before 1970": fields(created_at=-1),
    "a time beyond 64 bits": fields(created_at=1 << 63),
    "a time with a fraction": fields(created_at=1.5),
    "a time that is true": fields(created_at=True),
    "no time": fields(created_at=None),
    "a timestamp": fields(created_at=msgpack.Timestamp(5, 5)),
    "an extension": fields(actor=msgpack.ExtType(5, b"x")),
    "an actor with a NUL": fields(actor="a\0b"),
    "an actor that is too long": fields(actor="é" * (wire.ACTOR_BYTES_MAX // 2 + 1)),
    "an actor that is a number": fields(actor=7),
    "a task that is bytes": fields(task_id=b"T1"),
    "a task that is too long": fields(task_id="t" * (wire.TASK_ID_BYTES_MAX + 1)),
    "a payload that is bytes": fields(b"{}"),
    "a payload that is a map": fields({"a": 1}),
    "a payload that is a number": fields(1.5),
    "a payload with a NUL behind it": fields('{"a":1}\0and more'),
    "a payload that is nested too deep": fields(TOO_DEEP),
    "too few fields": fields()[:6],
    "too many fields": [*fields(), None],
    "no fields": [],
    "a map whose keys would make an event": dict.fromkeys(
        [0, 1, "task.done", "info", "agent:7", "T1", "{}"], 0
    ),
    "a string": "seven c",
    "a number": 7,
    "nil": None,
}


@pytest.mark.parametrize("bad", BAD_EVENTS.values(), ids=BAD_EVENTS.keys())
def test_a_bad_event_costs_itself_only(bad: object) -> None:
    packed = msgpack.packb(bad)
    runs, refused = Decoder().decode(frame(event('{"n":1}'), packed, event('{"n":3}')))
    assert [(each.first_seq, each.numbers, each.reason) for each in refused] == [(2, 1, INVALID)]
    assert [(run.first_seq, payloads(run)) for run in runs] == [(1, ['{"n":1}']), (3, ['{"n":3}'])]


@pytest.mark.parametrize("bad", BAD_EVENTS.values(), ids=BAD_EVENTS.keys())
def test_a_frame_of_bad_events_only_is_refused_event_by_event(bad: object) -> None:
    packed = msgpack.packb(bad)
    runs, refused = Decoder().decode(frame(packed, packed, first_seq=4))
    assert runs == []
    assert [(each.first_seq, each.numbers) for each in refused] == [(4, 1), (5, 1)]
    assert refused[0].detail
    assert refused[0].data == packed


def test_a_string_that_is_no_utf_8_costs_its_own_event_only() -> None:
    runs, refused = Decoder().decode(frame(event('{"n":1}'), BROKEN_TEXT, event('{"n":3}')))
    assert [(run.first_seq, payloads(run)) for run in runs] == [(1, ['{"n":1}']), (3, ['{"n":3}'])]
    assert [(each.first_seq, each.numbers, each.data) for each in refused] == [(2, 1, BROKEN_TEXT)]


@pytest.mark.parametrize("skip", [1, 2])
def test_a_bad_string_among_the_skipped_costs_nothing(skip: int) -> None:
    body = frame(BROKEN_TEXT, event("{}"), event('{"n":3}'))
    runs, refused = Decoder().decode(body, skip=skip)
    assert refused == []
    assert [run.first_seq for run in runs] == [skip + 1]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(event() + event()[:-1], id="cut off"),
        pytest.param(event(), id="too few events"),
        pytest.param(event() * 3, id="too many events"),
        pytest.param(event() + b"\xc1", id="a byte that msgpack never uses"),
        pytest.param(event() + b"\xdd\xff\xff\xff\xff", id="an array of four billion"),
        pytest.param(event() + b"\xc6\xff\xff\xff\xff", id="four billion bytes"),
        pytest.param(event() + b"\x91" * 5_000 + b"\xc0", id="nested beyond msgpack's stack"),
        pytest.param(event() + b"\x81\x80\xc0", id="a map as a map's key"),
        pytest.param(event() + b"\xc7\x0c\xff" + b"\xff" * 12, id="a timestamp out of range"),
        pytest.param(BROKEN_TEXT + event()[:-1], id="a bad string, and cut off"),
        pytest.param(BROKEN_TEXT, id="a bad string, and too few events"),
        pytest.param(BROKEN_TEXT + event() * 2, id="a bad string, and too many events"),
        pytest.param(BROKEN_TEXT + b"\xc1", id="a bad string, and a byte never used"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_refused_as_a_whole(body: bytes) -> None:
    bad = wire.Frame(PRODUCER, 11, 2, 0, wire.Drops(), body)
    runs, refused = Decoder().decode(bad)
    assert runs == []
    assert [(each.first_seq, each.numbers, each.reason) for each in refused] == [
        (11, 2, UNDECODABLE)
    ]
    assert refused[0].data == body
    assert refused[0].detail


@pytest.mark.parametrize("depth", [100, 511, 512, 900, 1_000, 1_020])
@pytest.mark.parametrize("place", range(7))
def test_a_deeply_nested_field_is_refused_and_nothing_is_raised(depth: int, place: int) -> None:
    """Deep enough for `repr` to overflow the stack, and not too deep for msgpack."""
    head = b"".join(msgpack.packb(field) for field in fields()[:place])
    tail = b"".join(msgpack.packb(field) for field in fields()[place + 1 :])
    bad = b"\x97" + head + b"\x91" * depth + b"\xc0" + tail
    runs, refused = Decoder().decode(frame(event(), bad))
    assert sum(each.numbers for each in refused) + sum(run.length for run in runs) == 2
    assert refused


def test_a_body_beyond_the_limits_of_an_event_is_checked_event_by_event() -> None:
    large = '{"a":"' + "x" * 900_000 + '"}'
    runs, refused = Decoder().decode(frame(event(large), event(large)))
    assert [run.length for run in runs] == [2]
    assert refused == []
    too_large = '{"a":"' + "x" * wire.EVENT_BYTES_MAX + '"}'
    runs, refused = Decoder().decode(frame(event(too_large), event("{}")))
    assert [run.first_seq for run in runs] == [2]
    assert [each.first_seq for each in refused] == [1]


def test_texts_at_their_limit_in_bytes_are_good() -> None:
    limit = "é" * (wire.ACTOR_BYTES_MAX // 2)
    runs, refused = Decoder().decode(frame(event(actor=limit, task_id=limit)))
    assert refused == []
    assert runs[0].columns[3] == (limit,)


def test_braces_inside_strings_are_not_depth() -> None:
    text = '{"a":"' + "{[" * 200 + '\\"{"}'
    runs, refused = Decoder().decode(frame(event(text)))
    assert refused == []
    assert payloads(runs[0]) == [text]


def test_the_deepest_payload_allowed_is_good() -> None:
    depth = wire.JSON_DEPTH_MAX - 1
    text = "{" + '"a":{' * depth + "}" * depth + "}"
    runs, refused = Decoder().decode(frame(event(text)))
    assert refused == []
    assert payloads(runs[0]) == [text]


def test_a_decoder_that_has_met_too_many_types_still_knows_good_from_bad(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "_KNOWN_TYPES_MAX", 3)
    decoder = Decoder()
    for number in range(10):
        runs, refused = decoder.decode(frame(event(event_type=f"type.{number}"), event()))
        assert refused == []
        assert runs[0].length == 2
        assert decoder.decode(frame(event(event_type=f"type {number}")))[1]


def test_the_crc_behind_some_events_is_that_of_their_bytes() -> None:
    events = [event('{"n":1}'), BROKEN_TEXT, event('{"n":3}')]
    some = frame(*events)._replace(crc_before=77)
    for count in range(4):
        expected = zlib.crc32(b"".join(events[:count]), 77)
        assert decoding.crc_behind(some, count) == expected
    assert decoding.crc_behind(some) == zlib.crc32(some.body, 77)


def test_the_crc_behind_more_events_than_there_are_cannot_be_told() -> None:
    with pytest.raises(msgpack.OutOfData):
        decoding.crc_behind(frame(event()), 2)


@pytest.mark.parametrize("bad", [[0], [2], [0, 1], [1], [0, 2], [0, 1, 2], []])
def test_a_run_without_some_events_keeps_the_numbers_of_the_others(bad: list[int]) -> None:
    texts = ['{"n":4}', '{"n":5}', '{"n":6}']
    (run,), _ = Decoder().decode(frame(*map(event, texts), first_seq=4))
    runs, refused = decoding.without(run, dict.fromkeys(bad, Fault("why")))
    entered = {
        run.first_seq + index: text for run in runs for index, text in enumerate(payloads(run))
    }
    assert entered == {4 + i: text for i, text in enumerate(texts) if i not in bad}
    assert [each.first_seq for each in refused] == [4 + index for index in bad]
    assert [each.data for each in refused] == [event(texts[index]) for index in bad]
    assert all(each.detail == "why" and each.numbers == 1 for each in refused)


# --- registrations of tasks ---


def registration(payload: object = '{"repo":"r"}', **changed: Any) -> list[Any]:
    good = {"kind": wire.KIND_TASK, "event_type": wire.TASK_REGISTERED}
    return fields(payload, **{**good, **changed})


def test_a_registration_is_an_entry_and_a_task() -> None:
    tasks = msgpack.packb(registration()), msgpack.packb(registration(None, task_id="T2"))
    (run,), refused = Decoder().decode(frame(event(), tasks[0], event(), tasks[1], first_seq=5))
    assert refused == []
    assert (run.first_seq, run.length) == (5, 4)
    assert list(run.kinds) == [0, 1, 0, 1]
    at = 1_700_000_000_000_000_000
    assert list(run.tasks) == [("T1", at, '{"repo":"r"}'), ("T2", at, None)]
    assert run.columns[1][1] == wire.TASK_REGISTERED


def test_a_run_of_events_registers_no_tasks() -> None:
    (run,), _ = Decoder().decode(frame(event(), event(kind=wire.JOINED), event()))
    assert list(run.tasks) == []


BAD_REGISTRATIONS: dict[str, Any] = {
    "an event of a registration's type": registration(kind=wire.KIND_EVENT),
    "an event of another type of the log's own": fields(event_type="hansard.lost"),
    "a registration of another type": registration(event_type="task.done"),
    "a registration of another of the log's own types": registration(event_type="hansard.lost"),
    "no task": registration(task_id=None),
    "a task that is a number": registration(task_id=7),
    "a task that is too long": registration(task_id="t" * (wire.TASK_ID_BYTES_MAX + 1)),
    "a task with a NUL": registration(task_id="a\0b"),
    "attributes that are no object": registration("[1]"),
    "attributes that are a number": registration("1"),
    "attributes that are null": registration("null"),
    "attributes that are no JSON": registration("{nonsense}"),
    "attributes of JSON5": registration("{a:1}"),
    "attributes that are not a number": registration('{"a":NaN}'),
    "attributes that are infinite": registration('{"a":-Infinity}'),
    "attributes cut short": registration('{"a":'),
    "attributes and more": registration("{} {}"),
    "no text": registration(""),
    "attributes that are a map": registration({"a": 1}),
    "attributes that are bytes": registration(b"{}"),
    "attributes that are nested too deep": registration(TOO_DEEP),
    "attributes that are nested far too deep": registration('{"a":' * 100_000 + "}" * 100_000),
    "a kind that is true": registration(kind=True),
    "a kind that is one, but a float": registration(kind=1.0),
    "an unknown kind with the bit of a registration": registration(kind=3),
}


@pytest.mark.parametrize("bad", BAD_REGISTRATIONS.values(), ids=BAD_REGISTRATIONS.keys())
def test_a_bad_registration_costs_itself_only(bad: object) -> None:
    good, packed = msgpack.packb(registration(task_id="T9")), msgpack.packb(bad)
    runs, refused = Decoder().decode(frame(event('{"n":1}'), packed, good))
    assert [(each.first_seq, each.numbers, each.reason) for each in refused] == [(2, 1, INVALID)]
    assert refused[0].data == packed
    assert [run.first_seq for run in runs] == [1, 3]
    assert [task[0] for run in runs for task in run.tasks] == ["T9"]


@pytest.mark.parametrize(
    "attributes",
    ['{"a":' + "9" * 10_000 + "}", '{"a":1e999}', ' \n{"a":"\\ud800"}\t', '{"a":1,"a":2}', None],
    ids=["a number of any size", "a number beyond all", "a surrogate", "a name twice", "none"],
)
def test_attributes_that_sqlite_takes_are_taken(attributes: str | None) -> None:
    (run,), refused = Decoder().decode(frame(msgpack.packb(registration(attributes))))
    assert refused == []
    assert payloads(run) == [attributes]


# --- events that are joined ---

J = wire.KIND_EVENT | wire.JOINED


def test_joined_events_are_refused_together() -> None:
    bad = event("{}", kind=J, level="fatal")
    events = [
        event('{"n":1}'),
        event('{"n":2}', kind=J),
        bad,
        event('{"n":4}'),
        event('{"n":5}'),
    ]
    runs, (refused,) = Decoder().decode(frame(*events))
    assert [(run.first_seq, payloads(run)) for run in runs] == [(1, ['{"n":1}']), (5, ['{"n":5}'])]
    assert (refused.first_seq, refused.numbers, refused.reason) == (2, 3, INVALID)
    assert refused.data == b"".join(events[1:4])
    assert refused.detail == decoding.WITH_OTHERS + "the level is not known"


@pytest.mark.parametrize("bad_at", [0, 1, 2])
def test_wherever_the_bad_one_is_its_run_is_refused_and_the_next_is_not(bad_at: int) -> None:
    kinds = [J, J, 0, J, 0]
    levels = ["fatal" if index == bad_at else "info" for index in range(5)]
    events = [event(kind=k, level=each) for k, each in zip(kinds, levels, strict=True)]
    (run,), (refused,) = Decoder().decode(frame(*events))
    assert (refused.first_seq, refused.numbers) == (1, 3)
    assert (run.first_seq, run.length) == (4, 2)


def test_two_bad_ones_of_a_run_are_one_refusal() -> None:
    events = [event(kind=J, level="fatal"), event(kind=J), event(level="loud"), event()]
    (run,), (refused,) = Decoder().decode(frame(*events))
    assert (refused.first_seq, refused.numbers, run.first_seq) == (1, 3, 4)


def test_a_run_that_a_frame_cuts_short_ends_with_it() -> None:
    events = [event(kind=J, level="fatal"), event(kind=J)]
    runs, (refused,) = Decoder().decode(frame(*events))
    assert (runs, refused.numbers) == ([], 2)


def test_what_cannot_be_told_to_be_joined_ends_a_run() -> None:
    events = [event(kind=J), msgpack.packb("garbage"), event()]
    (run,), (refused,) = Decoder().decode(frame(*events))
    assert (refused.first_seq, refused.numbers, run.first_seq) == (1, 2, 3)


def test_a_single_refused_event_says_its_type_where_it_is_known() -> None:
    cases = [
        (event(level="fatal"), "task.done"),
        (event(event_type="two words"), "two words"),
        (event(event_type=7), ""),
        (event(event_type="a\nb"), ""),
        (BROKEN_TEXT, ""),
        (msgpack.packb(7), ""),
        (b"\xc1", ""),
    ]
    for bad, expected in cases:
        _, (refused,) = Decoder().decode(frame(bad))
        assert refused.event_type == expected


def joined_run(*kinds: int) -> Run:
    texts = [f'{{"n":{index}}}' for index in range(len(kinds))]
    packed = (event(text, kind=kind) for text, kind in zip(texts, kinds, strict=True))
    (run,), _ = Decoder().decode(frame(*packed, first_seq=11))
    return run


def orphan(task_id: str = "T1") -> Fault:
    return Fault(f"task {task_id!r} is not registered", wire.ORPHAN, task_id)


def test_an_orphan_says_which_task_it_waits_for() -> None:
    runs, (refused,) = decoding.without(joined_run(0, 0), {1: orphan("T7")})
    assert [run.first_seq for run in runs] == [11]
    assert (refused.first_seq, refused.reason, refused.task_id) == (12, wire.ORPHAN, "T7")
    assert refused.detail == "task 'T7' is not registered"


def test_joined_orphans_wait_for_the_first_of_their_tasks() -> None:
    run = joined_run(0, J, J, 0, 0)
    runs, (refused,) = decoding.without(run, {2: orphan("T2"), 3: orphan("T3")})
    assert [(each.first_seq, each.length) for each in runs] == [(11, 1), (15, 1)]
    assert (refused.first_seq, refused.numbers, refused.task_id) == (12, 3, "T2")
    assert refused.data == event('{"n":1}', kind=J) + event('{"n":2}', kind=J) + event('{"n":3}')


def test_what_is_lasting_outweighs_an_orphan_that_it_is_joined_to() -> None:
    run = joined_run(J, J, 0)
    _, (refused,) = decoding.without(run, {0: orphan(), 2: Fault("bad")})
    assert (refused.reason, refused.task_id) == (INVALID, None), "no task would let it in"
    assert refused.detail == decoding.WITH_OTHERS + "bad"


def test_what_is_refused_can_be_decoded_again() -> None:
    run = joined_run(J, J, 0)
    _, (refused,) = decoding.without(run, {1: orphan()})
    again = wire.Frame(PRODUCER, refused.first_seq, refused.numbers, 0, wire.Drops(), refused.data)
    assert Decoder().decode(again) == ([run], [])


_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=5)),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=15,
)
_NEARLY_GOOD = st.tuples(st.integers(0, 6), _ANYTHING).map(
    lambda change: [change[1] if i == change[0] else f for i, f in enumerate(fields())]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.just(fields()) | st.just(fields(kind=J)) | _NEARLY_GOOD | _ANYTHING,
        min_size=1,
        max_size=12,
    )
)
def test_every_number_of_a_frame_is_either_in_a_run_or_refused(events: list[Any]) -> None:
    runs, refused = Decoder().decode(frame(*map(msgpack.packb, events), first_seq=3))
    numbers = [run.first_seq + index for run in runs for index in range(run.length)]
    numbers += [each.first_seq + index for each in refused for index in range(each.numbers)]
    assert sorted(numbers) == list(range(3, 3 + len(events)))
    for run in runs:
        assert {len(column) for column in run.columns} == {run.length}
        for index in range(run.length):
            assert events[run.first_seq - 3 + index][1:] == [c[index] for c in run.columns]


def unfit(payload: Any) -> bytes:
    data: bytes = msgpack.packb((wire.KIND_UNFIT, 7, "task.done", None, None, "T1", payload))
    return data


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        ('{"imported_from": {"unfit": "time: there is none"}}', "time: there is none"),
        ('{"imported_from": {"unfit": "\\ud800"}}', "'\\ud800'"),
        ('{"imported_from": 7}', "its producer could make no event of it"),
        ("no json", "its producer could make no event of it"),
        (None, "its producer could make no event of it"),
    ],
)
def test_what_its_producer_calls_unfit_is_a_letter_that_says_why(payload: Any, detail: str) -> None:
    bad = unfit(payload)
    runs, refused = Decoder().decode(frame(event(), bad, event()))
    assert [(run.first_seq, run.length) for run in runs] == [(1, 1), (3, 1)]
    assert refused == [decoding.Refused(2, 1, wire.UNFIT, detail, bad, "task.done")]
