"""What each error of SQLite's asks for: by its code, and the system's number below it."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from hansard_writer.sqlite_errors import Kind, code_of, kind_of, name_of

CODES = sorted(
    code
    for mapping in (apsw.mapping_result_codes, apsw.mapping_extended_result_codes)
    for code in mapping
    if isinstance(code, int)
)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("BUSY BUSY_RECOVERY BUSY_SNAPSHOT BUSY_TIMEOUT", Kind.BUSY),
        ("FULL", Kind.FULL),
        ("LOCKED LOCKED_SHAREDCACHE PROTOCOL NOMEM SCHEMA IOERR_READ IOERR_WRITE", Kind.TRANSIENT),
        ("IOERR_LOCK IOERR_SHMMAP IOERR_TRUNCATE IOERR_NOMEM", Kind.TRANSIENT),
        ("CONSTRAINT CONSTRAINT_CHECK CONSTRAINT_UNIQUE CONSTRAINT_TRIGGER", Kind.CONTENT),
        ("CONSTRAINT_DATATYPE TOOBIG MISMATCH RANGE CORRUPT_VTAB", Kind.CONTENT),
        ("IOERR IOERR_FSYNC IOERR_DIR_FSYNC IOERR_CLOSE IOERR_CORRUPTFS IOERR_DATA", Kind.FATAL),
        ("CORRUPT CORRUPT_INDEX NOTADB READONLY READONLY_DBMOVED", Kind.FATAL),
        ("AUTH PERM MISUSE INTERNAL ERROR ABORT CANTOPEN CANTOPEN_ISDIR", Kind.FATAL),
    ],
)
def test_a_code_says_what_to_do(names: str, kind: Kind) -> None:
    for name in names.split():
        assert kind_of(getattr(apsw, f"SQLITE_{name}")) is kind, name


def test_no_sync_is_ever_tried_again() -> None:
    for code in CODES:
        if "SYNC" in name_of(code):
            for number in (0, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE):
                assert kind_of(code, number) is Kind.FATAL


def test_every_code_that_sqlite_has_is_of_some_kind_and_has_its_name() -> None:
    for code in CODES:
        assert isinstance(kind_of(code), Kind)
        assert name_of(code).startswith("SQLITE_")


def test_a_code_of_a_later_sqlite_is_judged_by_its_primary_one_and_named_so() -> None:
    later = apsw.SQLITE_BUSY | 200 << 8
    assert (kind_of(later), name_of(later)) == (Kind.BUSY, "SQLITE_BUSY")
    assert kind_of(apsw.SQLITE_IOERR | 200 << 8) is Kind.FATAL
    assert (kind_of(77), name_of(77)) == (Kind.FATAL, "SQLite error 77")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", ["IOERR_WRITE", "IOERR_SHMSIZE", "CANTOPEN"])
def test_a_want_of_room_is_one_under_whatever_name(name: str, number: int) -> None:
    assert kind_of(getattr(apsw, f"SQLITE_{name}"), number) is Kind.FULL


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_want_of_descriptors_may_pass(number: int) -> None:
    assert kind_of(apsw.SQLITE_CANTOPEN, number) is Kind.TRANSIENT


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.ENOENT, errno.EIO])
def test_a_file_that_cannot_be_opened_for_another_reason_does_not_open_by_itself(
    number: int,
) -> None:
    assert kind_of(apsw.SQLITE_CANTOPEN, number) is Kind.FATAL


def test_an_error_has_its_extended_code_or_that_of_its_type() -> None:
    with_code = apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
    assert isinstance(with_code, apsw.Error)
    assert code_of(with_code) == apsw.SQLITE_IOERR_FSYNC
    assert code_of(apsw.FullError("raised by hand")) == apsw.SQLITE_FULL
    assert code_of(apsw.ConnectionClosedError("apsw's own")) == apsw.SQLITE_MISUSE


def test_sqlite_passes_the_systems_number_on(tmp_path: Path) -> None:
    """A file that may not grow stands for a quota, which cannot be set up here: both are an I/O
    error to SQLite, and only the number tells."""
    program = (
        "import apsw, resource, sys\n"
        "connection = apsw.Connection(sys.argv[1])\n"
        "connection.execute('CREATE TABLE t(x)')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    connection.execute('INSERT INTO t VALUES(zeroblob(1000000))')\n"
        "except apsw.Error as error:\n"
        "    print(error.extendedresult, connection.system_errno)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    out = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.split() == [str(apsw.SQLITE_IOERR_WRITE), str(errno.EFBIG)], os.strerror(errno.EFBIG)
