"""Facts of the machine, and of a process on it, from /proc. Linux only."""

import os
import platform
import resource
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import msgpack
import orjson
import zmq

import hansard


def cpu_s(pid: int) -> float:
    """CPU time (s) that a process has used, user and system, all threads, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tree_cpu_s(pid: int) -> float:
    """CPU time (s) of a process, its children and theirs, those that have ended included: their
    time is their parent's once they are gone, so it is read last."""
    living = 0.0
    for child in _children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            living += tree_cpu_s(child)
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return living + sum(map(int, numbers)) / os.sysconf("SC_CLK_TCK")


def directory_bytes(directory: Path) -> int:
    """Bytes of all the files in a directory, at any depth."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def rss_max_bytes(pid: int) -> int:
    """The largest resident size that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise LookupError(f"/proc/{pid}/status names no VmHWM")


def written_bytes(pid: int) -> int:
    """What a process has written to files so far; what it sends over sockets is not counted."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise LookupError(f"/proc/{pid}/io names no wchar")


def own_cpu_s() -> float:
    """CPU time (s) of this process, user and system, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def facts(directory: Path) -> dict[str, Any]:
    """What a figure must be read with; ``directory`` is where the logs of the run lie."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "file_system": _file_system(directory),
        "python": platform.python_version(),
        "hansard": hansard.__version__,
        "sqlite": apsw.sqlite_lib_version(),
        "libzmq": zmq.zmq_version(),
        "pyzmq": zmq.pyzmq_version(),
        "orjson": orjson.__version__,
        "msgpack": ".".join(map(str, msgpack.version)),
    }


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for text in map(Path.read_text, lists) for child in text.split()]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    """The type of the file system that holds a directory."""
    best, kind = "", "unknown"
    resolved = str(directory.resolve())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind
