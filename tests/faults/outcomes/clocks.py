"""A wall clock that is set, back and forth, under the writer and its workers.

Each process of the scene takes the time from a file, by a module that Python imports at its start.
"""

import os
import time
from typing import IO, Final
from unittest import mock

from faults import crowd
from faults.outcomes.scene import PATIENCE_S, Scene
from support import query

HOUR_S: Final = 3_600
JUMPS: Final = 4
ASKED_S: Final = 0.3  # for a call to be on its way to a writer that stands still

SET_CLOCK: Final = """
import os, time

def time_ns(real=time.time_ns, path=os.environ["CLOCK_OFFSET"]):
    with open(path) as file:
        return real() + int(file.read() or 0) * 1_000_000_000

time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
"""

RECORDS_AND_CALLS: Final = """
import sys
from hansard import AuditLog, Rejected

log, number = AuditLog(sys.argv[1], spool_bytes=2 << 20), 0
for line in sys.stdin:
    if line == "call\\n":
        try:
            log.call("count_up", "calls", timeout=30)
            print("ran")
        except Rejected as error:
            print("rejected", error)
    else:
        for _ in range(20):
            number += 1
            entry = log.record("step.done", {"w": "w", "n": number})
            print("w", number, entry.key[0].hex(), entry.key[1])
        print()
    sys.stdout.flush()
assert log.drain(60)
"""


def clock_is_set(scene: Scene) -> dict[str, int]:
    """By hours, in the middle of everything; and while a call with a deadline is on its way."""
    clock = scene.place / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(SET_CLOCK)
    offset = clock / "offset"
    offset.write_text("0")
    environment = {"CLOCK_OFFSET": str(offset), "PYTHONPATH": crowd.python_path(clock)}
    with mock.patch.dict(os.environ, environment):
        scene.start_writer(operations=["faults.named"])
    worker = scene.run("-c", RECORDS_AND_CALLS, str(scene.directory), **environment)
    assert worker.stdin
    assert worker.stdout
    ran = 0
    try:
        for _ in range(JUMPS):
            _say(worker.stdin, "record")
            scene.hears("".join(iter(worker.stdout.readline, "\n")))
            offset.write_text(str(scene.random.randrange(-10, 10) * HOUR_S))
        for hours in (-2, 2):
            offset.write_text("0")
            with scene.frozen(scene.writer):
                _say(worker.stdin, "call")
                time.sleep(ASKED_S)
                offset.write_text(str(hours * HOUR_S))
            answer = worker.stdout.readline()
            assert answer == "ran\n" or "deadline passed" in answer, answer
            ran += answer == "ran\n"
        assert worker.communicate(timeout=PATIENCE_S)
    finally:
        worker.kill()
        worker.communicate()
    scene.settle()
    counted = query(scene.directory, "SELECT coalesce(sum(value), 0) FROM counters")
    assert counted == [(ran,)], f"{ran} calls ran, and {counted} were counted"
    return {"ran": ran, "rejected": 2 - ran, "events": scene.account().entered}


def _say(stdin: IO[str], line: str) -> None:
    stdin.write(line + "\n")
    stdin.flush()
