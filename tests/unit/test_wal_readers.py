"""Who reads from a WAL, out of the kernel's list of locks."""

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from hansard_writer.wal_readers import COMMAND_CHARS_MAX, named, readers, readers_of

DEVICE = os.makedev(0xFE, 0x01)
LOCKS = """\
1: FLOCK  ADVISORY  WRITE 23028 fe:01:3073088 0 EOF
2: POSIX  ADVISORY  READ 100 fe:01:3073088 123 123
3: POSIX  ADVISORY  READ 101 fe:01:3073088 127 127
4: POSIX  ADVISORY  READ 102 fe:01:3073088 128 128
5: POSIX  ADVISORY  WRITE 103 fe:01:3073088 124 124
6: POSIX  ADVISORY  READ 104 fe:01:99 124 124
7: POSIX  ADVISORY  READ 105 08:01:3073088 124 124
8: POSIX  ADVISORY  READ 106 fe:01:3073088 0 EOF
9: OFDLCK ADVISORY  READ -1 fe:01:3073088 124 124
10: POSIX  ADVISORY  READ -1 fe:01:3073088 124 124
11: -> POSIX  ADVISORY  READ 107 fe:01:3073088 124 124
12: POSIX  ADVISORY  READ 108 <none>:0 124 124
13: LEASE  ACTIVE    READ 109 fe:01:3073088 0 EOF
14: POSIX  ADVISORY  READ 110 fe:01:3073088 120 129
a line of another kernel
"""


def test_a_reader_is_who_holds_a_read_mark_of_this_file() -> None:
    assert readers_of(LOCKS.splitlines(), DEVICE, 3_073_088) == {100, 101}


def test_where_devices_are_not_real_ones_the_inode_tells() -> None:
    """Btrfs: the lock has the file system's device, the file its subvolume's."""
    lines = ["1: POSIX  ADVISORY  READ 100 00:1f:77 124 124"]
    assert readers_of(lines, os.makedev(0, 0x2A), 77) == {100}
    assert readers_of(lines, os.makedev(8, 1), 77) == set()


def test_a_process_that_reads_is_seen_and_named_and_this_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE t(x)")
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM t").fetchall()
    shared_memory = tmp_path / "log.db-shm"
    assert readers(shared_memory) == set()
    program = (
        "import apsw, sys\n"
        "connection = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY)\n"
        "connection.execute('BEGIN')\n"
        "connection.execute('SELECT * FROM t').fetchall()\n"
        "print('reads', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "reads\n"
        assert readers(shared_memory) == {reader.pid}
        assert named(reader.pid).startswith(f"pid {reader.pid} ({sys.executable} -c import apsw")
        reader.stdin.close()
        reader.wait()
    assert readers(shared_memory) == set()
    connection.close()


@pytest.mark.parametrize("path", ["nowhere/log.db-shm", "log.db-shm"])
def test_a_file_that_is_not_there_is_read_by_nobody(tmp_path: Path, path: str) -> None:
    assert readers(tmp_path / path) == set()


def test_a_name_is_short_and_holds_nothing_that_a_terminal_obeys() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "\x1b[2J\n" * 99],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        name = named(process.pid)
        process.kill()
    assert name.isprintable()
    assert len(name) < COMMAND_CHARS_MAX + 20


def test_a_process_that_has_ended_is_a_number() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert named(process.pid) == f"pid {process.pid}"
