"""`hansard serve --print-unit`: the command as a service."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from supervised import SERVE


def print_unit(*options: object) -> "subprocess.CompletedProcess[str]":
    """What is printed for these options."""
    return subprocess.run(
        [*SERVE, "--print-unit", *map(str, options)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def line_of(unit: str, name: str) -> str:
    """The value of a setting that the unit has once."""
    (value,) = [line for line in unit.splitlines() if line.startswith(f"{name}=")]
    return value.partition("=")[2]


def test_the_unit_runs_this_command_with_what_it_was_given(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--dir", "log", "--user", "app", "--group", "crew", "--log-format", "json"]
    done = print_unit(*options, "--operations", "my.ops", "--supervise")
    assert (done.returncode, done.stderr) == (0, "")
    program, _, arguments = line_of(done.stdout, "ExecStart").partition(" serve ")
    assert arguments == (
        f"--dir {directory} --group crew --operations my.ops --log-format json --supervise"
    )
    assert Path(program.split()[0]).is_absolute()
    assert os.access(program.split()[0], os.X_OK)
    assert line_of(done.stdout, "User") == "app"
    assert line_of(done.stdout, "Group") == "crew"
    assert line_of(done.stdout, "WorkingDirectory") == str(tmp_path)
    assert not directory.exists(), "printing makes nothing"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("options", [[], ["--supervise", "--group", "daemon"]])
def test_what_it_prints_can_be_installed_as_it_is(
    directory: Path, tmp_path: Path, options: list[str]
) -> None:
    unit = tmp_path / "hansard.service"
    unit.write_text(print_unit("--dir", directory, "--user", "daemon", *options).stdout)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_owner_of_the_directory_runs_its_writer(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    directory.mkdir()
    os.chown(directory, 1, 1)
    assert line_of(print_unit("--dir", directory).stdout, "User") == "daemon"
    os.chown(directory, 54_321, 1)
    assert "uid 54321 has no name" in print_unit("--dir", directory).stderr


def test_root_is_not_taken_for_granted(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is root")
    done = print_unit("--dir", directory)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--user is missing" in done.stderr


def test_a_group_of_the_logs_own_settings_is_the_units(directory: Path) -> None:
    directory.mkdir()
    (directory / "hansard.toml").write_text('group = "crew"\n')
    unit = print_unit("--dir", directory, "--user", "app").stdout
    assert line_of(unit, "Group") == "crew"


def test_who_to_run_as_is_for_the_unit_alone(directory: Path) -> None:
    command = [*SERVE, "--dir", str(directory), "--user", "app"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--user is for --print-unit" in done.stderr
    assert not directory.exists()
