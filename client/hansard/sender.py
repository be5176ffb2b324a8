"""The sender: the one thread of a client, and the owner of its connection.

It makes, uses and closes both sockets in its own thread. It decides nothing about what to send:
that is `hansard.transmission`. It waits on events, not on the clock; the exceptions are named
below.
"""

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Final

import zmq

from hansard.complaints import Complaints
from hansard.connection import Connection
from hansard.errors import ConfigError, ProtocolMismatch
from hansard.producer import Producer
from hansard.route import Route
from hansard.served_by import Writer
from hansard.spool import making
from hansard.transmission import Transmission, Verdict

if TYPE_CHECKING:
    from hansard.adopting.adoptee import Adoptee

LOOK_S: Final = 1.0  # for an answer that is overdue
UNSERVED_WARNING_S: Final = 10.0
TEND_S: Final = 1.0  # whether the spool's file is still there, while there is something to do
BACKOFF_S_MIN: Final = 0.01
REFUSALS_SAID: Final = 3  # in a row: a writer that starts or ends may well hang up once
THREAD_START_S_MAX: Final = 1.0
LINGER_S: Final = 0.005  # after a push: what comes meanwhile shares the next frame
TRICKLE_LINGER_S: Final = 0.02  # where little comes: each turn takes a processor from the callers
TRICKLE_EVENTS_MAX: Final = 100  # in a turn: more in a frame make an event hardly cheaper
FRAMES_PER_TURN_MAX: Final = 16  # before answers are looked at again


class Sender:
    """Moves a producer's events to the writer, until it is stopped.

    `start`, `wake` and `stop` may be called from any thread; the rest is the thread's own. The
    thread is a daemon, because a thread that is not would be joined before the exit hooks run;
    what it could not deliver is in the spool.
    """

    def __init__(
        self,
        writer: Writer,
        producer: "Producer | Adoptee",
        complaints: Complaints,
        *,
        adopts: bool = True,
    ) -> None:
        self._writer = writer
        self._adopter = writer.adopter(complaints) if adopts else None
        self._producer = producer
        self._complaints = complaints
        self.transmission = Transmission(producer, complaints)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._claim = threading.Lock()  # of the thread that runs: there is never a second one
        self._claimed = threading.Event()
        self._wake_read = self._wake_write = -1
        self._route: Route | None = None
        self._patience = 1  # how many times as long as usual a silence may take
        self.refusal = ""  # why nobody lets us in, as far as that is known
        self._unserved_since: float | None = None
        self._begun_at = 0.0  # to talk, on the present connection
        self._tends_at = 0.0
        self._refusals = 0
        self._lingers = False
        self._pushed_events = 0  # of the last turn
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
        if self._adopter:
            self._adopter.stop()
        thread = self._thread
        if thread is not None:
            self._write_to_pipe()
            thread.join(timeout)
            if thread.is_alive():
                return False  # it is a daemon, and its pipe stays open for it
            self._close_pipe()
        return True

    def finish_adopting(self, timeout: float) -> None:
        """Wait, up to ``timeout`` seconds, for what was found of dead producers to be sent."""
        if self._adopter and self.served:
            self._adopter.finish(timeout)

    def abandon_after_fork(self) -> None:
        """In a child: the pipe is the parent's; its sockets are left as they are. No lock is
        taken: whoever held it does not live here."""
        if self._adopter:
            self._adopter.abandon_after_fork()
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
                    self._route = self._route or self._writer.route()
                    with Connection(context, self._route, self._wake_read) as connection:
                        self._converse(connection)
                except ConfigError as error:
                    self._note_refusal(str(error))
                except Exception as error:  # noqa: BLE001 - said; the spool keeps what there is
                    self._refusals += 1
                    self.transmission.send_failures += 1
                    self._complaints.crash("the sender starts over after a fault", error)
                self._back_off()
        finally:
            context.destroy(linger=0)
            if self._route:
                self._route.close()

    def _converse(self, connection: Connection) -> None:
        """Talk to one writer, until the connection or the writer is another."""
        transmission = self.transmission
        transmission.begin()
        connection.request(transmission.greeting())
        asked_at = self._begun_at = time.monotonic()
        while not self._stopping:
            self._complaints.say()
            sent_before = transmission.frames_pushed
            blocked = self._push(connection)
            now = time.monotonic()
            if now >= self._tends_at:
                self._tend(connection, now)
            wait = transmission.next_wait(now)
            if wait is not None:
                connection.request(wait)
                asked_at = now
            if transmission.frames_pushed > sent_before and not blocked:
                self._linger(connection, now)
            else:
                self._sleep(connection, blocked=blocked, now=now)
            now = time.monotonic()
            if self._is_over(connection):
                return
            verdict = self._hear(connection, now)
            if verdict is Verdict.GREET_AGAIN:
                return
            if verdict is Verdict.ASK:
                connection.request(transmission.greeting())
                asked_at = now
            if verdict is None and now - asked_at >= self._writer.silence_s * self._patience:
                if self._should_greet_again(connection, asked_at, now):
                    return
                transmission.ask_again()

    def _tend(self, connection: Connection, now: float) -> None:
        """What nobody reports by itself: a spool that was removed, a port that is shut."""
        self._tends_at = now + TEND_S
        self._producer.tend_spool(now)
        has_waited = now - self._begun_at >= UNSERVED_WARNING_S
        if has_waited and self.transmission.welcomed and not connection.carries_frames:
            self._complaints.warn(
                "no frames",
                "%s answers, but events cannot be sent there: see that the network lets this host "
                "reach the port behind that of connect, too; events wait in the spool",
                self._writer.name,
            )

    def _is_over(self, connection: Connection) -> bool:
        """Whether the connection that stood was lost, or none was granted."""
        if connection.is_lost():
            self.transmission.send_failures += 1
            return True
        if connection.refusal:
            self._note_refusal(connection.refusal)
        return bool(connection.refusal)

    def _hear(self, connection: Connection, now: float) -> Verdict | None:
        """What an answer says to do, None where there is none yet: no more is ever asked than one
        thing at a time."""
        reply = connection.reply()
        return None if reply is None else self._judge(reply, now)

    def _judge(self, reply: bytes, now: float) -> Verdict:
        try:
            verdict = self.transmission.on_reply(reply, now)
        except ProtocolMismatch as error:
            self._complaints.warn("protocol", "%s", error)
            verdict = Verdict.GREET_AGAIN
        self._patience = 1
        if self.transmission.welcomed:
            self._refusals = 0
            self.refusal = ""
            if self._adopter:
                self._adopter.start()
            self._unserved_since = None
        elif verdict is Verdict.GREET_AGAIN:
            self._refusals += 1
            self.refusal = self.transmission.refusal
        return verdict

    def _push(self, connection: Connection) -> bool:
        """Push what there is; whether the pipe is full."""
        self._pushed_events = 0
        for _ in range(FRAMES_PER_TURN_MAX):
            frame = self.transmission.next_frame()
            if frame is None:
                return False
            if not connection.push(frame):
                return True
            self.transmission.pushed(frame)
            self._pushed_events += frame.event_count
        return False

    def _linger(self, connection: Connection, now: float) -> None:
        """After a push: let events gather instead of being woken by each. Who waits for an ack
        wakes it all the same; where nobody does and little comes, not even answers wake it."""
        producer = self._producer
        self._lingers = True  # before the look, or a ticket could come in between unseen
        if producer.hurried:
            is_due = self.transmission.wait_is_due(now)
            self._await(connection, 0 if is_due else LINGER_S, blocked=False)
        elif self._pushed_events >= TRICKLE_EVENTS_MAX:
            self._await(connection, LINGER_S, blocked=False)
        elif select.select([self._wake_read], [], [], TRICKLE_LINGER_S)[0]:
            os.read(self._wake_read, 4_096)
        self._lingers = False

    def _sleep(self, connection: Connection, *, blocked: bool, now: float) -> None:
        """Until something happens, or is due."""
        producer, transmission = self._producer, self.transmission
        due = transmission.wakes_at(now)
        timeout = LOOK_S
        if due is not None:
            timeout = max(due - now, 0)
        elif transmission.welcomed and transmission.outstanding is None:
            timeout = 3_600.0  # idle: a record, a stop or the connection's end wakes it
        producer.sender_sleeps = True
        if (not blocked and transmission.has_frame()) or transmission.wait_is_due(now):
            timeout = 0  # it came up between the last look and the flag
        self._await(connection, timeout, blocked=blocked)
        producer.sender_sleeps = False

    def _await(self, connection: Connection, timeout: float, *, blocked: bool) -> None:
        if connection.wait(timeout, blocked=blocked):
            os.read(self._wake_read, 4_096)

    def _should_greet_again(self, connection: Connection, asked_at: float, now: float) -> bool:
        """After a silence: whether to begin anew, on a new connection."""
        transmission = self.transmission
        if not transmission.welcomed:
            self._complain_unserved(asked_at, now)
            is_vain = connection.connected  # to what does not answer; nothing was pushed
        elif transmission.outstanding is None or transmission.run_id is None:
            is_vain = False
        else:
            is_vain = self._writer.is_another_than(transmission.run_id)
        if is_vain:
            self._patience = min(self._patience * 2, self._writer.patience_max)
        return is_vain

    def _complain_unserved(self, asked_at: float, now: float) -> None:
        self.refusal = ""  # this connection was not refused
        self._unserved_since = self._unserved_since or asked_at
        waited = now - self._unserved_since
        if waited >= UNSERVED_WARNING_S and self._producer.waiting:
            self._complaints.warn(
                "unserved",
                "no writer has answered for %d s %s: events wait in the spool; %s",
                waited,
                self._writer.where,
                self._writer.way_out(),
            )

    def _note_refusal(self, why: str) -> None:
        """Nobody there lets us in: said, and tried again with the keys that there are then."""
        self._refusals += 1
        if self._route:
            self._route.close()
            self._route = None
        self.refusal = why
        if self._refusals >= REFUSALS_SAID:
            self._complaints.warn(
                "refused",
                "nothing can be told to %s: %s; events wait in the spool",
                self._writer.name,
                why,
            )

    def _back_off(self) -> None:
        """Between two conversations: at once, but slower after each refusal."""
        self.transmission.welcomed = False
        deadline = time.monotonic()
        if self._refusals:
            deadline += min(
                BACKOFF_S_MIN * 2 ** min(self._refusals, 10), self._writer.backoff_s_max
            )
        while (left := deadline - time.monotonic()) > 0 and not self._stopping:
            if select.select([self._wake_read], [], [], left)[0]:
                os.read(self._wake_read, 4_096)
