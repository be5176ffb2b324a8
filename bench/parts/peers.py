"""Hansard and its peers by turns: the same events, from as many workers, until the last is acked.

In each round every contestant starts afresh and is checked; figures are medians of the rounds, and
a ratio is the median of the rounds' ratios, as the machine is not as fast in each of them. What
cannot be run here is named in the notes, with the way to get it.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from bench.measuring.figures import Curve, Figure, Found, latency_curve, median, percentile
from bench.measuring.run import Run
from bench.measuring.surviving import surviving
from bench.peers import HANSARD, JETSTREAM, JETSTREAM_COUNTED, PEERS, POSTGRESQL, REDIS, SQLITE
from bench.peers.peer import NotServed, Peer, Shape
from bench.peers.turn import Turn, take
from bench.workloads import TASKS

PART: Final = "peers"
ROUNDS: Final = 3
QUICK_SHARE: Final = 0.1
PLOT: Final = "caller's latency"

_RATIOS_MIN: Final = (
    (SQLITE, 15.0),
    (REDIS, 7.0),
    (POSTGRESQL, 10.0),
    (JETSTREAM, 1.2),
    (JETSTREAM_COUNTED, 1.2),
)

_Turns = dict[str, list[Turn]]


def run(share: Run, peers: Sequence[Peer] = tuple(PEERS.values()), rounds: int = ROUNDS) -> Found:
    """Let them record, by turns."""
    share.place.mkdir()
    found, able = Found(), []
    for peer in peers:
        if share.is_quick and peer.has_server:
            found.notes.append(f"{peer.name} is skipped: it has a server, and --quick runs none")
        elif (missing := peer.missing()) is not None:
            found.notes.append(f"{peer.name} is skipped: {missing}")
        else:
            able.append(peer)
    turns = _by_turns(share, able, rounds, found)
    for peer in able:
        if peer.name in turns:
            found.figures += _figures(peer, share.workers, turns[peer.name])
            found.curves += _curves(peer, turns[peer.name])
    found.figures += _ratios(turns)
    return found


def _by_turns(share: Run, peers: Sequence[Peer], rounds: int, found: Found) -> _Turns:
    """The turns of each peer; one that breaks, or whose server does not start, is out, and
    ``found`` says why."""
    turns: _Turns = {peer.name: [] for peer in peers}
    events = share.events * QUICK_SHARE if share.is_quick else share.events
    for number in range(rounds):
        for place, peer in enumerate(peers):
            if peer.name not in turns:
                continue
            share.tell(f"round {number + 1} of {rounds}: {peer.name}")
            events_each = max(int(events * peer.share) // share.workers, 1)
            directory = share.place / f"{number}-{place}"
            with surviving(found, f"{PART}, {peer.name}"):
                try:
                    turn = take(peer, directory, TASKS, share.workers, events_each)
                    turns[peer.name].append(turn)
                except NotServed as error:
                    found.notes.append(f"{peer.name} is skipped: {error}")
            if len(turns[peer.name]) == number:
                del turns[peer.name]
            shutil.rmtree(directory, ignore_errors=True)
    return turns


def _figures(peer: Peer, workers: int, turns: Sequence[Turn]) -> Iterator[Figure]:
    who = peer.shape.value if peer.shape is Shape.ALONE else f"{workers} {peer.shape.value}"

    def figure(what: str, values: Iterable[float], unit: str) -> Figure:
        return Figure(PART, f"{peer.name}: {what}", median(list(values)), unit, workload=TASKS.name)

    yield figure(f"{who}, {peer.durability}", (turn.rate for turn in turns), "events/s")
    if turns[0].durations_ns:
        ordered = [sorted(turn.durations_ns) for turn in turns]
        yield figure("caller's p50", (percentile(each, 0.50) / 1e3 for each in ordered), "µs")
        yield figure("caller's p99", (percentile(each, 0.99) / 1e3 for each in ordered), "µs")
    yield figure("CPU an event", (turn.cpu_s * 1e6 / turn.events for turn in turns), "µs")
    yield figure("on disk an event", (turn.stored_bytes / turn.events for turn in turns), "bytes")
    if peer is SQLITE:
        retries = (turn.retries * 1_000 / turn.events for turn in turns)
        yield figure("tries again of 1,000 events, locked out", retries, "tries")


def _curves(peer: Peer, turns: Sequence[Turn]) -> Iterator[Curve]:
    if durations := turns[-1].durations_ns:
        yield latency_curve(PLOT, peer.name, durations)


def _ratios(turns: Mapping[str, Sequence[Turn]]) -> Iterator[Figure]:
    ours = turns.get(HANSARD.name)
    for peer, reach in _RATIOS_MIN:
        if ours and (theirs := turns.get(peer.name)):
            ratio = median([a.rate / b.rate for a, b in zip(ours, theirs, strict=True)])
            name = f"{HANSARD.name} / {peer.name}"
            yield Figure(PART, name, ratio, "x", reach_min=reach, workload=TASKS.name)
