"""The accounts of a log: what became of all that was ever recorded. Reads only."""

from typing import Any

from hansard import wire
from hansard_writer.intake import Intake
from hansard_writer.store import Store


def accounts(store: Store, intake: Intake) -> dict[str, Any]:
    """``submitted = appended + dead_lettered + waiting + dropped``, of all producers ever;
    what they themselves know is as they last said, and of those that this run has met."""
    totals = store.totals()
    waiting, queue_depth, report = intake.reported()
    dropped = {name: _carried(count) for name, count in totals.pop("dropped").items()}
    gone = sum(dropped.values())
    submitted = totals["appended"] + totals["dead_lettered"] + waiting + gone
    return {
        "submitted": _carried(submitted),
        **{name: _carried(count) for name, count in totals.items()},
        "waiting": waiting,
        "queue_depth": queue_depth,
        "dropped": dropped,
        "spool_bytes": report.spool_bytes,
        "resent": report.resent,
        "send_failures": report.send_failures,
        "writer_restarts": store.epoch - 1,
    }


def _carried(count: int) -> int:
    """Whatever producers have said of themselves, msgpack carries it."""
    return min(count, wire.INT64_MAX)
