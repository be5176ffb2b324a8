"""What `import hansard` costs a worker, and what it never loads."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hansard

CLIENT = Path(hansard.__file__).parent
HEAVY = {"apsw", "click", "cryptography", "hansard_writer", "sqlite3"}
NEEDS_APSW = {"reader_connection.py", "search.py"}
ROUNDS = 15  # a busy moment is in each of few
TIMED = "import time; begin = time.process_time(); import {}; print(time.process_time() - begin)"


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    """The top-level names of all modules that a statement loads."""
    listing = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    return {name.partition(".")[0] for name in json.loads(run(f"{statement}\n{listing}"))}


def imports_of(path: Path, *, at_import: bool) -> set[str]:
    """The top-level names that a module imports, all of them or those of its first level."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_import else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_a_worker_loads_nothing_of_the_writers() -> None:
    loaded = loaded_by("import hansard")
    assert "hansard" in loaded
    assert not loaded & HEAVY


def test_a_worker_that_records_loads_nothing_of_the_writers(directory: Path) -> None:
    program = f"import hansard; hansard.AuditLog({str(directory)!r}).record('a.b', {{'n': 2**70}})"
    assert not loaded_by(program) & HEAVY


def test_multiprocessing_is_left_to_who_uses_it() -> None:
    assert not loaded_by("import hansard") & {"multiprocessing", "asyncio", "concurrent"} - (
        loaded_by("import zmq, msgpack, orjson")
    )


def test_what_only_some_use_is_loaded_at_its_first_use(directory: Path) -> None:
    program = (
        "import sys, hansard\n"
        f"log = hansard.AuditLog({str(directory)!r})\n"
        "with log.operation('sync', workflow_id='wf', node_id='n'): pass\n"
        "log.refusal('a', {'kind': 'x'}, {'decision': 'refuse'})\n"
        "print([name for name in ('hansard.awaiting', 'hansard.commands') if name in sys.modules])"
    )
    assert run(program) == "[]\n"


@pytest.mark.parametrize("path", sorted(CLIENT.rglob("*.py")), ids=lambda path: path.name)
def test_the_client_never_imports_the_writer(path: Path) -> None:
    assert not imports_of(path, at_import=False) & {"hansard_writer", "sqlite3", "click"}


@pytest.mark.parametrize("path", sorted(CLIENT.rglob("*.py")), ids=lambda path: path.name)
def test_only_the_read_side_imports_apsw(path: Path) -> None:
    assert ("apsw" not in imports_of(path, at_import=False)) or path.name in NEEDS_APSW


def test_importing_takes_at_most_twice_what_it_stands_on_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))  # compiled once, as when installed
    ours, theirs = [], []
    for _ in range(ROUNDS):  # in turns, so that a busy moment hits both
        theirs.append(float(run(TIMED.format("zmq, msgpack, orjson"))))
        ours.append(float(run(TIMED.format("hansard"))))
    assert min(ours) <= 2 * min(theirs)


def test_importing_starts_no_thread_and_reads_no_environment() -> None:
    program = (
        "import os, threading\n"
        "asked = []\n"
        "get = os.environ.__class__.__getitem__\n"
        "def spy(self, key): asked.append(key); return get(self, key)\n"
        "os.environ.__class__.__getitem__ = spy\n"
        "import hansard\n"
        "print(threading.active_count(), [key for key in asked if 'HANSARD' in key])"
    )
    assert run(program).split() == ["1", "[]"]


def test_importing_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    run("import hansard")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too
