"""What the campaigns found: a file each in `results`, and the page that is made of them.

It makes no fault itself.
"""

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).parent.parent / "FAULTS.md"
CAMPAIGNS: Final = (  # in the page's order
    "chaos",
    "power_cut",
    "io_errors",
    "model",
    "hostile",
    "overload",
    "soak",
    "outcomes",
    "cut",
)

_HEAD: Final = """# What was done to it, and what came of it

Every fault below is made for real: processes are killed and frozen, disks fail, power is cut, bytes
are forged. Where events are recorded, each carries its worker and number, and a checker that knows
nothing of the writer's code reads the database: `recorded = entered + dead-lettered + waiting +
counted drops`, nothing twice, in each worker's order.

Made by `scripts/faults` from the runs' own results in `tests/faults/results`; the tests make the
same faults in small.
"""


class Row(NamedTuple):
    """A fault: what it is, how it is made, how many times, and what came of it."""

    fault: str
    how: str
    count: int
    outcome: str


def save(campaign: str, title: str, rows: Sequence[Row], *, command: str, seconds: float) -> None:
    """Keep a campaign's results in place of those of its last run."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "campaign": campaign,
        "title": title,
        "command": command,
        "at": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(seconds),
        "machine": machine(),
        "rows": [row._asdict() for row in rows],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{campaign}.json").write_text(text)


def machine() -> str:
    """What it ran on, without a name that is only this machine's."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
    )


def page() -> str:
    """The page, from the results of the last runs."""
    parts = [_HEAD]
    for campaign in CAMPAIGNS:
        path = RESULTS / f"{campaign}.json"
        if path.exists():
            parts.append(_section(json.loads(path.read_text())))
    return "\n".join(parts)


def _section(result: dict[str, Any]) -> str:
    rows = (
        f"| {row['fault']} | {row['how']} | {row['count']:,} | {row['outcome']} |"
        for row in result["rows"]
    )
    lines = [
        f"## {result['title']}",
        "",
        "| fault | how it is made | how many | outcome |",
        "|---|---|---:|---|",
        *rows,
        "",
        f"`{result['command']}`, {result['at']}, {result['seconds']:,} s; {result['machine']}.",
        "",
    ]
    return "\n".join(lines)
