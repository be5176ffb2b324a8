"""`hansard keys list` in this process: the keys as somebody else needs them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from hansard_writer.cli import main
from stepped import Log


def test_a_key_is_whole_in_a_table_that_is_wider_than_the_terminal(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Log(directory).start_writer().stop_writer()
    monkeypatch.setenv("COLUMNS", "40")
    options = ["--dir", str(directory), "--format", "table"]
    header, row = CliRunner().invoke(main, ["keys", "list", *options]).stdout.splitlines()
    assert header.split() == ["since", "reason", "verifier_key"]
    assert row.split()[2] == (directory / "writer.pub").read_text().strip()
