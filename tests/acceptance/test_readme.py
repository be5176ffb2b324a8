"""What the README shows is what happens: its generated parts, its Python, its commands."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

import hansard_writer
from hansard_writer.cli import main as command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_generated_parts_are_up_to_date() -> None:
    assert load(ROOT / "scripts" / "generate.py").filled(README) == README


def test_its_first_program_does_what_its_comments_say(
    directory: Path, writer: hansard_writer.RunningWriter
) -> None:
    names: dict[str, object] = {}
    exec(PYTHON[0].replace("./audit", str(directory)), names)
    log, entry = names["log"], names["entry"]
    assert entry.id == 2  # type: ignore[attr-defined]
    assert log.flush()  # type: ignore[attr-defined]
    assert log.close() == 0  # type: ignore[attr-defined]
    query = [sys.executable, "-m", "hansard_writer", "query", "--dir", str(directory)]
    shown = subprocess.run([*query, "--task-id", "T1"], capture_output=True, text=True, check=True)
    assert [line.split('"event_type":')[1].split('"')[1] for line in shown.stdout.splitlines()] == [
        "task.done", "task.created",
    ]  # fmt: skip


def test_its_other_programs_run(directory: Path) -> None:
    starts, reads = (block.replace("./audit", str(directory)) for block in PYTHON[1:3])
    exec(starts, {})
    exec(reads, {})


@pytest.mark.parametrize("name", command.list_commands(click.Context(command)))
def test_every_command_has_help_with_an_example(name: str) -> None:
    run = [sys.executable, "-m", "hansard_writer", name, "--help"]
    shown = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "xample" in shown
    assert f"hansard {name}" in README
