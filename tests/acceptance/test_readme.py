"""What the README shows is what happens: its generated parts, its Python, its commands."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import hansard_writer
from hansard_writer.cli import main as command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)  # which test_readme_table.py tries
PYTHON = re.findall(r"```python\n(.*?)```", TABLE.sub("", README), re.DOTALL)
COMMENTED = re.compile(r'  # (True|False|\d+|\(")')


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_generated_parts_are_up_to_date() -> None:
    assert load(ROOT / "scripts" / "generate.py").filled(README) == README


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of named operations that it shows, where a writer started from here finds it."""
    (program,) = (each for each in PYTHON if each.startswith("# myapp/operations.py"))
    path = tmp_path / "myapp" / "operations.py"
    path.parent.mkdir()
    path.write_text(program)
    monkeypatch.chdir(tmp_path)
    return "myapp.operations"


def test_its_programs_do_what_their_comments_say(directory: Path, module: str) -> None:
    """One after the other, as a reader would type them, with a writer that serves them all."""
    names: dict[str, Any] = {"directory": directory}
    said: dict[str, object] = {}
    with hansard_writer.running(directory, operations=[module]):
        for program in PYTHON[:-1]:
            if not program.startswith("# myapp"):
                said |= run(program.replace("./audit", str(directory)), names)
        assert names["log"].close() == 0
    assert said == {
        "entry.id": 2,
        "log.flush()": True,
        "op.status, op.exit_code": ("failed", 1),
        'log.refusal("agent:7", action, decision)': True,
        'log.refusal("agent:7", action, {"decision": "allow"})': False,
        "asyncio.run(work())": True,
        'log.call("upsert_thing", {"name": "a"}, timeout=5.0)': 1,
    }
    query = [sys.executable, "-m", "hansard_writer", "query", "--dir", str(directory)]
    shown = subprocess.run([*query, "--task-id", "T1"], capture_output=True, text=True, check=True)
    assert [json.loads(line)["event_type"] for line in shown.stdout.splitlines()] == [
        "task.done",
        "task.created",
    ]


def run(program: str, names: dict[str, Any]) -> dict[str, object]:
    """Run it, and tell the values of the lines whose comment begins with a value."""
    said = {}
    for statement in ast.parse(program).body:
        source = ast.get_source_segment(program, statement) or ""
        if isinstance(statement, ast.Expr) and COMMENTED.search(
            program.splitlines()[(statement.end_lineno or 1) - 1]
        ):
            said[source] = eval(source, names)
        else:
            exec(source, names)
    return said


def test_its_last_program_runs_a_writer(directory: Path) -> None:
    exec(PYTHON[-1].replace("./audit", str(directory)), {})


@pytest.mark.parametrize("name", command.list_commands(click.Context(command)))
def test_every_command_has_help_with_an_example(name: str) -> None:
    run = [sys.executable, "-m", "hansard_writer", name, "--help"]
    shown = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "xample" in shown
    assert f"hansard {name}" in README
