"""A function that is audited does what it did, and each of its calls is one entry."""

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest

import hansard
from hansard import AuditLog, InvalidEvent
from hansard.excerpts import DEPTH_MAX, excerpt


class Recording(AuditLog):
    """A log that keeps what it is given, for nobody serves it."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory, close_timeout=0, spool_bytes=2 << 20, **settings)
        encode = self._encoder.encode
        self.events: list[dict[str, Any]] = []

        def kept(*arguments: Any) -> bytes:
            data = encode(*arguments)
            _, created_at, event_type, level, actor, task_id, text = msgpack.unpackb(data)
            facts = {"type": event_type, "level": level, "actor": actor, "task_id": task_id}
            if created_at:  # else it only asked whether it may be recorded
                self.events.append(facts | json.loads(text))
            return data

        self._encoder.encode = kept  # type: ignore[method-assign]

    @property
    def event(self) -> dict[str, Any]:
        """The only one."""
        [event] = self.events
        return event


@pytest.fixture
def log(directory: Path) -> Iterator[Recording]:
    with Recording(directory, actor="agent:7") as log:
        yield log


def test_a_call_is_one_entry(log: Recording) -> None:
    @log.audited("tool.call")
    def add(one: int, other: int = 2, *more: int, scale: int = 1, **rest: int) -> int:
        return (one + other + sum(more)) * scale

    assert add(1, 2, 3, 4, scale=10, colour=5) == 100
    event = log.event
    assert event.pop("duration_ms") >= 0
    assert event == {
        "type": "tool.call",
        "level": "info",
        "actor": "agent:7",
        "task_id": None,
        "function": "add",
        "status": "success",
        "arguments": {"one": 1, "other": 2, "more": [3, 4], "scale": 10, "colour": 5},
        "result": 100,
    }


def test_defaults_are_arguments_too(log: Recording) -> None:
    @log.audited("tool.call")
    def find(pattern: str, /, folder: str = ".", *, deep: bool = False) -> None:
        assert pattern

    find("x")
    assert log.event["arguments"] == {"pattern": "x", "folder": ".", "deep": False}
    assert log.event["result"] is None


def test_an_exception_goes_on_up_and_is_recorded(log: Recording) -> None:
    error = ValueError("no such file")

    @log.audited("tool.call")
    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="no such file") as caught:
        fail()
    assert caught.value is error
    assert (log.event["status"], log.event["level"]) == ("failed", "error")
    assert log.event["error"] == {"type": "ValueError", "message": "no such file"}
    assert "result" not in log.event


def test_arguments_that_do_not_fit_are_recorded_with_the_error(log: Recording) -> None:
    @log.audited("tool.call")
    def one(only: int) -> None:
        pytest.fail(f"called with {only}")

    with pytest.raises(TypeError, match="takes 1 positional argument but 2"):
        one(1, 2)  # type: ignore[call-arg]
    assert log.event["arguments"] == {"only": 1, "args": [2]}


def test_what_the_context_has_and_what_the_decorator_says(log: Recording) -> None:
    @log.audited("tool.call", level="debug", task_id="T9", arguments=False, result=False)
    def quiet(secret: str) -> str:
        return secret

    @log.audited("tool.call")
    def loud() -> None: ...

    with hansard.bound(actor="user:1", task_id="T1", correlation_id="r-1"):
        quiet("x")
        loud()
    first, second = log.events
    assert (first["level"], first["actor"], first["task_id"]) == ("debug", "user:1", "T9")
    assert not {"arguments", "result"} & first.keys()
    assert (second["task_id"], second["correlation_id"]) == ("T1", "r-1")


def test_secrets_are_masked(log: Recording) -> None:
    @dataclass
    class Login:
        user: str
        password: str

    @log.audited("tool.call")
    def login(login: Login, token: str) -> dict[str, str]:
        return {"Set-Cookie": "hunter2", "user": login.user, "n": token[:0]}

    login(Login("u", "hunter2"), token="hunter2")
    assert log.event["arguments"] == {
        "login": {"user": "u", "password": "[masked]"},
        "token": "[masked]",
    }
    assert log.event["result"] == {"Set-Cookie": "[masked]", "user": "u", "n": ""}
    assert "hunter2" not in json.dumps(log.events)


def test_arguments_are_those_of_when_it_was_called(log: Recording) -> None:
    @log.audited("tool.call")
    def append(items: list[int]) -> list[int]:
        items.append(1)
        return items

    append([])
    assert (log.event["arguments"], log.event["result"]) == ({"items": []}, [1])


class Tools:
    """Methods of each kind; the log comes later than the class."""

    def read(self, path: str) -> str:
        return path

    @classmethod
    def named(cls, name: str) -> str:
        return cls.__name__ + name

    @staticmethod
    def free(name: str) -> str:
        return name


def test_methods_of_each_kind_are_recorded_without_self(log: Recording) -> None:
    class Audited(Tools):
        read = log.audited("tool.call")(Tools.read)
        named = log.audited("tool.call")(Tools.__dict__["named"])
        free = log.audited("tool.call")(Tools.__dict__["free"])

    tools = Audited()
    assert (tools.read("a"), tools.named("b"), tools.free("c")) == ("a", "Auditedb", "c")
    assert [event["function"] for event in log.events] == [
        "Tools.read",
        "Tools.named",
        "Tools.free",
    ]
    assert [event["arguments"] for event in log.events] == [
        {"path": "a"},
        {"name": "b"},
        {"name": "c"},
    ]


def test_a_function_keeps_its_face(log: Recording) -> None:
    def documented(one: int, *, other: str = "x") -> bool:
        """As it says."""
        return bool(one and other)

    audited = log.audited("tool.call")(documented)
    assert inspect.signature(audited) == inspect.signature(documented)
    assert (audited.__name__, audited.__doc__) == ("documented", "As it says.")
    assert audited.__module__ == __name__


@pytest.mark.parametrize("function", [len, print, Tools().read, type("C", (), {"__call__": len})()])
def test_whatever_can_be_called_can_be_audited(
    log: Recording, function: Callable[..., Any]
) -> None:
    assert callable(log.audited("tool.call")(function))


# --- asyncio ---


def test_a_coroutine_function_is_recorded_when_it_ends(log: Recording) -> None:
    @log.audited("tool.call")
    async def fetch(url: str) -> str:
        await asyncio.sleep(0)
        assert not log.events
        return url * 2

    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.run(fetch("x")) == "xx"
    assert (log.event["result"], log.event["status"]) == ("xx", "success")


def test_an_object_whose_call_is_a_coroutine_is_recorded_when_that_ends(log: Recording) -> None:
    class Tool:
        async def __call__(self, item: str) -> str:
            raise KeyError(item)

    tool = log.audited("tool.call")(Tool())
    assert inspect.iscoroutinefunction(tool)
    with pytest.raises(KeyError):
        asyncio.run(tool("b"))
    assert (log.event["status"], log.event["arguments"]) == ("failed", {"item": "b"})


def test_a_cancellation_is_recorded_as_one(log: Recording) -> None:
    started = asyncio.Event()

    @log.audited("tool.call")
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    async def cancelling() -> None:
        task = asyncio.create_task(wait())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelling())
    assert (log.event["status"], log.event["level"]) == ("cancelled", "warning")


def test_a_coroutine_that_is_closed_is_recorded(log: Recording) -> None:
    @log.audited("tool.call")
    async def wait() -> None:
        await asyncio.sleep(0)

    coroutine = wait()
    coroutine.send(None)
    coroutine.close()
    assert log.event["status"] == "closed"


# --- generators ---


def test_a_generator_is_recorded_at_its_end(log: Recording) -> None:
    @log.audited("tool.call")
    def echo(first: str) -> Any:
        said = yield first
        try:
            yield said * 2
        except KeyError:
            yield "caught"
        return "the end"

    generator = echo("a")
    assert next(generator) == "a"
    assert generator.send("b") == "bb"
    assert generator.throw(KeyError) == "caught"
    assert not log.events
    with pytest.raises(StopIteration, match="the end"):
        next(generator)
    assert (log.event["arguments"], log.event["result"]) == ({"first": "a"}, "the end")


def test_a_generator_that_nobody_wants_more_of_is_closed(log: Recording) -> None:
    closed = []

    @log.audited("tool.call")
    def numbers() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    for number in (generator := numbers()):
        if number == 3:
            break
    generator.close()  # type: ignore[attr-defined]
    assert (log.event["status"], log.event["level"], closed) == ("closed", "info", [True])


def test_an_asynchronous_generator_is_recorded_at_its_end(log: Recording) -> None:
    closed = []

    @log.audited("tool.call")
    async def echo(first: str) -> Any:
        try:
            said = yield first
            try:
                yield said * 2
            except KeyError:
                yield "caught"
        finally:
            closed.append(True)

    async def talk() -> list[str]:
        generator = echo("a")
        said = [await anext(generator), await generator.asend("b")]
        said.append(await generator.athrow(KeyError()))
        assert not log.events
        return [*said, *[each async for each in generator]]

    assert asyncio.run(talk()) == ["a", "bb", "caught"]
    assert (log.event["status"], log.event["arguments"]) == ("success", {"first": "a"})
    assert closed == [True]


@pytest.mark.parametrize("how", ["closed", "failed", "success"])
def test_an_asynchronous_generator_ends_in_every_way(log: Recording, how: str) -> None:
    ended = []

    @log.audited("tool.call")
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            if how == "failed":
                raise OSError(how)
        finally:
            await asyncio.sleep(0)
            ended.append(how)

    async def use() -> None:
        generator = numbers()
        await anext(generator)
        if how == "closed":
            await generator.aclose()  # type: ignore[attr-defined]
        elif how == "failed":
            with pytest.raises(OSError, match=how):
                await anext(generator)
        else:
            assert [each async for each in generator] == []

    asyncio.run(use())
    assert (log.event["status"], ended) == (how, [how])


# --- nothing of it breaks the work ---


def test_a_log_that_is_closed_breaks_nothing(
    log: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    @log.audited("tool.call")
    def work() -> int:
        return 7

    log.close()
    with caplog.at_level(logging.WARNING, "hansard"):
        assert work() == 7


@pytest.mark.parametrize("best_effort", [True, False])
def test_a_log_that_raises_breaks_nothing(
    directory: Path, best_effort: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with AuditLog(directory, queue_maxsize=1, on_full="raise", best_effort=best_effort,
                  close_timeout=0) as log:  # fmt: skip

        @log.audited("tool.call")
        def work() -> int:
            return 7

        async def awaited() -> int:
            return await log.audited("tool.call")(asyncio.sleep)(0, 8)

        assert [work(), work(), asyncio.run(awaited())] == [7, 7, 8]
    assert "a call of test_a_log_that_raises_breaks_nothing" not in caplog.text
    assert "a call of work was not recorded" in caplog.text


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"event_type": "no type"}, "event_type is 'no type'"),
        ({"event_type": len}, "event_type is a builtin_function_or_method"),
        ({"level": "loud"}, "level is 'loud'"),
        ({"task_id": 7}, "task_id is an int"),
        ({"bytes_max": -1}, "bytes_max is -1"),
    ],
)
def test_what_no_event_can_have_is_refused_at_once(
    log: Recording, options: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InvalidEvent, match=rule):
        log.audited(**({"event_type": "a.b"} | options))


def test_what_is_no_function_is_refused(log: Recording) -> None:
    with pytest.raises(TypeError, match="a str cannot be audited: it is no function"):
        log.audited("tool.call")("text")  # type: ignore[type-var]


# --- what is kept of a value ---


class Colour(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Hostile:
    def __repr__(self) -> str:
        pytest.fail("its repr was asked for")

    __str__ = __len__ = __iter__ = __repr__


class Rude(dict[str, int]):
    def items(self) -> Any:
        raise KeyError("no items")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1 << 70, 1 << 70),
        (1 << 70_000, "<int>"),
        (1.5, 1.5),
        ("é\0", "é\0"),
        ("x" * 3_000, "x" * 2_000 + "… (3,000 characters)"),
        (b"secret", "<bytes of 6>"),
        (Colour.RED, "red"),
        (Point(1, 2), {"x": 1, "y": 2}),
        ({1: 2, None: 3, Colour.RED: 4, (5,): 6}, {"1": 2, "None": 3, "red": 4, "<tuple>": 6}),
        (Decimal("1.50"), "1.50"),
        (Path("/tmp/x"), "/tmp/x"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (object(), "<object>"),
        ([Hostile], ["<type>"]),
        (Rude(a=1), f"<{__name__}.Rude>"),
        (iter([1]), "<list_iterator>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_of_any_value_something_is_kept_that_json_can_hold(value: Any, expected: Any) -> None:
    kept = excerpt(value, 10_000)
    assert kept == expected
    json.dumps(kept)


def test_a_value_that_holds_itself_is_cut_where_it_is_too_deep() -> None:
    value: list[Any] = []
    value.append(value)
    depth = json.dumps(excerpt(value, 10_000)).count("[")
    assert depth == DEPTH_MAX
    assert excerpt([Hostile()], 100) in (
        [f"<{__name__}.Hostile>"],
        ["<tests.unit.test_audited.Hostile>"],
    )


@pytest.mark.parametrize(
    "value",
    [
        ["x" * 100] * 10_000,
        {f"k{n}" * 100: "x" * n for n in range(10_000)},
        list(range(1_000_000)),
        [[["\0" * 5_000] * 50] * 50] * 50,
        {"a": ["é" * 10_000] * 5},
    ],
)
def test_what_is_large_is_kept_in_part_and_says_so(value: Any) -> None:
    text = json.dumps(excerpt(value, 2_000), ensure_ascii=False)
    assert len(text) < 20_000
    assert "more" in text or "characters" in text


def test_a_large_value_leaves_room_for_those_behind_it() -> None:
    kept = excerpt({"large": ["x" * 1_000] * 100, "small": "y", "other": {"z": "z" * 100}}, 4_000)
    assert kept["small"] == "y"
    assert kept["other"] == {"z": "z" * 100}
    assert "more" in kept["large"][-1]
