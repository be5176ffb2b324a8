"""Environment operations: one operation is one entry, timed, `success` or `failed` by itself.

It says when an entry is due. The payload is made by `hansard.outcomes`, commands are run by
`hansard.commands`, and entries recorded by `hansard.audit_log`.
"""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from time import monotonic_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from hansard.entry import Entry
from hansard.errors import InvalidEvent, QueueFull
from hansard.outcomes import (
    FAILED,
    SUCCESS,
    Outcome,
    check_metadata,
    check_name,
    described,
    metadata_in,
    rescued_metadata,
)
from hansard.output import as_bytes, as_text
from hansard.wording import kind_of

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from hansard.audit_log import AuditLog
    from hansard.commands import Argv, Captured, Place

ENV_OPERATION: Final = "env.operation"
LEVELS: Final = {SUCCESS: "info", FAILED: "error"}

ID_CHARS_MAX: Final = 255
NAME_CHARS_MAX: Final = 50


class Environment:
    """One environment of one workflow, for many operations. Made by `AuditLog.environment`."""

    __slots__ = ("log", "node_id", "version_id", "workflow_id")

    def __init__(
        self, log: "AuditLog", workflow_id: str, node_id: str, version_id: str | None
    ) -> None:
        check_name("workflow_id", workflow_id, ID_CHARS_MAX)
        check_name("node_id", node_id, ID_CHARS_MAX)
        if version_id is not None:
            check_name("version_id", version_id, ID_CHARS_MAX)
        self.log = log
        self.workflow_id = workflow_id
        self.node_id = node_id
        self.version_id = version_id

    def operation(self, name: str, *, metadata: Mapping[str, Any] | None = None) -> "Operation":
        """An operation here, as `AuditLog.operation` makes it."""
        return Operation(self, name, metadata)

    start_operation = operation  # where no block ends it

    def __repr__(self) -> str:
        return f"<Environment {self.workflow_id!r} {self.node_id!r} {self.version_id!r}>"


class Operation:
    """One operation on an environment, which becomes one entry when it ends.

    As a block it ends with the block: ``failed`` if an exception leaves it, which goes on up, or
    if a command of `run` failed. Begun by `start_operation` it ends, and is recorded at once,
    with `success` or `failed`. An operation that does not end is not recorded, which is warned of
    when its object is gone.

    By convention ``name`` is one of these, with this ``metadata``; others are allowed:

    ===========  ================================  ===========================================
    name         what is done                      metadata
    ===========  ================================  ===========================================
    create_env   create an environment             python_version, packages, requirements_file
    delete_env   remove its directory
    add_deps     add packages                      packages, requirements_file
    update_deps  upgrade packages                  packages, requirements_file
    remove_deps  remove packages                   packages, requirements_file
    sync         make it what its lock file says
    run          execute code in it                timeout, code
    cleanup      remove idle environments in bulk  idle_hours, deleted
    ===========  ================================  ===========================================

    A failed one's metadata also has ``error``. Until the end more may be put into ``metadata``.
    The duration is a monotonic clock's; the entry's ``created_at`` is the end.

    For one thread or task at a time. ``entry`` is the `Entry`, once it is recorded.
    """

    _owes_its_end = False  # until it is made

    def __init__(
        self, environment: Environment, name: str, metadata: Mapping[str, Any] | None
    ) -> None:
        check_name("name", name, NAME_CHARS_MAX)
        metadata = {} if metadata is None else metadata
        self._metadata_at_start = check_metadata(metadata)
        self._environment = environment
        self._log = environment.log
        encode = environment.log._encoder.encode
        encode(ENV_OPERATION, None, "info", None, None, 0)  # may the type be recorded?
        self.name = name
        self.metadata = dict(metadata)
        self.entry: Entry | None = None
        self._known = Outcome()
        self._is_block = self._has_ended = False
        self._pid = os.getpid()
        self._started_ns = monotonic_ns()
        self._owes_its_end = True

    def __del__(self) -> None:
        if not self._owes_its_end:
            return
        with contextlib.suppress(Exception):  # a finalizer has nobody to raise to
            if os.getpid() == self._pid and not sys.is_finalizing():
                self._complain_of_no_end()

    # --- what is known of it ---

    @property
    def status(self) -> str | None:
        """``success`` or ``failed``, None while neither is said."""
        return self._known.status

    @property
    def stdout(self) -> str | None:
        """All that was captured by now, uncut."""
        return None if self._known.stdout is None else as_text(self._known.stdout)

    @property
    def stderr(self) -> str | None:
        """All that was captured by now, uncut."""
        return None if self._known.stderr is None else as_text(self._known.stderr)

    @property
    def exit_code(self) -> int | None:
        """Of the first command that failed, else of the last; -9 for one killed by signal 9."""
        return self._known.exit_code

    def __repr__(self) -> str:
        state = "has ended" if self._has_ended else "goes on"
        return f"<Operation {self.name!r} {state}, {self.status or 'undecided'}>"

    # --- its end ---

    def success(
        self,
        stdout: str | bytes | None = None,
        stderr: str | bytes | None = None,
        exit_code: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Entry | None:
        """It succeeded, whatever its commands said before.

        What is given replaces what was captured; ``metadata`` is added. Within a block this only
        decides, and returns None; otherwise it records the operation and returns its `Entry`.
        Raises `InvalidEvent` when it has ended already.
        """
        return self._decide(SUCCESS, None, stdout, stderr, exit_code, metadata)

    def failed(
        self,
        error: str | BaseException,
        stdout: str | bytes | None = None,
        stderr: str | bytes | None = None,
        exit_code: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Entry | None:
        """It failed, because of ``error``. The rest as in `success`."""
        if isinstance(error, BaseException):
            error = described(error)
        if not isinstance(error, str):
            raise InvalidEvent(f"error is {kind_of(error)}: it must be a string or an exception")
        return self._decide(FAILED, error, stdout, stderr, exit_code, metadata)

    def __enter__(self) -> Self:
        self._require_open()
        if self._is_block:
            raise InvalidEvent(f"the operation {self.name!r} is a block already: start another")
        self._is_block = True
        self._started_ns = monotonic_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_due(error):
            try:
                self.entry = self._log.record(ENV_OPERATION, self._payload(), level=self._level)
            except Exception as failure:
                if self._must_raise(failure, error):
                    raise
                self._complain(failure)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_due(error):
            try:
                self.entry = await self._log.arecord(
                    ENV_OPERATION, self._payload(), level=self._level
                )
            except Exception as failure:
                if self._must_raise(failure, error):
                    raise
                self._complain(failure)

    # --- its commands ---

    def run(
        self,
        argv: "Argv",
        *,
        check: bool = False,
        timeout: float | None = None,
        cwd: "Place" = None,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,  # noqa: A002 - subprocess's name for it
    ) -> "CompletedProcess[str]":
        """Run a command; its output and exit status become the operation's.

        ``argv`` is a list, never a line for a shell. Standard input is empty, or ``input``. Of
        several commands the outputs follow one another. The result has all of the output; like
        subprocess it waits for whoever holds that open, such as a child in the background.

        Any status but 0 makes the operation ``failed``, and raises
        `subprocess.CalledProcessError` only with ``check``. So do `subprocess.TimeoutExpired`,
        after ``timeout`` seconds and the command's end, and OSError where it cannot be started;
        these are raised always.
        """
        from hansard import commands

        given = self._checked_input(argv, input)
        captured = commands.Captured()
        try:
            commands.run(argv, captured, input=given, timeout=timeout, cwd=cwd, env=env)
        except BaseException as error:
            self._add(captured, described(error))
            raise
        return self._completed(argv, captured, check=check)

    async def arun(
        self,
        argv: "Argv",
        *,
        check: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - as in run()
        cwd: "Place" = None,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,  # noqa: A002
    ) -> "CompletedProcess[str]":
        """`run` for asyncio: it does not block the loop, and a cancellation ends the command."""
        from hansard import commands

        given = self._checked_input(argv, input)
        captured = commands.Captured()
        try:
            await commands.arun(argv, captured, input=given, timeout=timeout, cwd=cwd, env=env)
        except BaseException as error:
            self._add(captured, described(error))
            raise
        return self._completed(argv, captured, check=check)

    # --- inside ---

    def _checked_input(self, argv: object, given: str | bytes | None) -> bytes | None:
        self._require_open()
        if isinstance(argv, Sequence) and not argv:
            raise InvalidEvent(
                "argv is empty: it must name a program, such as ['uv', 'add', 'numpy']"
            )
        if isinstance(argv, str | bytes) or not isinstance(argv, Sequence):
            raise InvalidEvent(
                f"argv is {argv!r:.100}: it must be a list, such as ['uv', 'add', 'numpy']; "
                "for a shell ['sh', '-c', '…']"
            )
        return None if given is None else as_bytes(given)

    def _add(self, captured: "Captured", error: str) -> None:
        self._known.add_command(
            bytes(captured.stdout), bytes(captured.stderr), captured.exit_code, error
        )

    def _completed(
        self, argv: "Argv", captured: "Captured", *, check: bool
    ) -> "CompletedProcess[str]":
        from subprocess import CompletedProcess

        from hansard.commands import failure_of

        exit_code = captured.exit_code or 0
        self._add(captured, failure_of(exit_code))
        stdout, stderr = as_text(bytes(captured.stdout)), as_text(bytes(captured.stderr))
        completed = CompletedProcess([os.fspath(word) for word in argv], exit_code, stdout, stderr)
        if check:
            completed.check_returncode()
        return completed

    def _decide(
        self,
        status: str,
        error: str | None,
        stdout: str | bytes | None,
        stderr: str | bytes | None,
        exit_code: int | None,
        metadata: Mapping[str, Any] | None,
    ) -> Entry | None:
        self._require_open()
        if metadata is not None:
            check_metadata(metadata)
        self._known.replace(stdout, stderr, exit_code)
        self.metadata.update(metadata or {})
        self._known.decide(status, error)
        if self._is_block:
            return None
        self._owes_its_end = False  # whoever is told why it is not recorded needs no warning
        self.entry = self._log.record(ENV_OPERATION, self._payload(), level=self._level)
        self._has_ended = True  # behind QueueFull it may be tried again
        return self.entry

    def _require_open(self) -> None:
        if self._has_ended:
            raise InvalidEvent(
                f"the operation {self.name!r} has ended: it ends once; start another"
            )

    def _is_due(self, error: BaseException | None) -> bool:
        """The block has ended; whether its entry is this process's to record."""
        self._has_ended, self._owes_its_end = True, False
        if error is not None and not (isinstance(error, SystemExit) and not error.code):
            self._known.decide(FAILED, described(error))
        elif self.status is None:
            self._known.decide(SUCCESS)
        return os.getpid() == self._pid  # a child that was forked inside leaves the block too

    @property
    def _level(self) -> str:
        return LEVELS[self.status or SUCCESS]

    def _payload(self) -> orjson.Fragment:
        elapsed_ns = monotonic_ns() - self._started_ns
        metadata: Mapping[str, Any] = self.metadata
        try:
            check_metadata(metadata)
        except Exception as error:  # noqa: BLE001 - values of the caller's may do anything
            metadata = self._rescued_metadata(error)
        names = {
            "workflow_id": self._environment.workflow_id,
            "node_id": self._environment.node_id,
            "version_id": self._environment.version_id,
            "operation": self.name,
        }
        kept = self._log.settings.output_bytes_max
        duration_ms = round(elapsed_ns / 1_000_000, 3)
        return orjson.Fragment(self._known.payload(names, duration_ms, metadata, kept))

    def _rescued_metadata(self, error: Exception) -> dict[str, Any]:
        try:
            metadata, spoiled = rescued_metadata(self.metadata, self._metadata_at_start)
            how = f"entered without {', '.join(spoiled)}, or with the value of the start"
        except Exception:  # noqa: BLE001 - it is no mapping any more
            metadata, how = metadata_in(self._metadata_at_start), "entered with its first metadata"
        self._log._complaints.warn("metadata", "operation %r: %s; %s", self.name, error, how)
        return metadata

    def _must_raise(self, failure: Exception, error: BaseException | None) -> bool:
        """Whether the caller asked for it, and no exception of the block would be hidden."""
        asked = isinstance(failure, QueueFull) or not self._log.settings.best_effort
        return asked and error is None

    def _complain_of_no_end(self) -> None:
        complaints, producer = self._log._complaints, self._log._producer
        complaints.later(
            f"never ended {self.name}",
            "operation %r was never ended and is not recorded: use it as a with block, "
            "or call success() or failed()",
            self.name,
        )
        if not producer.interrupts():  # the collector may come up under the producer's lock
            complaints.say()

    def _complain(self, failure: Exception) -> None:
        self._log._complaints.warn(
            "operation", "operation %r was not recorded: %s", self.name, failure
        )
