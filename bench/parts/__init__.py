"""The parts of the bench, each by its name. A part measures one thing, and checks its counts."""

from collections.abc import Callable
from typing import Final, NamedTuple

from bench.measuring.figures import Found
from bench.measuring.run import Run
from bench.parts import (
    backfill,
    crowded,
    growth,
    ingest,
    peers,
    proof,
    proof_cost,
    readers,
    record,
    recover,
    search,
    ship,
    sync,
    verify,
    web,
)


class Part(NamedTuple):
    """``run`` raises `bench.measuring.entered.WrongEntries` for a count or content that is not
    what was recorded; what else it raises is a part that failed. The other parts are run anyway."""

    name: str
    about: str
    run: Callable[[Run], Found]


_ALL: Final = (
    Part(ingest.PART, "workers record, until the last event is committed", ingest.run),
    Part(record.PART, "what one record() costs its caller",
         lambda run: record.run(run.place, run.events)),
    Part(sync.PART, "how long 1, 4, 16 and 64 callers wait for an ack", sync.run),
    Part(growth.PART, "the same load on logs of 0.1, 1 and 10 million entries", growth.run),
    Part(recover.PART, "from a kill of the writer until all is in that was spooled", recover.run),
    Part(proof_cost.PART, "what the proof costs the writer",
         lambda run: Found(proof_cost.run(run.place, max(run.events // 8, 1)))),
    Part(readers.PART, "those who record, beside processes that scan the log",
         lambda run: Found(readers.run(run.place, max(run.events // run.workers, 1)))),
    Part(search.PART, "searches in a million entries",
         lambda run: Found(search.run(run.place))),
    Part(proof.PART, "inclusion proofs out of a million entries",
         lambda run: Found(proof.run(run.place))),
    Part(verify.PART, "a log recomputed, hash by hash",
         lambda run: Found(verify.run(run.place))),
    Part(backfill.PART, "a field derived from what a log holds",
         lambda run: Found(backfill.run(run.place, million=not run.is_quick))),
    Part(peers.PART, "what people would use instead, by turns with Hansard", peers.run),
    Part(ship.PART, "a log on its way to PostgreSQL, JetStream and Parquet files", ship.run),
    Part(crowded.PART, "one synchronous caller beside 16 bulk producers",
         lambda run: Found(crowded.run(run.place))),
    Part(web.PART, "what a client of a web server sees of the audit middleware", web.run),
)  # fmt: skip

PARTS: Final = {part.name: part for part in _ALL}
QUICK: Final = (ingest.PART, record.PART, sync.PART, proof_cost.PART)
