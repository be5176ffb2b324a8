"""What is bound in a context is in every event that is recorded there, and in no other."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgpack
import orjson
import pytest

import hansard
from hansard import AuditLog, InvalidEvent
from hansard.context import CONTEXT_BYTES_MAX, bound_now
from hansard.events import EventEncoder

BIG = 1 << 70


@pytest.fixture(autouse=True)
def nothing_bound() -> Any:
    hansard.unbind()
    yield
    hansard.unbind()


def entered(payload: Any = None, **changes: Any) -> Any:
    """What an event's actor, task and payload are on the wire."""
    arguments = {"level": "info", "actor": None, "task_id": None, "created_at": 5} | changes
    data = EventEncoder(None, "the setting's").encode("a.b", payload, **arguments)
    *_, actor, task_id, text = msgpack.unpackb(data)
    return actor, task_id, None if text is None else json.loads(text)


def payload_of(payload: Any = None) -> Any:
    return entered(payload)[2]


def text_of(payload: Any) -> str:
    data = EventEncoder(None, None).encode("a.b", payload, "info", None, None, 5)
    return str(msgpack.unpackb(data)[-1])


# --- what it does to an event ---


def test_what_is_bound_goes_into_the_event() -> None:
    hansard.bind(actor="user:7", task_id="T1", correlation_id="r-1", tenant="acme")
    expected = {"n": 1, "correlation_id": "r-1", "tenant": "acme"}
    assert entered({"n": 1}) == ("user:7", "T1", expected)


def test_an_actor_that_is_a_function_is_asked_at_each_event_that_names_none() -> None:
    answers = iter(["user:7", None])
    hansard.bind(actor=lambda: next(answers))
    assert entered(actor="me")[0] == "me"
    assert [entered()[0], entered()[0]] == ["user:7", "the setting's"]


def test_what_the_call_names_wins() -> None:
    hansard.bind(actor="user:7", task_id="T1", n=2, m=2)
    assert entered({"n": 1}, actor="a", task_id="T") == ("a", "T", {"n": 1, "m": 2})


def test_without_anything_bound_the_setting_counts() -> None:
    assert entered() == ("the setting's", None, None)


def test_binding_again_adds_and_replaces() -> None:
    hansard.bind(actor="a", tenant="x")
    hansard.bind(task_id="T", tenant="y", colour="red")
    assert entered() == ("a", "T", {"tenant": "y", "colour": "red"})


def test_none_leaves_what_is_bound() -> None:
    hansard.bind(actor="a", tenant="x")
    hansard.bind(actor=None, tenant=None, colour=None)
    assert entered() == ("a", None, {"tenant": "x"})


def test_an_empty_text_is_one() -> None:
    hansard.bind(actor="a")
    hansard.bind(actor="")
    assert entered()[0] == ""


def test_unbinding_takes_away_what_it_names_or_all() -> None:
    hansard.bind(actor="a", task_id="T", x=1, y=2)
    hansard.unbind("task_id", "x", "never bound")
    assert entered() == ("a", None, {"y": 2})
    hansard.unbind()
    assert entered() == ("the setting's", None, None)
    assert bound_now() is None


def test_values_are_those_of_when_they_were_bound() -> None:
    tags = ["a"]
    hansard.bind(tags=tags)
    tags.append("b")
    assert payload_of() == {"tags": ["a"]}


@pytest.mark.parametrize(
    "value", [True, -1.5, BIG, "é\n", "\ud800", ["x"], {"a": {"b": None}}, Decimal("1.5")]
)
def test_whatever_json_can_hold_may_be_bound(value: Any) -> None:
    expected = "1.5" if isinstance(value, Decimal) else value
    hansard.bind(schön=value)
    assert payload_of({"own": 1}) == {"own": 1, "sch\u00f6n": expected}


# --- every kind of payload ---


@pytest.mark.parametrize(
    "payload",
    [
        {"n": 1, "own": "o"},
        {"n": BIG, "own": "o"},
        MappingProxyType({"n": 1, "own": "o"}),
        orjson.Fragment('{"n":1,"own":"o"}'),
        orjson.Fragment(b' {"n":1, "own":"o" } \n'),
        orjson.Fragment(rb'{"n":1,"\u006fwn":"o"}'),
        orjson.Fragment(b'{"own":"first","n":%d,"own":"o"}' % BIG),
        {"n": 1, "own": "o", "long": "x" * 600},
    ],
    ids=["dict", "slow", "mapping", "text", "bytes", "escaped", "doubled", "long"],
)
def test_a_payload_of_any_kind_keeps_its_own(payload: Any) -> None:
    hansard.bind(own="bound", added="bound", n="bound")
    merged = payload_of(payload)
    assert merged["own"] == "o"
    assert merged["added"] == "bound"
    assert merged["n"] in (1, BIG)
    assert text_of(payload).count('"n"') == 1


def test_keys_that_are_no_strings_win_as_what_they_become() -> None:
    hansard.bind(**{"1": "bound", "null": "bound", "2": "bound"})
    assert payload_of({1: "own", None: "own"}) == {"1": "own", "null": "own", "2": "bound"}


@pytest.mark.parametrize("payload", [{}, orjson.Fragment(" { } "), MappingProxyType({})])
def test_an_empty_payload_gets_the_fields(payload: Any) -> None:
    hansard.bind(x=1)
    assert payload_of(payload) == {"x": 1}


def test_no_payload_gets_the_fields() -> None:
    hansard.bind(actor="a")
    assert payload_of() is None
    hansard.bind(x=1)
    assert payload_of() == {"x": 1}


def test_a_text_is_not_encoded_again() -> None:
    hansard.bind(x=1)
    text = '{"a" : 1.50, "n":123456789012345678901234567890, "a":"\\u00e9", "deep":{"x":0}'
    assert text_of(orjson.Fragment(text + "}")) == text + ',"x":1}'


@pytest.mark.parametrize("text", ['{"y":', '{"y":"bad} ', '{"y":1}]', '{"y":[1}'])
def test_a_text_that_is_no_json_does_not_become_any(text: str) -> None:
    hansard.bind(x=1)
    with pytest.raises(ValueError, match=r"line 1|Expecting"):
        payload_of(orjson.Fragment(text))


def test_a_payload_with_its_context_is_as_deep_and_large_as_any() -> None:
    deep: Any = 1
    for _ in range(63):
        deep = {"a": deep}
    hansard.bind(deep=deep)
    payload_of({"deeper": deep})
    with pytest.raises(InvalidEvent, match="nested too deep"):
        hansard.bind(deep={"a": deep})
    hansard.bind(x="y" * 100)
    with pytest.raises(InvalidEvent, match="the event has"):
        payload_of({"v": "a" * ((1 << 20) - 100)})


# --- what cannot be bound ---


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"actor": 7}, "actor is an int: it must be a string"),
        ({"actor": "a\0b"}, "actor holds a NUL"),
        ({"task_id": "x" * 1_025}, "task_id has 1,025 bytes"),
        ({"thing": object()}, "thing: it cannot be encoded as JSON: an object has no place"),
        ({"\ud800": 1}, "the name of a bound field holds a lone surrogate"),
        ({"x": "y" * CONTEXT_BYTES_MAX}, "what is bound has .* each event repeats it"),
    ],
)
@pytest.mark.parametrize("how", [hansard.bind, lambda **each: hansard.bound(**each).__enter__()])
def test_what_no_event_can_hold_is_refused_where_it_is_bound(
    fields: dict[str, Any], rule: str, how: Callable[..., Any]
) -> None:
    hansard.bind(tenant="x")
    with pytest.raises(InvalidEvent, match=rule):
        how(**fields)
    assert entered() == ("the setting's", None, {"tenant": "x"})


# --- blocks and functions ---


def test_a_block_ends_what_it_bound_whatever_was_bound_inside() -> None:
    hansard.bind(tenant="x")
    with hansard.bound(actor="a", tenant="y"):
        with hansard.bound(step=1):
            assert entered() == ("a", None, {"tenant": "y", "step": 1})
        hansard.bind(left="over")
        hansard.unbind("actor")
        assert entered() == ("the setting's", None, {"tenant": "y", "left": "over"})
    assert entered() == ("the setting's", None, {"tenant": "x"})


def test_an_exception_ends_a_block_too() -> None:
    with pytest.raises(KeyError), hansard.bound(x=1):
        raise KeyError
    assert payload_of() is None


def test_one_block_may_be_entered_again_and_within_itself() -> None:
    block = hansard.bound(x=1)
    with block:
        with block:
            pass
        assert payload_of() == {"x": 1}
    with block:
        assert payload_of() == {"x": 1}
    assert payload_of() is None


def test_a_function_is_called_with_it_bound() -> None:
    @hansard.bound(x=1)
    def recording(depth: int) -> Any:
        """As it says."""
        return recording(depth - 1) if depth else payload_of()

    assert recording(3) == {"x": 1}
    assert payload_of() is None
    assert (recording.__name__, recording.__doc__) == ("recording", "As it says.")


def test_a_coroutine_function_is_awaited_with_it_bound() -> None:
    @hansard.bound(x=1)
    async def recording() -> Any:
        await asyncio.sleep(0)
        return payload_of()

    async def twice() -> Any:
        return [*await asyncio.gather(recording(), recording()), payload_of()]

    assert asyncio.run(twice()) == [{"x": 1}, {"x": 1}, None]


def test_a_generator_is_not_decorated() -> None:
    def numbers() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for generator in (numbers, later):
        with pytest.raises(TypeError, match="is a generator, which runs in the context of"):
            hansard.bound(x=1)(generator)


def test_a_block_in_a_generator_that_is_ended_elsewhere_raises_nothing() -> None:
    async def bound_inside() -> Any:
        with hansard.bound(x=1):
            yield 1

    async def main() -> Any:
        generator = bound_inside()
        await asyncio.create_task(anext(generator))
        await generator.aclose()  # in another task than where it was bound
        return payload_of()

    assert asyncio.run(main()) is None


# --- threads, tasks, processes ---


def test_each_thread_has_its_own() -> None:
    hansard.bind(of="main")
    at_once = threading.Barrier(4)

    def bound_in(name: int) -> Any:
        before = payload_of()
        hansard.bind(of=name)
        at_once.wait(10)
        return before, payload_of()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(bound_in, range(4))) == [(None, {"of": each}) for each in range(4)]
    assert payload_of() == {"of": "main"}


def test_one_block_in_two_contexts_at_once_leaves_nothing_bound_in_either() -> None:
    block, contexts = hansard.bound(actor="system"), [copy_context(), copy_context()]
    for context in contexts:
        context.run(block.__enter__)
    for context in contexts:
        context.run(block.__exit__, None, None, None)
    assert [context.run(bound_now) for context in contexts] == [None, None]


def test_each_asyncio_task_has_its_own_with_what_its_maker_had() -> None:
    async def request(name: int) -> Any:
        hansard.bind(request=name)
        await asyncio.sleep(0)
        return payload_of(), await asyncio.to_thread(payload_of)

    async def serving() -> Any:
        hansard.bind(server="s")
        return await asyncio.gather(*(request(name) for name in range(3))), payload_of()

    requests, outside = asyncio.run(serving())
    assert requests == [({"server": "s", "request": each},) * 2 for each in range(3)]
    assert outside == {"server": "s"}


def test_a_fork_goes_on_with_what_was_bound() -> None:
    hansard.bind(of="parent")
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        os.write(theirs, json.dumps(payload_of()).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as said:
        assert json.load(said) == {"of": "parent"}
    os.waitpid(child, 0)


# --- every way to record ---


class Heard:
    """The encoder of a log, which remembers what it encoded."""

    def __init__(self, log: AuditLog) -> None:
        self.events: list[Any] = []
        encode: Callable[..., bytes] = log._encoder.encode

        def remembered(*arguments: Any) -> bytes:
            data = encode(*arguments)
            _, created_at, event_type, _, actor, task_id, text = msgpack.unpackb(data)
            if created_at:
                payload = text and json.loads(text)
                self.events.append((event_type, actor, task_id, payload))
            return data

        log._encoder.encode = remembered  # type: ignore[method-assign]


def test_it_is_in_what_is_recorded_in_every_way(directory: Path) -> None:
    log = AuditLog(directory, ack_timeout=0.01)
    heard = Heard(log)
    with hansard.bound(actor="user:7", task_id="T1", correlation_id="r-1"):
        log.record("a.b", {"n": 1})
        asyncio.run(log.arecord("a.c"))
        log.record_many([{"event_type": "a.d"}, {"event_type": "a.e", "actor": "other"}])
        with log.operation("sync", workflow_id="wf", node_id="n"):
            pass
        log.refusal("agent:1", {"kind": "x"}, {"decision": "refuse"})
    log.close(0)
    expected = ["a.b", "a.c", "a.d", "a.e", "env.operation", "governance.refusal"]
    assert [event_type for event_type, *_ in heard.events] == expected
    assert {payload["correlation_id"] for *_, payload in heard.events} == {"r-1"}
    assert {task_id for *_, task_id, _ in heard.events} == {"T1"}
    actors = [actor for _, actor, *_ in heard.events]
    assert actors == ["user:7", "user:7", "user:7", "other", "user:7", "agent:1"]


def test_registrations_of_tasks_are_left_alone() -> None:
    hansard.bind(actor="user:7", task_id="T1", correlation_id="r-1")
    data = EventEncoder(None, "the setting's").encode_task("T2", {"title": "t"}, 5)
    assert msgpack.unpackb(data)[4:] == ["the setting's", "T2", '{"title":"t"}']
