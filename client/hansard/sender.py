"""The sender: the one thread of a client, and the owner of its sockets.

It makes, uses and closes both sockets in its own thread. It decides nothing about what to send:
that is `hansard.transmission`. It waits on events, not on the clock; the exceptions are named
below.
"""

import contextlib
import os
import select
import struct
import threading
import time
from pathlib import Path
from typing import Final, Self

import zmq

from hansard import directory as layout
from hansard import wire
from hansard.complaints import Complaints
from hansard.errors import ProtocolMismatch
from hansard.producer import Producer
from hansard.spool import making
from hansard.transmission import Transmission, Verdict

SILENCE_S: Final = 1.0  # an answer overdue: look whether another writer has come
UNSERVED_WARNING_S: Final = 10.0
SPOOL_LOOK_S: Final = 1.0  # whether its file is still there, while there is something to do
RECONNECT_MS: Final = 20
RECONNECT_MS_MAX: Final = 200
_MONITOR_EVENT: Final = struct.Struct("=HI")  # event and value: man 3 zmq_socket_monitor
BACKOFF_S_MIN: Final = 0.01
BACKOFF_S_MAX: Final = 1.0
THREAD_START_S_MAX: Final = 1.0
LINGER_S: Final = 0.005  # after a push: what comes meanwhile shares the next frame
FRAMES_PER_TURN_MAX: Final = 16  # before answers are looked at again


class Sender:
    """Moves a producer's events to the writer, until it is stopped.

    `start`, `wake` and `stop` may be called from any thread; the rest is the thread's own. The
    thread is a daemon, because a thread that is not would be joined before the exit hooks run;
    what it could not deliver is in the spool.
    """

    def __init__(self, directory: Path, producer: Producer, complaints: Complaints) -> None:
        self._directory = directory
        self._producer = producer
        self._complaints = complaints
        self.transmission = Transmission(producer, complaints)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._claim = threading.Lock()  # of the thread that runs: there is never a second one
        self._claimed = threading.Event()
        self._wake_read = self._wake_write = -1
        self._paths: layout.SocketPaths | None = None
        self._unserved_since: float | None = None
        self._look_at_spool_at = 0.0
        self._refusals = 0
        self._lingers = False
        self._pipe_lock = threading.RLock()  # a signal handler may wake inside a wake

    @property
    def started(self) -> bool:
        """Whether the thread runs, or has run."""
        return self._thread is not None

    @property
    def served(self) -> bool:
        """Whether a writer has answered on the present connection."""
        return self.transmission.welcomed

    def wake(self) -> None:
        """There is something to do. Starts the thread at the first call."""
        if self._thread is None:
            self._start()
            if self._thread is None and not self._starting.locked():
                return  # it could not be started: the next record tries again
        if self._producer.sender_sleeps or self._lingers:
            self._producer.sender_sleeps = self._lingers = False
            self._write_to_pipe()

    def stop(self, timeout: float) -> bool:
        """End the thread; whether it ended within ``timeout`` seconds."""
        self._stopping = True
        thread = self._thread
        if thread is not None:
            self._write_to_pipe()
            thread.join(timeout)
            if thread.is_alive():
                return False  # it is a daemon, and its pipe stays open for it
            self._close_pipe()
        return True

    def abandon_after_fork(self) -> None:
        """In a child: the pipe is the parent's; its sockets are left as they are. No lock is
        taken: whoever held it does not live here."""
        if self._wake_read >= 0:
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _write_to_pipe(self) -> None:
        with self._pipe_lock, contextlib.suppress(OSError):  # full: it wakes up anyway
            os.write(self._wake_write, b"!")

    def _close_pipe(self) -> None:
        """Under locks: nobody may write to a descriptor that has become another file's, and a
        fork may not come in between."""
        with making, self._pipe_lock:
            descriptors = self._wake_read, self._wake_write
            self._wake_read = self._wake_write = -1
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread is at it, or this one was interrupted in it
        try:
            if self._thread is None and not self._stopping:
                if self._wake_read < 0:
                    self._wake_read, self._wake_write = os.pipe()
                    os.set_blocking(self._wake_read, False)
                    os.set_blocking(self._wake_write, False)
                threading.Thread(target=self._run, name="hansard-sender", daemon=True).start()
                self._claimed.wait(THREAD_START_S_MAX)
        except (OSError, RuntimeError) as error:  # no descriptors, no threads: tried again
            if self._wake_read >= 0:
                self._close_pipe()
            self._complaints.later("no thread", "cannot start the sender: %s", error)
        finally:
            self._starting.release()

    # --- the thread ---

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return  # a signal handler that raised had hidden the first from who started it
        self._thread = threading.current_thread()
        self._claimed.set()
        self._producer.sender_ident = threading.get_ident()
        context = zmq.Context()
        try:
            while not self._stopping:
                try:
                    self._paths = self._paths or layout.SocketPaths(self._directory)
                    with _Sockets(context, self._paths) as sockets:
                        self._converse(sockets)
                except Exception as error:  # noqa: BLE001 - said; the spool keeps what there is
                    self._refusals += 1
                    self.transmission.send_failures += 1
                    self._complaints.crash("the sender starts over after a fault", error)
                self._back_off()
        finally:
            context.destroy(linger=0)
            if self._paths:
                self._paths.close()

    def _converse(self, sockets: "_Sockets") -> None:
        """Talk to one writer, until the connection or the writer is another."""
        transmission = self.transmission
        transmission.begin()
        sockets.request(transmission.greeting())
        asked_at = time.monotonic()
        while not self._stopping:
            self._complaints.say()
            sent_before = transmission.frames_pushed
            blocked = self._push(sockets)
            now = time.monotonic()
            if now >= self._look_at_spool_at:
                self._look_at_spool_at = now + SPOOL_LOOK_S
                self._producer.tend_spool(now)
            wait = transmission.next_wait(now)
            if wait is not None:
                sockets.request(wait)
                asked_at = now
            if transmission.frames_pushed > sent_before and not blocked:
                self._linger(sockets, now)
            else:
                self._sleep(sockets, blocked=blocked, now=now)
            now = time.monotonic()
            if sockets.lost_connection():
                transmission.send_failures += 1
                return
            verdict = self._hear(sockets, now)
            if verdict is Verdict.GREET_AGAIN:
                return
            if verdict is Verdict.ASK:
                sockets.request(transmission.greeting())
                asked_at = now
            if verdict is None and now - asked_at >= SILENCE_S:
                if self._should_greet_again(sockets, asked_at, now):
                    return
                transmission.ask_again()

    def _hear(self, sockets: "_Sockets", now: float) -> Verdict | None:
        """What an answer says to do, None where there is none yet: no more is ever asked than one
        thing at a time."""
        reply = sockets.reply()
        return None if reply is None else self._judge(reply, now)

    def _judge(self, reply: bytes, now: float) -> Verdict:
        try:
            verdict = self.transmission.on_reply(reply, now)
        except ProtocolMismatch as error:
            self._complaints.warn("protocol", "%s", error)
            verdict = Verdict.GREET_AGAIN
        if self.transmission.welcomed:
            self._refusals = 0
            self._unserved_since = None
        elif verdict is Verdict.GREET_AGAIN:
            self._refusals += 1
        return verdict

    def _push(self, sockets: "_Sockets") -> bool:
        """Push what there is; whether the pipe is full."""
        for _ in range(FRAMES_PER_TURN_MAX):
            frame = self.transmission.next_frame()
            if frame is None:
                return False
            if not sockets.push(frame):
                return True
            self.transmission.pushed(frame)
        return False

    def _linger(self, sockets: "_Sockets", now: float) -> None:
        """After a push: let events gather instead of being woken by each. Who waits for an ack
        wakes it all the same."""
        self._lingers = True  # before the look, or a ticket could come in between unseen
        is_urgent = self._producer.hurried and self.transmission.wait_is_due(now)
        sockets.poll(0 if is_urgent else LINGER_S, self._wake_read, blocked=False)
        self._lingers = False
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4_096)

    def _sleep(self, sockets: "_Sockets", *, blocked: bool, now: float) -> None:
        """Until something happens, or is due."""
        producer, transmission = self._producer, self.transmission
        due = transmission.wakes_at(now)
        timeout = SILENCE_S
        if due is not None:
            timeout = max(due - now, 0)
        elif transmission.welcomed and transmission.outstanding is None:
            timeout = 3_600.0  # idle: a record, a stop or the connection's end wakes it
        producer.sender_sleeps = True
        if (not blocked and transmission.has_frame()) or transmission.wait_is_due(now):
            timeout = 0  # it came up between the last look and the flag
        sockets.poll(timeout, self._wake_read, blocked=blocked)
        producer.sender_sleeps = False
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4_096)

    def _should_greet_again(self, sockets: "_Sockets", asked_at: float, now: float) -> bool:
        """After a silence: whether to begin anew, on new sockets."""
        transmission = self.transmission
        if not transmission.welcomed:
            self._complain_unserved(asked_at, now)
            return sockets.connected  # to something that does not answer; nothing was pushed
        if transmission.outstanding is None or transmission.run_id is None:
            return False
        run = layout.read_lock_file(self._directory).get("run_id")
        return run is not None and run != transmission.run_id.hex()

    def _complain_unserved(self, asked_at: float, now: float) -> None:
        self._unserved_since = self._unserved_since or asked_at
        waited = now - self._unserved_since
        if waited >= UNSERVED_WARNING_S and self._producer.waiting:
            self._complaints.warn(
                "unserved",
                "no writer has answered for %d s in %s: events wait in the spool; start one with "
                "`hansard serve --dir %s`",
                waited,
                self._directory,
                self._directory,
            )

    def _back_off(self) -> None:
        """Between two conversations: at once, but slower after each refusal."""
        self.transmission.welcomed = False
        deadline = time.monotonic()
        if self._refusals:
            deadline += min(BACKOFF_S_MIN * 2 ** min(self._refusals, 10), BACKOFF_S_MAX)
        while (left := deadline - time.monotonic()) > 0 and not self._stopping:
            if select.select([self._wake_read], [], [], left)[0]:
                os.read(self._wake_read, 4_096)


class _Sockets:
    """One connection: PUSH for frames, REQ for requests, and a monitor on each."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", paths: layout.SocketPaths
    ) -> None:
        self._asked = False
        self.connected = False
        with contextlib.ExitStack() as made:  # where a later one fails, the earlier ones are closed
            self._push_socket = made.enter_context(_connect(context, zmq.PUSH, paths.push))
            self._ack_socket = made.enter_context(_connect(context, zmq.REQ, paths.ack))
            self._monitors = [
                socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
                for socket in (self._push_socket, self._ack_socket)
            ]
            made.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for socket in (self._push_socket, self._ack_socket):
            socket.disable_monitor()
        for socket in (*self._monitors, self._push_socket, self._ack_socket):
            socket.close(linger=0)

    def push(self, frame: wire.Frame) -> bool:
        """Hand a frame to ZeroMQ; False when its queue is full."""
        try:
            self._push_socket.send_multipart((wire.pack_header(frame), frame.body), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def request(self, message: bytes) -> None:
        """Ask; a request that is still unanswered is given up."""
        self._asked = False
        with contextlib.suppress(zmq.Again):  # a stopped writer's pipe is full: asked again later
            self._ack_socket.send(message, zmq.NOBLOCK)
            self._asked = True

    def reply(self) -> bytes | None:
        """The answer to the last request, None if there is none yet.

        NOBLOCK, because a late answer to an earlier request makes poll say readable.
        """
        if not self._asked:
            return None
        try:
            reply: bytes = self._ack_socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self._asked = False
        return reply

    def lost_connection(self) -> bool:
        """Whether a connection that stood has been lost; also notices one that stands."""
        for monitor in self._monitors:
            while int(monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                event, _ = _MONITOR_EVENT.unpack(monitor.recv_multipart(zmq.NOBLOCK)[0])
                if event == zmq.EVENT_DISCONNECTED:
                    return True
                self.connected = True
        return False

    def poll(self, timeout: float, wake_descriptor: int, *, blocked: bool) -> None:
        """Wait for an answer, a lost connection, a wake-up or, if ``blocked``, for room."""
        interests = [(monitor, zmq.POLLIN) for monitor in self._monitors]
        interests.append((self._ack_socket, zmq.POLLIN))
        if blocked:
            interests.append((self._push_socket, zmq.POLLOUT))
        zmq.zmq_poll([*interests, (wake_descriptor, zmq.POLLIN)], round(timeout * 1_000 + 0.5))


def _connect(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, endpoint: str
) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = wire.PIPE_MESSAGES_MAX
    socket.reconnect_ivl = RECONNECT_MS
    socket.reconnect_ivl_max = RECONNECT_MS_MAX
    if kind == zmq.REQ:
        socket.req_relaxed = socket.req_correlate = True
    socket.connect(endpoint)
    return socket
