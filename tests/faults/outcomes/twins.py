"""A producer id that comes back: two processes of one machine image, alive or as a spool."""

import subprocess
from typing import Final

from faults.outcomes.scene import PATIENCE_S, Scene
from support import count_entries, wait_until

# Up to the image both are one process: the same id, the same events, all of them committed.
OF_ONE_IMAGE: Final = """
import os, signal, sys
from hansard import AuditLog, holding

directory, name, prefix, own, end = sys.argv[1:]
new_id, ids = holding.new_producer_id, [b"of one image sic"]
holding.new_producer_id = lambda: ids.pop() if ids else new_id()
log = AuditLog(directory, spool_bytes=2 << 20)
for number in range(1, int(prefix) + 1):
    log.record("step.done", {"w": "image", "n": number}, created_at=number)
assert log.flush(60)
print("the image", flush=True)
sys.stdin.readline()
for number in range(1, int(own) + 1):
    log.record("step.done", {"w": name, "n": number})
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
assert log.drain(60), log.statistics()
assert log.close() == 0
"""


def live_twins(scene: Scene) -> dict[str, int]:
    """Two processes go on from one image, both alive, at the same time."""
    return _two_of_one_image(scene, ("drained", "drained"))


def dead_twin(scene: Scene) -> dict[str, int]:
    """One of them is killed with other events in its spool, which the writer adopts."""
    return _two_of_one_image(scene, ("drained", "killed"))


def _two_of_one_image(scene: Scene, ends: tuple[str, str]) -> dict[str, int]:
    scene.start_writer()
    prefix = scene.random.randrange(1, 300)
    own = [scene.random.randrange(1, 600) for _ in ends]
    twins: list[subprocess.Popen[str]] = []
    try:
        for number, (events, end) in enumerate(zip(own, ends, strict=True)):
            arguments = (str(scene.directory), f"twin{number}", str(prefix), str(events), end)
            twins.append(scene.run("-c", OF_ONE_IMAGE, *arguments))
        for twin in twins:
            assert twin.stdout
            assert twin.stdout.readline() == "the image\n", twin.communicate()
        with scene.frozen(scene.writer):  # nobody is first by chance alone
            for twin in scene.random.sample(twins, 2):
                assert twin.stdin
                twin.stdin.write("go on\n")
                twin.stdin.flush()
            if "killed" in ends:
                twins[ends.index("killed")].wait(PATIENCE_S)
        for twin, end in zip(twins, ends, strict=True):
            _, complaint = twin.communicate(timeout=PATIENCE_S)
            assert twin.returncode == (-9 if end == "killed" else 0), complaint
    finally:
        for twin in twins:
            twin.kill()
            twin.communicate()
    events = prefix + sum(own)
    wait_until(lambda: count_entries(scene.directory) >= events, "all events are entered")
    scene.settle()
    assert scene.account().unheard == events == count_entries(scene.directory)
    return {"events": events}
