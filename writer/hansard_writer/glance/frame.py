"""What one frame says: blocks of figures, event types, the newest entries, and what is wrong. Pure.

It chooses and words; how that fits a terminal is `drawing`'s business.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from hansard.reader import Event
from hansard.wording import counted
from hansard_writer.glance import amounts
from hansard_writer.glance.history import History, Rates
from hansard_writer.glance.snapshot import Snapshot
from hansard_writer.proof.verifying.findings import Verdict
from hansard_writer.terminal_text import escaped

BAD: Final = "bad"
WARN: Final = "warn"
GOOD: Final = "good"
LABEL: Final = "label"
TITLE: Final = "title"
PLAIN: Final = ""

UNSIGNED_S_MAX: Final = 30.0  # before what no checkpoint covers is more than on its way
SERIOUS: Final = frozenset({"warning", "error", "critical"})

_SECOND_NS: Final = 1_000_000_000
_GOOD_VERDICTS: Final = {str(Verdict.INTACT), str(Verdict.PRUNED)}


class Row(NamedTuple):
    """A figure. ``is_main``: shown where there is room for few."""

    label: str
    value: str
    style: str = PLAIN
    is_main: bool = False


class Block(NamedTuple):
    """Figures that belong together."""

    title: str
    rows: Sequence[Row]


class TypeRow(NamedTuple):
    """An event type: how many a second, how many in all, and the rates so far."""

    name: str
    rate: float | None
    total: int
    rates: Sequence[float]


class Frame(NamedTuple):
    """All that can be shown, the most important first."""

    where: str
    time: str
    state: str
    state_style: str
    troubles: Sequence[str]
    rate: str
    rates: Sequence[float]
    blocks: Sequence[Block]
    types_title: str
    types: Sequence[TypeRow]
    entries_title: str
    entries: Sequence[Event]
    is_served: bool


def frame_of(directory: Path, history: History, *, serious_only: bool = False) -> Frame:
    """The frame for the newest look. ``serious_only`` leaves out entries below a warning."""
    snapshot, rates = history.newest, history.now()
    state, style = _state(snapshot)
    title, types = _types(history, rates)
    entries = [each for each in snapshot.entries if not serious_only or each.level in SERIOUS]
    return Frame(
        where=escaped(str(directory)),
        time=_clock(snapshot.now_ns),
        state=state,
        state_style=style,
        troubles=[escaped(each) for each in _troubles(snapshot)],
        rate=amounts.rate(rates and rates.entries),
        rates=history.entry_rates(),
        blocks=list(_blocks(history, rates)),
        types_title=title,
        types=types,
        entries_title=_entries_title(len(snapshot.entries), serious_only=serious_only),
        entries=entries,
        is_served=snapshot.figures is not None,
    )


# --- what state it is in ---


def _state(snapshot: Snapshot) -> tuple[str, str]:
    figures = snapshot.figures
    if figures is None:
        return "no writer answers", BAD
    started = datetime.fromisoformat(figures["started_at"]).timestamp()
    up = amounts.span(snapshot.now_ns / _SECOND_NS - started)
    restarts = figures["supervised_restarts"]
    again = f", {counted(restarts, 'restart')}" if restarts else ""
    facts = f"pid {figures['pid']}, epoch {figures['epoch']}, up {up}{again}"
    if figures["suspended"]:
        return f"intake suspended: {facts}", BAD
    if figures["held_up_by"]:
        return f"held up: {facts}", BAD
    return f"serving: {facts}", GOOD


def _troubles(snapshot: Snapshot) -> Iterator[str]:
    """In words, with their way out where the writer knows one."""
    figures = snapshot.figures
    if figures is None:
        yield snapshot.silence
    else:
        names = ("suspended_by", "held_up_by", "checkpoint_held_up_by", "retention_held_up_by")
        yield from (figures[name] for name in names if figures[name])
        if figures["wal_bytes_held"] and figures["reader_age"] >= 1:
            who = figures["wal_held_by"] or "a reader that cannot be seen from here"
            yield f"the WAL is held for {amounts.span(figures['reader_age'])}: {who}"
    verified = snapshot.verified
    if verified and verified.verdict not in _GOOD_VERDICTS:
        yield f"the last verification found the log {verified.verdict}: run hansard verify"
    for each in snapshot.shipping:
        if each.get("state") in {"failed", "killed", "held up"}:
            yield f"shipping to {each.get('target')} {each['state']}: {each.get('why') or 'ended'}"
    if snapshot.unread:
        yield snapshot.unread


# --- blocks ---


def _blocks(history: History, rates: Rates | None) -> Iterator[Block]:
    snapshot = history.newest
    figures = snapshot.figures
    if figures is None:
        in_the_log = Row("in the log", _entries(snapshot.size), PLAIN, True)
        yield Block("LOG", [in_the_log, *_proof(snapshot)])
        return
    yield _throughput(snapshot, rates)
    yield _latency(history, figures)
    yield _way(figures)
    yield _storage(figures)
    yield Block("PROOF", list(_proof(snapshot)))
    yield _refused(figures)


def _throughput(snapshot: Snapshot, rates: Rates | None) -> Block:
    received = f"{amounts.size(rates.bytes)}/s" if rates else amounts.UNKNOWN
    rows = [
        Row("in the log", _entries(snapshot.size), PLAIN, True),
        Row("received", received),
        Row("commits", amounts.rate(rates and rates.commits)),
    ]
    return Block("THROUGHPUT", rows)


def _latency(history: History, figures: Mapping[str, Any]) -> Block:
    commit = history.quantiles("commit_seconds", 0.5, 0.99)
    ack = history.quantiles("ack_seconds", 0.5, 0.99)
    share = history.mean("commit_events")
    sharing = amounts.UNKNOWN if share is None else f"{amounts.number(share)} events (mean)"
    rows = [
        Row("commit", _quantiles(commit), PLAIN, True),
        Row("acknowledged", _quantiles(ack), PLAIN, True),
        Row("share a commit", sharing),
    ]
    if figures["busy_retries"]:
        rows.append(Row("writes put off", amounts.number(figures["busy_retries"]), WARN))
    return Block("LATENCY", rows)


def _way(figures: Mapping[str, Any]) -> Block:
    waiting = f"{amounts.number(figures['waiting'])} events"
    spooled = (
        f"{amounts.size(figures['spool_bytes'])} in {counted(figures['spools_live'], 'spool')}"
    )
    rows = [
        Row("waiting", waiting, PLAIN, True),
        Row("unread, batch", _pair(figures["queue_depth"], figures["uncommitted"])),
        Row("spooled", spooled, PLAIN, True),
    ]
    return Block("ON THE WAY", rows)


def _storage(figures: Mapping[str, Any]) -> Block:
    held = figures["wal_bytes_held"]
    wal = amounts.size(figures["wal_bytes"]) + (f", {amounts.size(held)} held" if held else "")
    is_low = figures["disk"] != "enough"
    rows = [
        Row("log.db", amounts.size(figures["database_bytes_used"])),
        Row("WAL", wal, WARN if held else PLAIN, True),
        Row("disk free", amounts.size(figures["disk_free_bytes"]), BAD if is_low else PLAIN, True),
    ]
    return Block("STORAGE", rows)


def _proof(snapshot: Snapshot) -> Iterator[Row]:
    figures, verified = snapshot.figures, snapshot.verified
    if figures is not None:
        unsigned = max(figures["entries"] - figures["checkpoint_size"], 0)
        age = figures["checkpoint_age_s"]
        ago = "never" if age is None else f"{amounts.span(age)} ago"
        is_late = unsigned and (age is None or age > UNSIGNED_S_MAX)
        signed = f"all but {amounts.number(unsigned)}, {ago}" if unsigned else f"all, {ago}"
        signed = signed if figures["entries"] else "nothing yet"
        yield Row("signed", signed, WARN if is_late else PLAIN, True)
    if verified is None:
        yield Row("verified", "not yet")
    else:
        ago = amounts.span((snapshot.now_ns - verified.verified_at) / _SECOND_NS)
        is_good = verified.verdict in _GOOD_VERDICTS
        what = amounts.number(verified.size) if is_good else verified.verdict
        yield Row("verified", f"{what}, {ago} ago", PLAIN if is_good else BAD, not is_good)
    lags = [_lag(snapshot, each) for each in snapshot.shipping]
    if lags:
        yield Row("shipping", max(lags)[1])


def _lag(snapshot: Snapshot, standing: Mapping[str, Any]) -> tuple[int, str]:
    shipped_to, state = standing.get("shipped_to"), str(standing.get("state"))
    if not isinstance(shipped_to, int):
        return 0, escaped(state)
    lag = max(snapshot.size - shipped_to, 0)
    return lag, f"{amounts.number(lag)} behind, {escaped(state)}"


def _refused(figures: Mapping[str, Any]) -> Block:
    lost, letters = sum(figures["dropped"].values()), figures["dead_letters"]
    refused = sum(figures["refused_by_reason"].values())
    turned_away = sum(figures["turned_away"].values())
    rows = [
        Row("dead letters", amounts.number(letters), WARN if letters else PLAIN, True),
        Row("lost", amounts.number(lost), BAD if lost else PLAIN, bool(lost)),
        Row("refused", amounts.number(refused), WARN if refused else PLAIN),
    ]
    if turned_away:
        rows.append(Row("turned away", amounts.number(turned_away), WARN))
    return Block("REFUSED AND LOST", rows)


# --- types ---


def _types(history: History, rates: Rates | None) -> tuple[str, list[TypeRow]]:
    """The busiest first; without a writer, those of the newest entries."""
    snapshot = history.newest
    if snapshot.figures is None:
        counts = Counter(each.event_type for each in snapshot.entries)
        rows = [TypeRow(name, None, count, ()) for name, count in counts.most_common()]
        return f"types of the last {_entries(len(snapshot.entries))}", rows
    by_type = rates.by_type if rates else {}
    rows = [
        TypeRow(name, by_type.get(name), total, history.type_rates(name))
        for name, total in snapshot.figures["entered_by_type"].items()
    ]
    rows.sort(key=lambda row: (-(row.rate or 0), -row.total, row.name))
    return "types since the writer's start", rows


# --- words ---


def _entries(count: int) -> str:
    return counted(count, "entry", "entries")


def _entries_title(count: int, *, serious_only: bool) -> str:
    if serious_only:
        return f"warnings and errors of the last {_entries(count)}"
    return "the newest entries" if count else ""


def _pair(one: float, other: float) -> str:
    return f"{amounts.number(one)}, {amounts.number(other)}"


def _quantiles(pair: Sequence[float | None]) -> str:
    median, high = pair
    if median is None:
        return amounts.UNKNOWN
    return f"p50 {amounts.latency(median)}, p99 {amounts.latency(high)}"


def _clock(now_ns: int) -> str:
    at = datetime.fromtimestamp(now_ns // _SECOND_NS, tz=UTC)
    return f"{at:%H:%M:%S}Z"
