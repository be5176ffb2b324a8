"""`hansard keys new|allow|revoke|allowed` in this process."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hansard.curve import read_keys
from hansard_writer.cli import main
from hansard_writer.remote.allow_list import Client, read_clients

KEY, OTHER = "1" * 40, "2" * 40
DASHED = "-" + KEY[1:]


def keys(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments, "--dir", str(directory)])


@pytest.fixture
def served(directory: Path) -> Path:
    """A directory that has keys."""
    assert keys(directory, "new").exit_code == 0
    return directory


def test_new_keys_are_a_pair_in_files_and_the_public_half_alone_is_printed(directory: Path) -> None:
    made = keys(directory, "new")
    pair = read_keys(directory)
    assert made.stdout == f"{pair.public}\n" == (directory / "curve.pub").read_text()
    assert pair.secret not in made.output
    assert f'server_key = "{pair.public}"' in made.stderr
    assert f"hansard keys allow '{pair.public}' --name NAME" in made.stderr
    assert (directory / "curve.key").stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


def test_keys_that_are_there_are_not_replaced(served: Path) -> None:
    before = read_keys(served)
    again = keys(served, "new")
    assert again.exit_code == 2
    assert before.public in again.output
    assert before.secret not in again.output
    assert read_keys(served) == before


def test_a_public_key_of_a_pair_that_is_gone_is_replaced(served: Path) -> None:
    (served / "curve.key").unlink()
    assert keys(served, "new").exit_code == 0
    assert (served / "curve.pub").read_text().strip() == read_keys(served).public


def test_a_client_is_allowed_to_record_unless_more_is_said(served: Path) -> None:
    assert keys(served, "allow", KEY, "--name", "web-1").exit_code == 0
    assert keys(served, "allow", OTHER, "--name", "ops", "--may", "admin,call").exit_code == 0
    assert read_clients(served) == (
        Client(KEY, "web-1", ("record",)),
        Client(OTHER, "ops", ("call", "admin")),
    )


def test_the_secret_half_is_never_allowed(served: Path) -> None:
    keys(served, "new")
    refused = keys(served, "allow", str(served / "curve.key"), "--name", "web-1")
    assert refused.exit_code == 2
    assert "is a secret, and stays where it is: give curve.pub" in refused.stderr
    assert read_clients(served) == ()


def test_to_allow_the_same_again_changes_nothing(served: Path) -> None:
    keys(served, "allow", KEY, "--name", "web-1")
    before = (served / "curve.allowed").stat()
    again = keys(served, "allow", KEY, "--name", "web-1")
    assert again.exit_code == 0
    assert "already" in again.stderr
    assert (served / "curve.allowed").stat() == before


def test_a_name_takes_another_key_over_and_that_is_said(served: Path) -> None:
    keys(served, "allow", KEY, "--name", "web-1")
    changed = keys(served, "allow", OTHER, "--name", "web-1")
    assert f"in place of {KEY}" in changed.stderr
    assert read_clients(served) == (Client(OTHER, "web-1", ("record",)),)


def test_a_key_has_one_name(served: Path) -> None:
    keys(served, "allow", KEY, "--name", "web-1")
    refused = keys(served, "allow", KEY, "--name", "web-2")
    assert refused.exit_code == 2
    assert "this key is web-1's" in refused.output
    assert len(read_clients(served)) == 1


def test_a_key_is_taken_out_of_a_file(served: Path, tmp_path: Path) -> None:
    file = tmp_path / "web-1.pub"
    file.write_text(f"{KEY}\n")
    keys(served, "allow", str(file), "--name", "web-1")
    assert read_clients(served)[0].key == KEY


def test_a_key_that_begins_with_a_dash_is_no_option(served: Path) -> None:
    assert keys(served, "allow", DASHED, "--name", "web-1").exit_code == 0
    assert keys(served, "revoke", DASHED).exit_code == 0
    assert read_clients(served) == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ("too short", "--name", "web-1"),
        (KEY, "--name", "no name"),
        (KEY, "--name", "web-1", "--may", "everything"),
        (KEY, "--name", "web-1", "--may", ""),
    ],
)
def test_what_cannot_be_allowed_is_a_mistake_of_usage(
    served: Path, arguments: tuple[str, ...]
) -> None:
    assert keys(served, "allow", *arguments).exit_code == 2
    assert not (served / "curve.allowed").exists()


@pytest.mark.parametrize("by", ["web-1", KEY])
def test_a_client_is_revoked_by_name_or_key(served: Path, by: str) -> None:
    keys(served, "allow", KEY, "--name", "web-1")
    keys(served, "allow", OTHER, "--name", "web-2")
    assert keys(served, "revoke", by).exit_code == 0
    assert [each.name for each in read_clients(served)] == ["web-2"]
    assert keys(served, "revoke", by).exit_code == 1


def test_the_allowed_are_listed_and_nobody_is_an_answer_of_no(served: Path) -> None:
    assert keys(served, "allowed").exit_code == 1
    keys(served, "allow", KEY, "--name", "web-1", "--may", "record,call")
    listed = keys(served, "allowed", "--format", "csv")
    assert listed.stdout.splitlines()[0] == "name,rights,key"
    assert listed.stdout.splitlines()[1].startswith('web-1,"record,call",')


def test_a_directory_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    assert keys(tmp_path / "nowhere", "allow", KEY, "--name", "web-1").exit_code == 2
    assert not (tmp_path / "nowhere").exists()
