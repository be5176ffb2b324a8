"""``hansard stats``: the writer's own figures."""

from pathlib import Path
from typing import Any, Final

import click

from hansard import requester, wire
from hansard.served_by import require_writer
from hansard_writer.cli.options import SECONDS, directory_option, format_option
from hansard_writer.cli.output import print_rows
from hansard_writer.shipping.standing import standings

TIMEOUT_S: Final = 5.0


@click.command(name="stats", epilog="Example: hansard stats --format json | jq .entries")
@directory_option
@click.option("--timeout", type=SECONDS, default=TIMEOUT_S, show_default=True, help="Seconds.")
@format_option
def command(
    directory: Path,
    timeout: float,
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Print the writer's figures: a row each, or one JSON object.

    submitted = appended + dead_lettered + waiting + dropped, in events; `entries` counts those of
    the log itself too. checkpoint_size of them are signed, up to pruned_to they were pruned.
    suspended, held_up_by and wal_held_by say what is in the way, and are empty or false if nothing
    is. The README ("The accounts", "When things go wrong") says more.

    Exits with 3 when no writer answers.
    """
    _, figures = requester.ask(require_writer(directory), wire.pack_stats_request(), timeout)
    if not isinstance(figures, dict):
        raise wire.WireError("the writer's figures are no mapping")
    if shipping := standings(directory):
        figures["shipping"] = [_with_lag(each, figures) for each in shipping]
    if format in {"json", "jsonl"}:
        print_rows([figures], list(figures), "jsonl")  # one object either way
        return
    rows = ({"key": key, "value": value} for key, value in figures.items())
    print_rows(rows, ("key", "value"), format)


def _with_lag(standing: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """How far a target has got, and how many entries it is behind."""
    shipped_to = standing.get("shipped_to")
    lag = figures["entries"] - shipped_to if isinstance(shipped_to, int) else None
    return {**standing, "lag": lag}
