"""The real sets of ``tests/data``: each line is an event, its type the set's name, as in
`hansard demo`.

The same in every run. What a line has no field for is made: its worker is the actor, and so many
lines in a row are a task. A worker begins somewhere in the set, and when that is exhausted it
begins again with tasks of other names.
"""

import functools
import gzip
from pathlib import Path
from typing import Any, Final

import orjson

from bench.workloads.event import Event

SETS: Final = {
    "agent steps": "agent_sweagent_steps",
    "cli snapshots": "cli_uv_snapshots",
    "cloudtrail": "cloudtrail_stratus",
    "webhooks": "github_webhooks",
}
LINES_A_TASK: Final = 18  # as many as `tasks` has on average
APART: Final = 61  # so many lines lie between where one worker begins and the next

_PLACE: Final = Path(__file__).resolve().parents[2] / "tests" / "data"


def events(name: str, worker: int, count: int) -> list[Event]:
    """The first ``count`` events of a worker."""
    event_type, lines = SETS[name], _lines(name)
    return [
        Event(
            event_type,
            lines[(worker * APART + number) % len(lines)],
            "info",
            f"worker:{worker}",
            f"{event_type}-{worker}-{number // LINES_A_TASK}",
        )
        for number in range(count)
    ]


@functools.cache
def _lines(name: str) -> list[dict[str, Any]]:
    """Parsed once: each event of a line has the same dictionary."""
    content = gzip.decompress((_PLACE / f"{SETS[name]}.jsonl.gz").read_bytes())
    return [orjson.loads(line) for line in content.splitlines()]
