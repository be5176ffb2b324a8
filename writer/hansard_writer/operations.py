"""Named operations: the decorator that marks them, and the modules that they are loaded from.

It runs none of them and knows no database: `hansard_writer.calls` does.
"""

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any, Final, TypeVar, overload

from hansard.calls import check_name
from hansard.errors import ConfigError, InvalidEvent

Function = Callable[[Any, Any], Any]
Marked = TypeVar("Marked", bound=Function)

SECOND_SQLITE: Final = "_sqlite3"

_MARK: Final = "__hansard_operation__"


@overload
def operation(function: Marked, /) -> Marked: ...
@overload
def operation(*, name: str | None = None) -> Callable[[Marked], Marked]: ...
def operation(function: Any = None, /, *, name: str | None = None) -> Any:
    """Mark ``fn(connection, params) -> result`` as an operation that `AuditLog.call` may run.

    It is called by its own name, or by ``name``. It only gets a mark, and stays the function that
    it was: nothing is run before ``hansard serve --operations`` loads its module.

    ``connection`` is a `hansard_writer.operation_connection.OperationConnection`. The operation
    runs in a transaction of its own, which is committed when it returns and rolled back when it
    raises; it MUST NOT keep the connection nor wait for the log (`AuditLog.call`, ``sync=True``),
    which waits for it, and has five seconds.
    """

    def mark(function: Marked) -> Marked:
        setattr(function, _MARK, getattr(function, "__name__", "") if name is None else name)
        return function

    return mark if function is None else mark(function)


def load(modules: Iterable[str]) -> dict[str, Function]:
    """The operations of these modules by name; what an import prints goes to stderr.

    Raises `ConfigError` for a module that cannot be imported or has none, and for names that two
    functions share or that break the rule of `check_name`.
    """
    if os.getcwd() not in sys.path:  # noqa: PTH109 - text, like all of sys.path
        sys.path.append(os.getcwd())  # noqa: PTH109 - at the end: it hides nothing installed
    operations: dict[str, Function] = {}
    for module in modules:
        imported = _imported(module)
        found = _marked(imported)
        if not found and hasattr(imported, "__path__"):
            raise ConfigError(
                f"{module!r} is a package: name a module in it, such as {module}.operations"
            )
        if not found:
            raise ConfigError(
                f"operations module {module!r} has no operation: mark one with "
                "@hansard_writer.operation"
            )
        for name, function in found:
            _check(module, name, function)
            if operations.setdefault(name, function) is not function:
                raise ConfigError(
                    f"two operations are named {name!r}, {_place(operations[name])} and "
                    f"{_place(function)}: give one another name, @hansard_writer.operation(name=…)"
                )
    return operations


def forbid_second_sqlite() -> None:
    """From now on nothing in this process can load the stdlib's ``sqlite3``: a second SQLite that
    opens and closes ``log.db`` would drop the writer's locks, which belong to the process.

    Raises `ConfigError` when it is loaded already.
    """
    if sys.modules.get(SECOND_SQLITE) is not None:
        raise ConfigError(f"this process has loaded the standard library's sqlite3: {_WHY}")
    sys.modules[SECOND_SQLITE] = None  # type: ignore[assignment]  # an import then fails


_WHY: Final = (
    "a second copy of SQLite in the writer's process would silently drop the locks of log.db; "
    "use the connection that operations are given, or apsw for other databases"
)


def _imported(name: str) -> ModuleType:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the line "hansard ready"
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no operations module {name!r} ({error}): name it as "
                "package.module, installed or below the current directory"
            ) from error
        raise _import_failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> ConfigError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError) and cause.name == SECOND_SQLITE:
            return ConfigError(
                f"operations module {name!r} imports the standard library's sqlite3: {_WHY}"
            )
        cause = cause.__cause__ or cause.__context__
    return ConfigError(
        f"operations module {name!r} cannot be imported: {text_of(error)} ({place_of(error)})"
    )


def text_of(error: BaseException) -> str:
    """Type and message of an error, in one line that UTF-8 can hold."""
    text = " ".join("".join(traceback.format_exception_only(error)).split())
    return text.encode(errors="replace").decode()


def place_of(error: BaseException, function: Function | None = None) -> str:
    """Where an error was raised: in the file of ``function``, if it was on the way."""
    raised = [each for each in (error.__cause__, error) if each is not None]
    frames = [frame for each in raised for frame in traceback.extract_tb(each.__traceback__)]
    places = [(frame.filename, frame.lineno) for frame in frames]
    code = getattr(function, "__code__", None)
    if code is not None:
        beginning = (code.co_filename, code.co_firstlineno)
        places = [beginning, *(place for place in places if place[0] == code.co_filename)]
    return "{}:{}".format(*places[-1]) if places else "nowhere"


def _marked(module: ModuleType) -> list[tuple[str, Function]]:
    found = [value for value in vars(module).values() if _MARK in getattr(value, "__dict__", ())]
    return [(getattr(value, _MARK), value) for value in found if callable(value)]


def _check(module: str, name: object, function: Function) -> None:
    try:
        check_name(name)
    except InvalidEvent as error:
        raise ConfigError(f"an operation of module {module!r}: its {error}") from error
    for is_kind in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        if is_kind(function):
            raise ConfigError(
                f"the operation {_place(function)} is a coroutine or generator: it must be an "
                "ordinary function, which is done when it returns"
            )
    with contextlib.suppress(ValueError):  # some builtins have no signature
        try:
            inspect.signature(function).bind(None, None)
        except TypeError as error:
            raise ConfigError(
                f"the operation {_place(function)} must take (connection, params): {error}"
            ) from None


def _place(function: Function) -> str:
    if isinstance(function, FunctionType):
        return f"{function.__module__}.{function.__qualname__}"
    return repr(function)
