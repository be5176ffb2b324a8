"""The command of the fault campaigns ends with what it has started, however it is ended."""

import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from faults import __main__ as command
from faults import results


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def ended_by(number: signal.Signals, monkeypatch: pytest.MonkeyPatch, cleaned: list[str]) -> Any:
    """The exit status of a campaign that gets a signal while it runs."""

    def run(*_: object, **__: object) -> NoReturn:
        try:
            signal.raise_signal(number)
            raise AssertionError("it goes on")
        finally:
            cleaned.append("up")

    monkeypatch.setitem(sys.modules, "faults.endless", SimpleNamespace(TITLE="Endless", run=run))
    monkeypatch.setattr(results, "CAMPAIGNS", ("endless",))
    monkeypatch.setattr(sys, "argv", ["faults", "endless"])
    try:
        return command.main()
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_campaign_that_is_ended_cleans_up_and_the_status_says_by_what(
    number: signal.Signals,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cleaned: list[str] = []
    assert ended_by(number, monkeypatch, cleaned) == status
    assert cleaned == ["up"]
    assert "Traceback" not in capsys.readouterr().err
