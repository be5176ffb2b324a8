"""The writer's figures as Prometheus has them: names, units, kinds, help. Pure.

What counts up since the writer's start, or since the log's, is a counter and says so; what may
fall is a gauge. Labels have few values: those that producers choose are bounded by
`hansard_writer.tallies`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from math import inf
from typing import Any, Final, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

PREFIX: Final = "hansard_"


class _Plain(NamedTuple):
    """A metric that is a figure as it stands."""

    name: str
    figure: str
    help: str


class _Labelled(NamedTuple):
    """A counter whose figure is a mapping, its keys the values of a label."""

    name: str
    figure: str
    label: str
    help: str


_LIFE: Final = "since the log began"
_RUN: Final = "since the writer's start"

_COUNTERS: Final = (
    _Plain("entries_total", "entries", f"Entries of the log {_LIFE}, pruned ones too"),
    _Plain("appended_events_total", "appended", f"Producers' events that were entered {_LIFE}"),
    _Plain("append_failures_total", "append_failures", f"Events that were refused {_LIFE}"),
    _Plain("writer_starts_total", "epoch", f"Starts of a writer {_LIFE}"),
    _Plain("pruned_entries_total", "pruned_to", f"Entries deleted by age or size {_LIFE}"),
    _Plain(
        "dead_letters_not_kept_total",
        "dead_letters_not_kept",
        f"Dead letters for which there was no room {_LIFE}",
    ),
    _Plain("received_events_total", "events", f"Events taken from producers {_RUN}"),
    _Plain("received_bytes_total", "event_bytes", f"Bytes of events taken from producers {_RUN}"),
    _Plain("received_frames_total", "frames", f"Frames read of producers {_RUN}"),
    _Plain(
        "duplicate_events_total",
        "duplicates_dropped",
        f"Events that came again, and were not entered again {_RUN}",
    ),
    _Plain("frame_gaps_total", "gaps", f"Frames that came too early, and were sent again {_RUN}"),
    _Plain(
        "frame_conflicts_total", "conflicts", f"Frames with the numbers of another producer {_RUN}"
    ),
    _Plain("loss_reports_total", "lost_reports", f"Entries hansard.lost {_RUN}"),
    _Plain("commits_total", "commits", f"Transactions committed {_RUN}, but for checkpoints"),
    _Plain(
        "busy_retries_total", "busy_retries", f"Writes put off for a lock or a full disk {_RUN}"
    ),
    _Plain("wal_checkpoints_total", "wal_checkpoints", f"Times the WAL was moved {_RUN}"),
    _Plain("adopted_spools_total", "spools_adopted", f"Dead producers' spools entered {_RUN}"),
    _Plain("damaged_spools_total", "spools_damaged", f"Damaged spools found {_RUN}"),
    _Plain("foreign_spools_total", "spools_of_other_logs", f"Spools of others found {_RUN}"),
    _Plain("calls_total", "calls_run", f"Named operations run {_RUN}"),
    _Plain("calls_rejected_total", "calls_rejected", f"Named operations refused {_RUN}"),
)
_LABELLED: Final = (
    _Labelled("entries_by_type_total", "entered_by_type", "event_type", f"Entries {_RUN}"),
    _Labelled("entries_by_level_total", "entered_by_level", "level", f"Entries {_RUN}"),
    _Labelled("refused_events_total", "refused_by_reason", "reason", f"Events refused {_RUN}"),
    _Labelled("dropped_events_total", "dropped", "cause", f"Events that were lost {_LIFE}"),
    _Labelled("store_errors_total", "store_errors", "kind", f"Errors of SQLite {_RUN}"),
    _Labelled("turned_away_total", "turned_away", "reason", f"Who was turned away {_RUN}"),
)
_GAUGES: Final = (
    _Plain("uncommitted_events", "uncommitted", "Events in the batch that is not committed"),
    _Plain("waiting_events", "waiting", "Events that wait with producers, as they last said"),
    _Plain("queued_events", "queue_depth", "Those of them that the writer has not read"),
    _Plain("spool_bytes", "spool_bytes", "Bytes that wait in spools, as producers last said"),
    _Plain("live_spools", "spools_live", "Spools of this host's living producers"),
    _Plain("waiting_requests", "waiting_requests", "Producers that wait for an answer"),
    _Plain("waiting_calls", "calls_waiting", "Named operations that wait to be run"),
    _Plain("dead_letters", "dead_letters", "Dead letters that are kept"),
    _Plain("dead_letter_bytes", "dead_letter_bytes", "Bytes of dead letters that are kept"),
    _Plain("dead_lettered_events", "dead_lettered", "Events refused, and not entered since"),
    _Plain("orphaned_events", "orphaned", "Events that wait for their task to be registered"),
    _Plain("unindexed_entries", "full_text_tail", "Entries that full text has still to look at"),
    _Plain("prunable_entries", "to_be_pruned", "Entries that are still to be deleted"),
    _Plain("database_used_bytes", "database_bytes_used", "Bytes in use of log.db"),
    _Plain("database_free_bytes", "database_bytes_free", "Bytes of free pages of log.db"),
    _Plain("wal_bytes", "wal_bytes", "Size of the WAL"),
    _Plain("wal_held_bytes", "wal_bytes_held", "Bytes of the WAL that a reader holds"),
    _Plain("wal_reader_age_seconds", "reader_age", "Age of the reader that holds the WAL"),
    _Plain("disk_free_bytes", "disk_free_bytes", "Free bytes of the log's disk beside the reserve"),
    _Plain("disk_reserve_bytes", "reserve_bytes", "Bytes held ready for a full disk"),
    _Plain("checkpoint_entries", "checkpoint_size", "Entries that the newest checkpoint covers"),
)
_FLAGS: Final = (
    _Plain("intake_suspended", "suspended", "1 while nothing is taken in for want of disk space"),
    _Plain("intake_held_up", "held_up_by", "1 while a batch cannot be committed"),
    _Plain("checkpoint_held_up", "checkpoint_held_up_by", "1 while none can be handed out"),
    _Plain("retention_held_up", "retention_held_up_by", "1 while retention finds no way on"),
)
_HISTOGRAMS: Final = (
    _Plain("commit_duration_seconds", "commit_seconds", f"Time of a batch's commit {_RUN}"),
    _Plain("commit_batch_events", "commit_events", f"Events that shared a commit {_RUN}"),
    _Plain(
        "ack_duration_seconds",
        "ack_seconds",
        f"Time from a producer's question to the answer that all is committed {_RUN}",
    ),
)


def families_of(
    figures: Mapping[str, Any] | None, versions: Mapping[str, str], shipping: Sequence[Any] = ()
) -> Iterator[Metric]:
    """All metrics; of a writer that has not answered, and has no ``figures``, only that."""
    yield InfoMetricFamily(f"{PREFIX}build", "Versions of the writer", dict(versions))
    yield _gauge("writer_up", "1 if the writer's loop answered in time", int(figures is not None))
    if figures is None:
        return
    for each in _COUNTERS:
        yield CounterMetricFamily(PREFIX + each.name, each.help, figures[each.figure])
    for labelled in _LABELLED:
        yield _labelled(labelled, figures[labelled.figure])
    for each in _GAUGES:
        yield _gauge(each.name, each.help, figures[each.figure])
    for each in _FLAGS:
        yield _gauge(each.name, each.help, int(bool(figures[each.figure])))
    for each in _HISTOGRAMS:
        yield _histogram(each, figures[each.figure])
    yield from _moments(figures)
    if figures["supervised_restarts"] is not None:
        yield CounterMetricFamily(
            f"{PREFIX}supervised_restarts_total",
            "Restarts after a crash since the supervisor's start",
            figures["supervised_restarts"],
        )
    yield from _shipping(figures["entries"], shipping)


def _gauge(name: str, help_: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, help_, value)


def _labelled(each: _Labelled, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + each.name, each.help, labels=[each.label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _histogram(each: _Plain, figure: Mapping[str, Any]) -> HistogramMetricFamily:
    bounds = [_as_go_has_it(bound) for bound in (*figure["bounds"], inf)]
    buckets = list(zip(bounds, accumulate(figure["counts"]), strict=True))
    family = HistogramMetricFamily(PREFIX + each.name, each.help)
    family.add_metric([], buckets, figure["sum"])
    return family


def _as_go_has_it(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]  # it has none


def _moments(figures: Mapping[str, Any]) -> Iterator[Metric]:
    """Moments, not ages: those would be a different value at each scrape."""
    started = datetime.fromisoformat(figures["started_at"]).timestamp()
    yield _gauge("writer_start_time_seconds", "When the writer started, in Unix time", started)
    if (signed := figures["checkpoint_at_s"]) is not None:
        name = "checkpoint_timestamp_seconds"
        yield _gauge(name, "When the newest checkpoint was signed, in Unix time", signed)


def _shipping(entries: int, shipping: Sequence[Any]) -> Iterator[Metric]:
    """By target, whose name has no password in it."""
    lag = GaugeMetricFamily(
        f"{PREFIX}shipping_lag_entries", "Entries that a target has not yet", labels=["target"]
    )
    running = GaugeMetricFamily(
        f"{PREFIX}shipping_running", "1 while somebody ships there", labels=["target"]
    )
    for each in shipping:
        target, shipped_to = str(each.get("target")), each.get("shipped_to")
        if isinstance(shipped_to, int):
            lag.add_metric([target], max(entries - shipped_to, 0))
        running.add_metric([target], int(each.get("state") in {"shipping", "waiting", "held up"}))
    yield from (lag, running)
