"""`AuditLog.audited`: a decorator that records each call of a function as one entry, at its end.

Nothing of the recording reaches the function's caller: not an exception, not another result, and
of time what a `record()` takes. Loaded where it is used.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from hansard.errors import InvalidEvent
from hansard.excerpts import excerpt, excerpt_of_error

if TYPE_CHECKING:
    from hansard.audit_log import AuditLog

Function = TypeVar("Function", bound=Callable[..., Any])

BYTES_MAX: Final = 16 << 10  # of the arguments, and of the result
BYTES_MAX_MAX: Final = 256 << 10  # both, and an error, fit into an event

SUCCESS: Final = "success"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"  # an asyncio task, or one of trio's
CLOSED: Final = "closed"  # a generator, of which nobody wanted more

_CANCELLATIONS: Final = frozenset({"CancelledError", "Cancelled"})


class Audited:
    """Decorates functions, sync and async, generators of both kinds, and methods. Made by
    `AuditLog.audited`.

    An entry of ``event_type`` has the ``function``, its ``arguments`` by name without self, its
    ``result``, or its ``error`` with type and message, ``duration_ms``, and as ``status`` success,
    failed, cancelled (a task of asyncio's), or closed (a generator). Its level is ``level``, error
    for a failed one, warning for a cancelled one. An exception goes on up unchanged.

    Of ``arguments`` and of ``result`` about ``bytes_max`` bytes are kept each, none where that is
    false; of what JSON does not know the type's name. They are masked like any payload. Without
    ``actor`` and ``task_id`` it is what is bound in the context.

    Raises `InvalidEvent` at once for what no event can have.
    """

    def __init__(
        self,
        log: "AuditLog",
        event_type: str,
        *,
        level: str = "info",
        actor: str | None = None,
        task_id: str | None = None,
        arguments: bool = True,
        result: bool = True,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        if type(bytes_max) is not int or not 0 <= bytes_max <= BYTES_MAX_MAX:
            raise InvalidEvent(
                f"bytes_max is {bytes_max!r:.100}: it must be a whole number up to "
                f"{BYTES_MAX_MAX:,}"
            )
        log._encoder.encode(event_type, None, level, actor, task_id, 0)  # may it be recorded?
        self._log = log
        self._event_type = event_type
        self._level = level
        self._fixed: dict[str, Any] = {"actor": actor, "task_id": task_id}
        self._wants_arguments = arguments
        self._wants_result = result
        self._bytes_max = bytes_max

    def __call__(self, function: Function) -> Function:
        """The function, which does what it did."""
        if isinstance(function, staticmethod | classmethod):
            return cast("Function", type(function)(self(function.__func__)))
        if not callable(function):
            raise TypeError(f"a {type(function).__name__} cannot be audited: it is no function")
        signature = _Signature.of(function)
        if _is(inspect.isasyncgenfunction, function):
            wrapper: Callable[..., Any] = self._of_async_generator(function, signature)
        elif _is(inspect.isgeneratorfunction, function):
            wrapper = self._of_generator(function, signature)
        elif _is(inspect.iscoroutinefunction, function):
            wrapper = self._of_coroutine(function, signature)
        else:
            wrapper = self._of_function(function, signature)
        return cast("Function", functools.update_wrapper(wrapper, function))

    def _of_function(
        self, function: Callable[..., Any], signature: "_Signature"
    ) -> Callable[..., Any]:
        def audited(*args: Any, **kwargs: Any) -> Any:
            call = _Call(self, signature, args, kwargs)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                call.raised(error)
                raise
            call.returned(result)
            return result

        return audited

    def _of_generator(
        self, function: Callable[..., Generator[Any, Any, Any]], signature: "_Signature"
    ) -> Callable[..., Any]:
        def audited(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            call = _Call(self, signature, args, kwargs)
            try:
                result = yield from function(*args, **kwargs)
            except BaseException as error:
                call.raised(error)
                raise
            call.returned(result)
            return result

        return audited

    # What asyncio waits for must not block its loop: on a full queue `record` would.

    def _of_coroutine(
        self, function: Callable[..., Any], signature: "_Signature"
    ) -> Callable[..., Any]:
        async def audited(*args: Any, **kwargs: Any) -> Any:
            call = _Call(self, signature, args, kwargs)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                await call.araised(error)
                raise
            await call.areturned(result)
            return result

        return audited

    def _of_async_generator(
        self, function: Callable[..., AsyncGenerator[Any, Any]], signature: "_Signature"
    ) -> Callable[..., Any]:
        async def audited(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            call = _Call(self, signature, args, kwargs)
            inner = function(*args, **kwargs)
            try:
                item = await anext(inner)
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 - the generator's, not ours
                        item = await inner.athrow(error)
                    else:
                        item = await inner.asend(sent)
            except StopAsyncIteration:
                await call.areturned(None)
            except BaseException as error:
                await call.araised(error)
                raise

        return audited


def _is(kind: Callable[[object], bool], function: object) -> bool:
    """Whether a function, or what an object does when it is called, is of a kind."""
    return kind(function) or kind(getattr(type(function), "__call__", None))  # noqa: B004


class _Signature(NamedTuple):
    """What a call's arguments are called. ``left_out``: how many come first that nobody wants."""

    name: str
    left_out: int
    positional: tuple[str, ...]
    rest: str | None
    defaults: Mapping[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "_Signature":
        name = getattr(function, "__qualname__", type(function).__qualname__)
        name = name.rpartition("<locals>.")[2]
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # some that are written in C say nothing
            return cls(name, 0, (), "args", {})
        left_out = int(bool(parameters) and parameters[0].name in ("self", "cls"))
        parameters = parameters[left_out:]
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        rests = [each.name for each in parameters if each.kind is each.VAR_POSITIONAL]
        return cls(
            name,
            left_out,
            tuple(each.name for each in parameters if each.kind in by_place),
            rests[0] if rests else None,
            {each.name: each.default for each in parameters if each.default is not each.empty},
        )

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, those that it left to their defaults last."""
        args = args[self.left_out :]
        names = self.positional
        named = dict(zip(names, args, strict=False))
        if len(args) > len(names):
            named[self.rest or "args"] = args[len(names) :]  # or too many: the function says so
        named.update(kwargs)
        for name, default in self.defaults.items():
            named.setdefault(name, default)
        return named


class _Call:
    """One call: what is known of it at its begin, and its entry at the end."""

    __slots__ = ("_arguments", "_audited", "_name", "_started_ns")

    def __init__(
        self,
        audited: Audited,
        signature: _Signature,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._audited = audited
        self._name = signature.name
        self._arguments: Any = None
        if audited._wants_arguments:  # as they are now: the function may change them
            self._arguments = excerpt(signature.named(args, kwargs), audited._bytes_max)
        self._started_ns = monotonic_ns()

    def returned(self, result: Any) -> None:
        """It has ended well."""
        self._record(self._payload(SUCCESS, result), self._audited._level)

    def raised(self, error: BaseException) -> None:
        """It has not."""
        self._record(*self._failure(error), sync=False if _is_closing(error) else None)

    async def areturned(self, result: Any) -> None:
        """`returned`, which does not block the event loop."""
        await self._arecord(self._payload(SUCCESS, result), self._audited._level)

    async def araised(self, error: BaseException) -> None:
        """`raised`, which does not block the event loop."""
        if _is_closing(error):  # what is being closed must not await
            self.raised(error)
        else:
            await self._arecord(*self._failure(error))

    def _payload(self, status: str, result: Any = None) -> dict[str, Any]:
        duration_ms = (monotonic_ns() - self._started_ns) / 1_000_000
        audited = self._audited
        payload: dict[str, Any] = {"function": self._name, "status": status}
        if self._arguments is not None:
            payload["arguments"] = self._arguments
        if status == SUCCESS and audited._wants_result:
            payload["result"] = excerpt(result, audited._bytes_max)
        payload["duration_ms"] = round(duration_ms, 3)
        return payload

    def _failure(self, error: BaseException) -> tuple[dict[str, Any], str]:
        if _is_closing(error):
            return self._payload(CLOSED), self._audited._level
        if type(error).__name__ in _CANCELLATIONS:
            return self._payload(CANCELLED), "warning"
        payload = self._payload(FAILED)
        payload["error"] = excerpt_of_error(error)
        return payload, "error"

    def _record(self, payload: dict[str, Any], level: str, sync: bool | None = None) -> None:
        audited = self._audited
        log, event_type = audited._log, audited._event_type
        try:
            log.record(event_type, payload, level=level, sync=sync, **audited._fixed)
        except Exception as error:  # noqa: BLE001 - the function's work is done
            self._complain(error)

    async def _arecord(self, payload: dict[str, Any], level: str) -> None:
        audited = self._audited
        log, event_type = audited._log, audited._event_type
        try:
            await log.arecord(event_type, payload, level=level, **audited._fixed)
        except Exception as error:  # noqa: BLE001 - the function's work is done
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        self._audited._log._complaints.warn(
            "audited", "a call of %s was not recorded: %s", self._name, error
        )


def _is_closing(error: BaseException) -> bool:
    """Whether nobody wants more of a generator, or of a coroutine."""
    return isinstance(error, GeneratorExit)
