"""What is handed out: a wheel and an sdist, what they hold, that they work where nothing else is.

The installs are from the index, as a user's; the interpreters are those that this machine has.
"""

import email
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import hansard
from hansard_writer.cli import main as command

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {
    "hansard": ROOT / "client" / "hansard",
    "hansard_writer": ROOT / "writer" / "hansard_writer",
}
SUPPORTED = [
    classifier.rpartition(" ")[2]
    for classifier in PROJECT["classifiers"]
    if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", classifier)
]
PAGE = ROOT / "writer" / "hansard.1"
INSTALLED_PAGE = f"hansard-{hansard.__version__}.data/data/share/man/man1/hansard.1"
SECTIONS = ("NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO")
NOT_HANDED_OUT = (".git", ".venv", ".*_cache", ".hypothesis", "dist", "__pycache__")
TIMEOUT_S = 100


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Whatever it says is told when it fails."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        **options,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def clean_environment(**more: str) -> dict[str, str]:
    """Without what leads a Python to this very tree."""
    ours = ("PYTHON", "HANSARD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **more}


def build(source: Path, place: Path, *kinds: str) -> None:
    run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", place, *kinds, source,
        env=clean_environment(),
    )  # fmt: skip


def only(place: Path, pattern: str) -> Path:
    (found,) = place.glob(pattern)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a wheel and an sdist of this tree."""
    place = tmp_path_factory.mktemp("built")
    build(ROOT, place, "--wheel", "--sdist")
    return place


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return only(built, "*.whl")


# --- what they hold ---


def source_files() -> dict[str, Path]:
    """What a wheel must hold of the packages, by its name there."""
    return {
        f"{name}/{path.relative_to(place)}": path
        for name, place in PACKAGES.items()
        for path in place.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for name, path in source_files().items():
            assert archive.read(name) == path.read_bytes(), name
        assert archive.read(INSTALLED_PAGE) == PAGE.read_bytes()
    about = f"hansard-{hansard.__version__}.dist-info"
    assert {f"{each}/py.typed" for each in PACKAGES} <= names
    assert names - source_files().keys() == {
        INSTALLED_PAGE,
        *(f"{about}/{each}" for each in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")),
        f"{about}/licenses/LICENSE",
    }


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_tree(
    built: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    build(only(tmp_path, "hansard-*"), tmp_path / "again", "--wheel")
    assert only(tmp_path / "again", "*.whl").read_bytes() == wheel.read_bytes()


def test_another_place_time_and_umask_make_the_same_bytes(built: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT, elsewhere, ignore=shutil.ignore_patterns(*NOT_HANDED_OUT))
    for path in elsewhere.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
        path.chmod(path.stat().st_mode & 0o700)  # as with a umask of 0077
    before = os.umask(0o077)
    try:
        build(elsewhere, tmp_path / "again", "--wheel", "--sdist")
    finally:
        os.umask(before)
    for first in built.iterdir():
        assert (tmp_path / "again" / first.name).read_bytes() == first.read_bytes(), first.name


def test_the_metadata_is_what_an_index_page_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"hansard-{hansard.__version__}.dist-info/METADATA").decode()
    about = email.message_from_string(text)
    assert about["Name"] == "hansard"
    assert about["Version"] == hansard.__version__ == PROJECT["version"]
    assert about["Requires-Python"] == f">={SUPPORTED[0]}"
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Description-Content-Type"] == "text/markdown"
    assert about.get_payload() == (ROOT / "README.md").read_text()
    assert set(about.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert about["Summary"].startswith("The audit log of multi-process Python applications")


# --- the manual page ---


def test_the_manual_page_names_every_command_and_setting() -> None:
    assert isinstance(command, click.Group)
    page = PAGE.read_text().replace("\\-", "-")
    for name in command.list_commands(click.Context(command)):
        assert f'.SS "hansard {name} ' in page, name
    for name in hansard.Settings.__dataclass_fields__:
        assert f"HANSARD_{name.upper()}" in page
    for section in SECTIONS:
        assert f".SH {section}\n" in page


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man here")
def test_man_shows_the_manual_page_without_a_warning() -> None:
    shown = run(
        "man", "--warnings", "--local-file", PAGE,
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert shown.stderr == ""
    assert re.search(r"^NAME\n +hansard - the audit log", shown.stdout, re.MULTILINE)


# --- every Python that is supported ---


def interpreters() -> dict[str, Path]:
    """Those of the supported versions that are at hand: on PATH, or pyenv's."""
    found = {}
    for version in SUPPORTED:
        on_path = shutil.which(f"python{version}")
        kept = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python3"))
        for place in (*kept, *([Path(on_path)] if on_path else [])):
            if not subprocess.run([place, "-c", ""], capture_output=True, check=False).returncode:
                found[version] = place  # and no shim of a tool that has it not
                break
    return found


INTERPRETERS = interpreters()
Installed = Callable[[str], Path]


def pip(place: Path, *arguments: object) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    run(place / "bin" / "python", "-m", "pip", *arguments, *quiet, env=clean_environment())


def install(version: str, place: Path, wheel: Path) -> None:
    """An environment in which nothing is but the wheel and what it asks for."""
    run(INTERPRETERS[version], "-m", "venv", place, env=clean_environment())
    pip(place, "install", wheel)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The ``bin`` of a clean environment for this version, made once."""
    made: dict[str, Path] = {}

    def make(version: str) -> Path:
        if version not in made:
            made[version] = tmp_path_factory.mktemp("clean") / "venv"
            install(version, made[version], wheel)
        return made[version] / "bin"

    return make


@pytest.fixture
def served(installed: Installed, tmp_path: Path) -> Iterator[Callable[[str], dict[str, str]]]:
    """Starts a supervised writer out of an environment, through a link on PATH, from a directory
    with modules of bad names; gives the environment to ask it in."""
    writers: list[subprocess.Popen[str]] = []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("click.py", "hansard.py", "apsw.py", "hansard_writer.py"):
        (elsewhere / name).write_text("raise SystemExit('this is the wrong module')\n")

    def serve(version: str) -> dict[str, str]:
        links = tmp_path / "links"
        links.mkdir()
        (links / "hansard").symlink_to(installed(version) / "hansard")
        environment = clean_environment(
            PATH=f"{links}:/usr/bin:/bin", HANSARD_DIR=str(tmp_path / "log"), PWD=str(elsewhere)
        )
        writer = subprocess.Popen(
            ["hansard", "serve", "--supervise"], cwd=elsewhere, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        writers.append(writer)
        assert writer.stdout is not None
        assert writer.stdout.readline().startswith("hansard ready"), writer.communicate()
        return environment

    yield serve
    for writer in writers:
        writer.send_signal(signal.SIGTERM)
        assert writer.wait(TIMEOUT_S) == 0
        writer.communicate()


@pytest.mark.parametrize("version", INTERPRETERS)
def test_it_installs_into_a_clean_environment_and_works_through_a_link(
    installed: Installed,
    served: Callable[[str], dict[str, str]],
    version: str,
    tmp_path: Path,
) -> None:
    environment, elsewhere = served(version), tmp_path / "elsewhere"
    said = run("hansard", "--version", env=environment, cwd=elsewhere).stdout
    assert re.fullmatch(
        rf"hansard {hansard.__version__} \(SQLite 3\S+, libzmq \S+, wire version \d+, "
        rf"schema version \d+, Python {re.escape(version)}\.\S+\)\n",
        said,
    )
    run("hansard", "record", "user.login", '{"user": 7}', env=environment, cwd=elsewhere)
    python = installed(version) / "python"
    program = "import hansard; log = hansard.AuditLog(); print(log.record('a.b', sync=True).id)"
    run(python, "-P", "-W", "error", "-c", program, env=environment, cwd=elsewhere)
    asked = run(python, "-P", "-m", "hansard_writer", "query", env=environment, cwd=elsewhere)
    found = [json.loads(line)["event_type"] for line in asked.stdout.splitlines()]
    assert found == ["a.b", "user.login"]


def test_python_m_stands_in_for_the_command(installed: Installed, tmp_path: Path) -> None:
    python = installed(next(iter(INTERPRETERS))) / "python"
    for flags in (["-I"], []):
        asked = [python, *flags, "-m", "hansard_writer", "--help"]
        said = run(*asked, cwd=tmp_path, env=clean_environment())
        assert said.stdout.startswith("Usage: hansard ")


def test_the_demo_runs_out_of_a_wheel(installed: Installed, tmp_path: Path) -> None:
    hansard_command = installed(next(iter(INTERPRETERS))) / "hansard"
    events = ROOT / "tests" / "data" / "agent_sweagent_steps.jsonl.gz"
    shown = run(
        hansard_command, "demo", events, cwd=tmp_path, env=clean_environment(TMPDIR=str(tmp_path))
    )
    assert "record() took a worker" in shown.stdout


def test_uninstalling_leaves_nothing(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "venv"
    install(next(iter(INTERPRETERS)), place, wheel)
    names = {path.name for path in place.rglob("*hansard*")}
    assert {"hansard", "hansard_writer", "hansard.1"} <= names
    run(place / "bin" / "hansard", "--help", env=clean_environment())  # leaves bytecode
    pip(place, "uninstall", "--yes", "hansard")
    assert list(place.rglob("*hansard*")) == []
