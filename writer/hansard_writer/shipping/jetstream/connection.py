"""A connection to NATS: the client's loop in a thread of its own, and calls into it that return.

It translates the client's errors, once, and knows nothing of what is sent. The client connects
again by itself, for a while; whoever waits for an answer meanwhile is told that there is none.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final, TypeVar

from hansard_writer.shipping.jetstream.address import Address
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable

CONNECT_S_MAX: Final = 15.0
CONNECT_ONE_S_MAX: Final = 4  # to one of the servers
RECONNECT_WAIT_S: Final = 0.5
CONNECTS_MAX: Final = 1  # of each server behind the first try
RECONNECTS_MAX: Final = 20  # of each server in a row, then the connection is closed
ANSWER_S_MAX: Final = 5.0
PING_S: Final = 20  # two without an answer, and the connection is lost
CLOSE_S_MAX: Final = 5.0
CLOSE_FAILED_S_MAX: Final = 0.2  # asyncio waits for ever for the end of a TLS that never began

WRONG_LAST: Final = frozenset({10071, 10164})
NOT_CLUSTERED: Final = 10074
NO_PEERS: Final = 10005
FULL: Final = frozenset({10077, 10047, 10023, 10002, 10028})
NO_JETSTREAM: Final = frozenset({10039, 10076})

T = TypeVar("T")


def _refusal(error: Exception) -> str | None:
    """What an error says that is the same at the next try; None for others."""
    from nats.errors import SecureConnWantedError

    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"is not known to be who it says ({error.verify_message}): name the file of its "
            "authority, ?ca=FILE, if it is trusted"
        )
    if isinstance(error, SecureConnWantedError):
        return "has no TLS, and is told nothing without: say nats://, or have its servers use TLS"
    why = str(error).removeprefix("nats: ")
    if "permissions violation" in why.lower():
        return f"does not allow this ({why}): give the login the right to it"
    return f"refuses the login ({why}): give another" if "authorization" in why.lower() else None


def _client(*, to_tls_only: bool) -> Any:
    """A client of the library. Left to itself it gives its login, in the clear, to whoever answers
    that TLS is not required."""
    from nats.aio.client import Client
    from nats.errors import SecureConnWantedError

    class Careful(Client):  # type: ignore[misc]
        def _connect_command(self) -> bytes:
            if to_tls_only and not self._server_info.get("tls_required"):
                raise SecureConnWantedError
            command: bytes = super()._connect_command()
            return command

    return Careful()


class WrongLast(TargetUnavailable):
    """The last message of a subject is another one than was thought."""


class Connection:
    """Connects when it is made. Its methods are for one thread, which is not that of the loop.

    ``client`` and ``stream`` are the library's, to make what `wait` is given.
    """

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self.client: Any = _client(to_tls_only=address.tls)
        self._complaint: Exception | None = None
        self._is_connected = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="hansard-nats", daemon=True
        )
        self._thread.start()
        try:
            self.wait(self.client.connect(**self._options(address)), CONNECT_S_MAX)
            self._is_connected = True
            self.client.options["max_reconnect_attempts"] = RECONNECTS_MAX
            self.stream: Any = self.client.jetstream(timeout=ANSWER_S_MAX)
        except BaseException:
            self.close()
            raise

    @property
    def message_bytes_max(self) -> int:
        """How large a message may be, with its headers: the server says so."""
        size: int = self.client.max_payload
        return size

    @property
    def reconnects(self) -> int:
        """How often it was lost, and is there again."""
        count: int = self.client.stats["reconnects"]
        return count

    def wait(self, call: Coroutine[Any, Any, T], timeout: float = 2 * ANSWER_S_MAX) -> T:
        """What a call of the client returns. Raises as `Target` does, and `NotFoundError`."""
        import nats.errors
        from nats.js.errors import NotFoundError

        self._complaint = None
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result(timeout)
        except NotFoundError:
            raise
        except (FutureTimeout, TimeoutError) as error:
            future.cancel()
            complaint = self._complaint
            if complaint and (refusal := _refusal(complaint)):
                raise TargetRefused(f"{self.name} {refusal}") from error
            why = f": {complaint}" if complaint else ""
            raise TargetUnavailable(f"{self.name} does not answer{why}") from error
        except (nats.errors.Error, OSError) as error:
            raise self._translated(error) from error

    def close(self) -> None:
        """End. Idempotent, and raises nothing."""
        if self._loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(CLOSE_S_MAX)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is over
            self._complaint = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S_MAX)
        if not self._loop.is_running():
            self._loop.close()

    # --- inside ---

    def _options(self, address: Address) -> dict[str, Any]:
        options: dict[str, Any] = {
            "servers": address.servers,
            "error_cb": self._complains,
            "name": "hansard ship",
            "connect_timeout": CONNECT_ONE_S_MAX,
            "reconnect_time_wait": RECONNECT_WAIT_S,
            "max_reconnect_attempts": CONNECTS_MAX,
            "ping_interval": PING_S,
            "user_credentials": address.creds,
        }
        match address.login:
            case (user, password):
                options |= {"user": user, "password": password}
            case (token,):
                options["token"] = token
        if address.tls or address.ca:
            options["tls"] = context = ssl.create_default_context(cafile=address.ca)
            if address.cert:
                context.load_cert_chain(address.cert, address.key)
        return options

    async def _complains(self, error: Exception) -> None:
        """The client hears of something that no call returns. Raised here, an error ends its first
        connecting, which no further try can mend."""
        self._complaint = error
        if not self._is_connected and _refusal(error):
            raise error

    def _translated(self, error: Exception) -> Exception:
        from nats.errors import NoServersError
        from nats.js.errors import APIError

        if isinstance(error, APIError):
            return self._answered(error.err_code, error.code, error.description)
        if isinstance(error, NoServersError):
            error = self._complaint or error
        why = str(error).removeprefix("nats: ") or type(error).__name__
        if refusal := _refusal(error):
            return TargetRefused(f"{self.name} {refusal}")
        return TargetUnavailable(f"{self.name} cannot be reached: {why}")

    def _answered(self, number: int | None, status: int | None, why: str | None) -> Exception:
        """The error that an answer of JetStream is."""
        said = f"{self.name}: {why or 'JetStream does not answer'}"
        if number in WRONG_LAST:
            return WrongLast(said)
        if number in NO_JETSTREAM:
            return TargetRefused(f"{said}: start its servers with JetStream, `nats-server -js`")
        if number in FULL:
            return TargetUnavailable(
                f"{said}: it takes nothing more. Raise max_bytes of the stream, or remove from it "
                "what all its readers have"
            )
        if number == NOT_CLUSTERED:
            return TargetRefused(f"{said}: a single server keeps one copy, --replicas 1")
        if number == NO_PEERS:
            return TargetUnavailable(f"{said}: fewer servers than copies, see --replicas")
        if number is not None and status is not None and 400 <= status < 500:
            return TargetRefused(said)
        return TargetUnavailable(said)

    async def _end(self) -> None:
        with contextlib.suppress(Exception):
            most = CLOSE_S_MAX / 2 if self._is_connected else CLOSE_FAILED_S_MAX
            await asyncio.wait_for(self.client.close(), most)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
