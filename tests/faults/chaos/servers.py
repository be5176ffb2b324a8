"""The servers of a round: writers and supervisors that come and go on one log directory.

They are started, found, stopped and looked at here; what is done to them, the round decides.
"""

import signal
from pathlib import Path
from typing import Any

from faults.chaos.families import Server
from hansard import directory as layout

SETTLED = {0, 4}  # how one that nobody has killed may end: as asked, or the directory is taken


class Servers:
    """All of them, the newest last. Those of before may still live: writers compete."""

    def __init__(self, log: Path, home: Path, *, supervised: bool) -> None:
        self._log, self._home, self._supervised = log, home, supervised
        self._all: list[Server] = []
        self.sockets_are_gone = False

    def start(self, settings: dict[str, Any], *, alone: bool = False) -> None:
        """One more, supervised where the round's are, unless it is to be ``alone``."""
        said = self._home / f"server-{len(self._all)}.err"
        supervised = self._supervised and not alone
        self._all.append(Server(self._log, said, settings, supervised=supervised))
        self.sockets_are_gone = False

    @property
    def are_ready(self) -> bool:
        """Whether a writer can be used."""
        return any(server.is_ready for server in self._all)

    @property
    def are_gone(self) -> bool:
        """Whether none lives."""
        return not any(server.lives for server in self._all)

    def find(self, kind: str) -> tuple[Server, int] | None:
        """The newest living ``writer`` or ``supervisor``: its family, and its process id."""
        for server in reversed(self._all):
            if not server.lives:
                continue
            if kind == "writer" and (pid := server.writer_pid):
                return server, pid
            if kind == "supervisor" and server.supervised and server.first_lives:
                return server, server.pid
        return None

    def unlink_sockets(self) -> bool:
        """Take both sockets' names away; whether there were any."""
        for name in (layout.PUSH_SOCKET, layout.ACK_SOCKET):
            path = self._log / name
            self.sockets_are_gone |= path.exists()
            path.unlink(missing_ok=True)
        return self.sockets_are_gone

    def thaw(self) -> None:
        """SIGCONT to all."""
        for server in self._all:
            server.send_all(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM to each, frozen or not."""
        self.thaw()
        for server in self._all:
            server.send(signal.SIGTERM)

    def check(self) -> None:
        """Those that were not killed have ended well, and none has met what it did not expect."""
        for server in self._all:
            status = server.process.wait()
            is_well = server.was_signalled or status in SETTLED
            assert is_well, f"{server.name} ended by itself with {status}"
            server.check_what_it_said()

    def close(self) -> None:
        """Leave no process."""
        for server in self._all:
            server.close()
