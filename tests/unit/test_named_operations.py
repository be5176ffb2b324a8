"""Named operations: how they are marked and loaded, and what cannot be one."""

import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hansard_writer
from hansard.errors import ConfigError
from hansard_writer import operations

NAMES = (f"ops_of_test_{number}" for number in range(10_000))

HEADER = "from hansard_writer import operation\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, from which modules are loaded; nothing of them is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def module(here: Path, body: str) -> str:
    """A module of a name of its own, with this body; its name."""
    name = next(NAMES)
    (here / f"{name}.py").write_text(HEADER + body)
    return name


def refused(here: Path, body: str) -> str:
    """What is said when a module with this body is loaded."""
    with pytest.raises(ConfigError) as caught:
        operations.load([module(here, body)])
    return str(caught.value)


def test_a_marked_function_stays_what_it_was() -> None:
    @hansard_writer.operation
    def double(connection: None, params: int) -> int:
        return 2 * params

    @hansard_writer.operation(name="other.name")
    def triple(connection: None, params: int) -> int:
        return 3 * params

    assert (double(None, 4), triple(None, 4)) == (8, 12)


def test_functions_are_loaded_by_their_name_or_the_one_they_were_given(here: Path) -> None:
    name = module(
        here,
        "@operation\n"
        "def double(connection, params): return 2 * params\n"
        "@operation(name='thing.upsert')\n"
        "def triple(connection, params): return 3 * params\n"
        "def unmarked(connection, params): ...\n"
        "same = double\n",
    )
    loaded = operations.load([name, name])
    assert sorted(loaded) == ["double", "thing.upsert"]
    assert loaded["thing.upsert"](None, 2) == 6


def test_a_package_may_show_the_operations_of_its_modules(here: Path) -> None:
    package = here / "things_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("from things_of_test.inner import double\n")
    (package / "inner.py").write_text(HEADER + "@operation\ndef double(c, p): ...\n")
    both = operations.load(["things_of_test", "things_of_test.inner"])
    assert list(both) == ["double"]


def test_a_package_without_operations_is_told_from_a_module_without(here: Path) -> None:
    package = here / "empty_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text(HEADER + "@operation\ndef double(c, p): ...\n")
    with pytest.raises(ConfigError) as caught:
        operations.load(["empty_of_test"])
    assert str(caught.value) == (
        "'empty_of_test' is a package: name a module in it, such as empty_of_test.operations"
    )


def test_no_modules_are_no_operations() -> None:
    assert operations.load([]) == {}


def test_the_current_directory_hides_nothing_installed(here: Path) -> None:
    operations.load([module(here, "@operation\ndef one(c, p): ...\n")])
    assert sys.path[-1] == str(here)


def test_what_an_import_prints_does_not_reach_stdout(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.load([module(here, "print('hello')\n@operation\ndef one(c, p): ...\n")])
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize("name", ["no_such_module_of_test", "no_such_package_of_test.inner"])
def test_a_module_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no operations module '{re.escape(name)}'"):
        operations.load([name])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x = 1", "has no operation: mark one with @hansard_writer.operation"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero ("),
        ("import no_such_module_of_test", "cannot be imported: ModuleNotFoundError: No module"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("def (", "cannot be imported: File"),
        ("@operation(name='a b')\ndef f(c, p): ...", "its name is 'a b': it must start with"),
        ("@operation(name='')\ndef f(c, p): ...", "its name is '': it must start with"),
        ("@operation(name=7)\ndef f(c, p): ...", "its name is an int: it must be a string"),
        ("f = operation(lambda c, p: 1)", "its name is '<lambda>': it must start with a letter"),
        ("@operation\nasync def f(c, p): ...", ".f is a coroutine or generator: it must be an"),
        ("@operation\ndef f(c, p): yield", ".f is a coroutine or generator: it must be an"),
        ("@operation\nasync def f(c, p): yield", ".f is a coroutine or generator"),
        ("@operation\ndef f(c): ...", "f must take (connection, params): too many positional"),
        ("@operation\ndef f(c, p, q): ...", "f must take (connection, params): missing a"),
    ],
)
def test_what_cannot_be_loaded_is_refused_by_name(here: Path, body: str, said: str) -> None:
    assert said in refused(here, body)


def test_two_functions_of_one_name_are_refused(here: Path) -> None:
    first = module(here, "@operation\ndef same(c, p): ...\n")
    second = module(here, "@operation(name='same')\ndef other(c, p): ...\n")
    said = f"two operations are named 'same', {first}.same and {second}.other: give one another"
    with pytest.raises(ConfigError, match=re.escape(said)):
        operations.load([first, second])


# --- the second SQLite ---


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sqlite3", "sqlite3.dbapi2", "_sqlite3"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    operations.forbid_second_sqlite()


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize(
    "body",
    [
        "import sqlite3",
        "from sqlite3 import connect",
        "import _sqlite3",
        "try:\n    import sqlite3\nexcept ImportError as error:\n    raise RuntimeError from error",
    ],
)
def test_a_module_that_imports_sqlite3_is_refused_and_told_why(here: Path, body: str) -> None:
    said = refused(here, body)
    assert "imports the standard library's sqlite3: a second copy of SQLite" in said
    assert "would silently drop the locks of log.db" in said


@pytest.mark.usefixtures("forbidden")
def test_a_module_that_does_without_sqlite3_is_loaded(here: Path) -> None:
    body = "try:\n    import sqlite3\nexcept ImportError: ...\n@operation\ndef f(c, p): ...\n"
    assert list(operations.load([module(here, body)])) == ["f"]
    assert sys.modules["_sqlite3"] is None


def test_a_process_that_has_loaded_sqlite3_cannot_become_a_writer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "_sqlite3", sys)
    with pytest.raises(ConfigError, match="this process has loaded the standard library's sqlite3"):
        operations.forbid_second_sqlite()


def test_the_package_that_users_import_is_light() -> None:
    program = (
        "import sys, hansard_writer; hansard_writer.operation, hansard_writer.running\n"
        "print({'apsw', 'click', 'cryptography', '_sqlite3'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"


def test_no_name_of_the_package_is_a_module_of_it_too() -> None:
    """Whoever imported the module first would hide the name."""
    modules = {each.name for each in pkgutil.iter_modules(hansard_writer.__path__)}
    assert modules.isdisjoint(hansard_writer.__all__)
