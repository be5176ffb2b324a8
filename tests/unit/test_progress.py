"""Bars on a terminal of 80 columns."""

import io
import re
import sys

import pytest

from hansard_writer.cli.progress import rated_bar


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("label", ["backing up", "exporting", "verifying"])
def test_a_bar_with_its_rate_fits_into_80_columns(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with rated_bar(100_000_000, label) as bar:
        for done in range(100_000, 2_000_001, 100_000):
            bar.update(100_000, done)

    lines = (
        re.sub(r"\x1b\[[?0-9]*[a-zA-Z]", "", terminal.getvalue()).replace("\r", "\n").split("\n")
    )
    assert any("entries/s" in line for line in lines)
    assert [line for line in lines if len(line.rstrip()) > 80] == []
