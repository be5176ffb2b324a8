"""A writer on another host, as this directory's settings name it: where it is, how it is known.

It asks the writer nothing. Nothing local tells whether that one lives: only its answers do, and
what becomes of the handshakes. Loaded where ``connect`` is set.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import zmq

from hansard.complaints import Complaints
from hansard.curve import CurveKeys, read_keys
from hansard.route import Route
from hansard.tcp_address import tcp_ports

if TYPE_CHECKING:
    from hansard.adopting import Adopter

RECONNECT_MS: Final = 100
RECONNECT_MS_MAX: Final = 2_000
CONNECT_MS_MAX: Final = 2_000  # the kernel's own tries get rarer and rarer: a new one soon meets
HANDSHAKE_MS_MAX: Final = 3_000  # who accepts and says nothing
KEEPALIVE_IDLE_S: Final = 15  # so that an idle connection to a host that is gone is found lost,
KEEPALIVE_EVERY_S: Final = 5  # and no router on the way forgets it
KEEPALIVE_TRIES: Final = 3
SILENCE_S: Final = 4.0  # below the default ack_timeout: who waits may still be served in time
PATIENCE_MAX: Final = 8  # times as long, while new connections bring no answer either

_OPTIONS: Final[Mapping[int, int]] = {
    int(zmq.RECONNECT_IVL): RECONNECT_MS,
    int(zmq.RECONNECT_IVL_MAX): RECONNECT_MS_MAX,
    int(zmq.CONNECT_TIMEOUT): CONNECT_MS_MAX,
    int(zmq.HANDSHAKE_IVL): HANDSHAKE_MS_MAX,
    int(zmq.TCP_KEEPALIVE): 1,
    int(zmq.TCP_KEEPALIVE_IDLE): KEEPALIVE_IDLE_S,
    int(zmq.TCP_KEEPALIVE_INTVL): KEEPALIVE_EVERY_S,
    int(zmq.TCP_KEEPALIVE_CNT): KEEPALIVE_TRIES,
}


class RemoteWriter:
    """The same face as `hansard.local_writer.LocalWriter`."""

    silence_s: Final = SILENCE_S
    patience_max: Final = PATIENCE_MAX
    backoff_s_max: Final = 2.0
    gone: Final = "ended, or was cut off,"

    def __init__(self, directory: Path, address: str, server_key: str) -> None:
        self.directory = directory
        self.address = address
        self._server_key = server_key
        self.name = f"the writer at {address}"
        self.whose = f"of {self.name}"  # files
        self.where = f"at {address}"

    def way_out(self, refusal: str = "") -> str:
        """What to do about its silence; ``refusal`` says why it lets nobody in."""
        return refusal or (
            "see that it runs there, with `hansard serve --tcp`, and that the network lets this "
            "host reach that port and the next one"
        )

    def route(self) -> Route:
        """How to reach it now, with the keys that the directory has now. Raises `ConfigError`."""
        keys = read_keys(self.directory, may_be_shared=True)
        ports = tcp_ports(self.address)
        options: dict[int, int | bytes] = {
            **_OPTIONS,
            int(zmq.IPV6): int(self.address.startswith("tcp://[")),
            int(zmq.CURVE_SERVERKEY): self._server_key.encode(),
            int(zmq.CURVE_PUBLICKEY): keys.public.encode(),
            int(zmq.CURVE_SECRETKEY): keys.secret.encode(),
        }
        stands = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        refusals = _refusals(self.directory, keys)
        return Route(ports.frames, ports.requests, options, stands, refusals, lambda: None)

    def require_directory(self) -> None:
        """Raises where nobody can ask through it: `route` does."""

    def may_live(self) -> bool:
        """False where certainly nobody answers: that is never certain."""
        return True

    def run_id(self) -> str | None:
        """Unknown before it answers."""
        return None

    def has_ended(self, run_id: str | None) -> bool:  # noqa: ARG002 - the other kind's face
        """Whether a run is over: unknown."""
        return False

    def is_another_than(self, run_id: bytes) -> bool:  # noqa: ARG002 - the other kind's face
        """Whether what is connected can bring no answer any more. A `wait` is answered within a
        quarter of a second: who has been silent for `SILENCE_S` is behind a line that is cut."""
        return True

    def silent(self, when: str) -> str:  # noqa: ARG002 - the other kind's face
        """Says that it lives and did not answer: unknown."""
        return ""

    def adopter(self, complaints: Complaints) -> "Adopter":
        """Who sends what the dead leave in the directory: it cannot look there itself."""
        from hansard.adopting import Adopter

        return Adopter(self, complaints)

    def owners_token(self) -> bytes | None:
        """None: over tcp it is the key that may ask or may not."""
        return None


def _refusals(directory: Path, keys: CurveKeys) -> Mapping[int, str]:
    """What each end of a handshake means. A wrong server_key cannot be told from a port that
    closes: the writer cannot read the first message, and hangs up."""
    return {
        int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): (
            f"it refuses the key of {directory}: allow it on the writer's host, with "
            f"`hansard keys allow '{keys.public}' --name NAME`"
        ),
        int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): (
            "what answers there is no writer's port, or not the one that server_key is of: "
            "correct connect, or server_key"
        ),
        int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): (
            "the connection ends before it is known who is there: see that server_key is that "
            "writer's public key, and that connect names its port"
        ),
    }
