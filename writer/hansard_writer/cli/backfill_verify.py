"""What ``hansard backfill --verify`` prints: derived fields held against the payloads."""

from collections.abc import Iterator
from typing import Any, Final

import click
import orjson

from hansard.reader.derived import shown
from hansard_writer.backfilling.verification import PROCESSED, SOURCE, Lag, Verification
from hansard_writer.cli.exits import AnswerIsNo
from hansard_writer.cli.output import print_rows

_NS: Final = 1e9


def print_verification(found: Verification, format: str) -> None:  # noqa: A002 - the option's name
    """Print it; raises `AnswerIsNo` with what to do where not all is well."""
    if format == "json":
        report = {
            "complete": found.is_complete,
            "consistent": not any(each.is_wrong for each in found.fields),
            **{name: rows for name, _, rows in _tables(found)},
            "undeclared": found.undeclared,
            "index_use": {"plan": found.plan, "by_index": found.uses_index},
        }
        click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        for _, title, rows in _tables(found):
            if rows:
                click.echo(title)
                print_rows(rows, list(rows[0]), "table")
                click.echo()
        index = "its index" if found.uses_index else "NO index"
        click.echo(f"A value is looked for by {index}: {found.plan}")
    if not found.is_good:
        raise AnswerIsNo(_what_to_do(found))
    click.echo("The fields are complete, and all is as the payloads say.", err=True)


def _what_to_do(found: Verification) -> str:
    lines = []
    if found.undeclared:
        names = ", ".join(found.undeclared)
        lines.append(f"Declared in hansard.toml, and not so in the log: {names}.")
    left = sum(each.left for each in found.fields)
    if left:
        lines.append(f"{left:,} values are still to be filled.")
    if not found.is_complete:
        lines.append("Run `hansard backfill`.")
    wrong = [each.stored.field.name for each in found.fields if each.is_wrong]
    if wrong:
        chosen = " ".join(f"--field {name}" for name in wrong)
        lines.append(
            f"Not as the payloads say: {', '.join(wrong)}. Run `hansard verify`: if the entries "
            f"are intact, only what was drawn from them is wrong, and `hansard backfill --rebuild "
            f"{chosen}` draws it anew."
        )
    return "\n".join(lines)


def _tables(found: Verification) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Name, title and rows, as ``scripts/verify_backfill.sql`` has them."""
    fields = found.fields
    yield (
        "coverage",
        "Entries that a field concerns, and those that have a value",
        [
            {
                "field": each.stored.field.name,
                "type": each.stored.field.type,
                "entries": each.entries,
                "values": each.values,
                "percent": each.percent,
                "left": each.left,
            }
            for each in fields
        ],
    )
    yield (
        "consistency",
        "Values held against payloads",
        [
            {
                "field": each.stored.field.name,
                "equal": each.equal,
                "differs": each.differs,
                "missing": each.missing,
                "unexpected": each.unexpected,
            }
            for each in fields
        ],
    )
    yield (
        "wrong",
        "The first entries that are not as they should be",
        [
            {"field": each.stored.field.name, "entry": seq, "outcome": outcome}
            for each in fields
            for seq, outcome in each.wrong
        ],
    )
    yield (
        "empty",
        "Entries without a value whose payload has none, and why",
        [
            {
                "field": each.stored.field.name,
                "cause": str(cause),
                "entries": without.count,
                "first": without.ids[0],
            }
            for each in fields
            for cause, without in sorted(each.empty.items())
        ],
    )
    yield (
        "event_types",
        "Event types",
        [
            {
                "field": each.stored.field.name,
                "event_type": name,
                "entries": entries,
                "values": values,
            }
            for each in fields
            for name, (entries, values) in sorted(each.by_type.items())
        ],
    )
    yield (
        "range",
        "Range of the values",
        [
            {
                "field": each.stored.field.name,
                "least": shown(each.stored.field.type, each.least),
                "greatest": shown(each.stored.field.type, each.greatest),
            }
            for each in fields
            if each.least is not None and each.greatest is not None
        ],
    )
    yield (
        "lag",
        "Lag, in seconds",
        [
            {
                "lag": name,
                "entries": lag.entries,
                "least": round(lag.least / _NS, 6),
                "mean": round(lag.sum / lag.entries / _NS, 6),
                "greatest": round(lag.greatest / _NS, 6),
            }
            for name, lag in _lags(found)
            if lag.entries
        ],
    )


def _lags(found: Verification) -> Iterator[tuple[str, Lag]]:
    yield f"{SOURCE} to {PROCESSED}", found.processing
    for each in found.fields:
        yield f"{each.stored.field.name} to created_at", each.to_created_at
