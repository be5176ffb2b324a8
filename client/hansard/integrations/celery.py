"""Hansard in Celery: ``audit(app)``, once, where the app is made, for its workers and its senders.

Each step of a task is an event under the task's id. Within a task, what it records has the task's
id, and the correlation id and actor of who sent it; these travel in the message's headers. It
decides nothing of a task's: no signal receiver here raises, and none waits but at a worker's end.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Final, NamedTuple

import orjson

try:
    from celery import signals, states
except ImportError as error:
    raise ImportError(
        "hansard.integrations.celery needs Celery: pip install 'hansard[celery]'"
    ) from error

from hansard import AuditLog, ConfigError, bound
from hansard.complaints import Complaints
from hansard.context import bound_now
from hansard.integrations import LogOrDirectory, shared_log
from hansard.integrations import celery_event as says
from hansard.wording import kind_of

RECEIVED_MAX: Final = 4_096  # tasks whose connection is remembered in a worker's main process

_RUN: Final = "_hansard_run"  # on the request of a task that runs


def audit(
    app: Any,
    log: LogOrDirectory = None,
    *,
    published: bool = False,
    arguments: bool = False,
    results: bool = False,
    tracebacks: bool = False,
    register_tasks: bool | None = None,
) -> "CeleryAudit":
    """Record what becomes of the tasks of ``app``, as ``celery.task.received``, ``started``,
    ``succeeded``, ``failed``, ``retried`` and ``revoked``. To be called in the module that makes
    the app, so that workers and whoever sends tasks do.

    ``log`` is an `AuditLog`, a directory, or None for the one that `AuditLog` finds. What a task is
    given and what comes of it is recorded by choice alone: ``arguments`` by their names, so that
    those in ``mask_fields`` are masked, ``results``, ``tracebacks``; each is bounded. So is
    ``published``, the sender's side. ``register_tasks`` makes each task known to a log that wants
    that; None does so where the settings have ``enforce_tasks``.

    What was recorded is delivered when a worker's process ends, prefork children included. To call
    it again for an app replaces what was chosen. Raises `ConfigError` for a log that cannot be
    used.
    """
    if not hasattr(app, "conf"):
        raise ConfigError(f"audit() is given {kind_of(app)}: it must be the Celery app itself")
    chosen = CeleryAudit(
        app,
        shared_log(log),
        published=published,
        arguments=arguments,
        results=results,
        tracebacks=tracebacks,
        register_tasks=register_tasks,
    )
    chosen.connect()
    return chosen


class _Run(NamedTuple):
    """A task that runs in this process."""

    bound: bound
    began_s: float


Receiver = Callable[..., None]


def _guarded(receiver: Receiver) -> Receiver:
    """A fault in here is a warning, and the task goes on."""

    @functools.wraps(receiver)
    def guarded(self: "CeleryAudit", *args: Any, **named: Any) -> None:
        try:
            receiver(self, *args, **named)
        except Exception as error:  # noqa: BLE001 - nothing of the log's reaches the task
            self.complaints.warn("celery", "%s: %s", receiver.__name__, error)

    return guarded


class CeleryAudit:
    """The receivers of Celery's signals for one app. `audit` makes it."""

    def __init__(
        self,
        app: Any,
        log: AuditLog,
        *,
        published: bool,
        arguments: bool,
        results: bool,
        tracebacks: bool,
        register_tasks: bool | None,
    ) -> None:
        # `current_app` is a proxy, and tasks have the app itself
        self.app = getattr(app, "_get_current_object", lambda: app)()
        self.log = log
        self.complaints = Complaints()
        self._received: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._published, self._arguments = published, arguments
        self._results, self._tracebacks = results, tracebacks
        enforced = log.settings.enforce_tasks
        self._registers = enforced if register_tasks is None else register_tasks
        allowed = log.settings.event_types
        missing = [each for each in says.EVENT_TYPES if allowed and each not in allowed]
        if missing:
            raise ConfigError(
                f"event_types of {log.directory} lacks {', '.join(missing)}, which audit() of "
                "Celery records: add them"
            )

    def connect(self) -> None:
        """Receive Celery's signals, in the place of whoever did so for this app before."""
        receivers = (
            (signals.before_task_publish, self.send_along),
            (signals.after_task_publish, self.published),
            (signals.task_received, self.received),
            (signals.task_prerun, self.started),
            (signals.task_postrun, self.ended),
            (signals.task_success, self.succeeded),
            (signals.task_failure, self.failed),
            (signals.task_retry, self.retried),
            (signals.task_revoked, self.revoked),
            (signals.worker_process_shutdown, self.flush),
            (signals.worker_shutdown, self.flush),
        )
        for signal, receiver in receivers:
            uid = f"hansard {id(self.app)}"
            signal.disconnect(dispatch_uid=uid)
            signal.connect(receiver, weak=False, dispatch_uid=uid)

    # --- the sender ---

    @_guarded
    def send_along(self, headers: Any = None, **_: Any) -> None:
        """A message is about to be sent: who it is for, and in which connection."""
        known = bound_now()
        if not isinstance(headers, dict) or says.HEADER in headers or known is None:
            return
        along = {says.ACTOR: known.who(), says.CORRELATION_ID: _bound_correlation_id()}
        along = {name: value for name, value in along.items() if value is not None}
        if along:
            headers[says.HEADER] = along

    @_guarded
    def published(self, sender: Any = None, headers: Any = None, **about: Any) -> None:
        """A message has been sent."""
        if self._published and isinstance(headers, Mapping) and "id" in headers:
            request = {**headers, "delivery_info": {"routing_key": about.get("routing_key")}}
            self._record(says.PUBLISHED, str(sender), request, {})

    # --- the worker's main process ---

    @_guarded
    def received(self, request: Any, **_: Any) -> None:
        """A worker has taken a message; a task may wait there for its time."""
        if request.app is self.app:
            self._register(request.id, request.name)
            self._received[request.id] = says.kept(request.request_dict)
            if len(self._received) > RECEIVED_MAX:
                self._received.popitem(last=False)
            self._record(says.RECEIVED, request.name, request.request_dict, {})

    @_guarded
    def revoked(
        self, sender: Any, request: Any, *, terminated: bool, signum: Any, expired: bool, **_: Any
    ) -> None:
        """A task will not run, or not to its end."""
        if sender.app is self.app:
            why = says.revocation_shown(terminated=terminated, signal=signum, expired=expired)
            self._record(says.REVOKED, sender.name, vars(request), why)

    # --- where the task runs ---

    @_guarded
    def started(self, sender: Any, task_id: str, args: Any, kwargs: Any, **_: Any) -> None:
        """A task is about to run here: from now on, all that is recorded here is its."""
        if sender.app is not self.app:
            return
        request = sender.request
        known = vars(request)
        along = says.carried(known)
        binding = bound(
            task_id=task_id,
            actor=along.get(says.ACTOR),
            correlation_id=self._correlation_id(along, known),
        )
        # Noted before: a soft time limit that comes up between must not leave it for the next task.
        setattr(request, _RUN, _Run(binding, perf_counter()))
        binding.__enter__()
        if request.is_eager:
            self._register(task_id, sender.name)
        shown = says.arguments_shown(sender.run, args, kwargs) if self._arguments else None
        self._record(
            says.STARTED, sender.name, known, {} if shown is None else {"arguments": shown}
        )

    @_guarded
    def succeeded(self, sender: Any, result: Any, runtime: float | None = None, **_: Any) -> None:
        """A task has returned."""
        if sender.app is self.app:
            what: dict[str, Any] = self._duration(sender.request, runtime)
            if self._results:
                what["result"] = says.value_shown(result)
            self._record(says.SUCCEEDED, sender.name, vars(sender.request), what)

    @_guarded
    def failed(self, sender: Any, task_id: str, exception: Any, **about: Any) -> None:
        """A task has raised; or, in the main process, its time was up or its process was lost."""
        if sender.app is not self.app:
            return
        request = sender.request  # of a lost process or a hard time limit, there may be none
        known = vars(request) if request.id == task_id else self._received.get(task_id)
        known = {"id": task_id} if known is None else known
        what = {**self._duration(request), "error": says.error_shown(exception)}
        if self._tracebacks and about.get("einfo") is not None:
            what["traceback"] = str(about["einfo"].traceback)[-says.TRACEBACK_CHARS_MAX :]
        self._record(says.FAILED, sender.name, known, what)

    @_guarded
    def retried(self, sender: Any, request: Any, reason: Any = None, **_: Any) -> None:
        """A task is to run again."""
        if sender.app is self.app:
            what = {**self._duration(request), **says.retry_shown(reason)}
            self._record(says.RETRIED, sender.name, vars(request), what)

    @_guarded
    def ended(self, sender: Any, state: Any = None, **_: Any) -> None:
        """A task has run, whatever came of it; of two outcomes there is no other signal."""
        self._received.pop(sender.request.id, None)
        run = vars(sender.request).pop(_RUN, None)
        if run is None:
            return
        event_type = {states.REJECTED: says.REJECTED, states.IGNORED: says.IGNORED}.get(state)
        try:
            if event_type is not None:
                request = vars(sender.request)
                took = {"duration_ms": _ms(perf_counter() - run.began_s)}
                self._record(event_type, sender.name, request, took)
        finally:
            run.bound.__exit__(None, None, None)

    @_guarded
    def flush(self, **_: Any) -> None:
        """A process of a worker ends; prefork children run no other hook."""
        self.log.flush(self.log.settings.close_timeout)

    # --- inside ---

    def _record(
        self, event_type: str, name: str, request: Mapping[str, Any], what: Mapping[str, Any]
    ) -> None:
        along = says.carried(request)
        payload = {**says.about(name, request), **what}
        if (correlation_id := self._correlation_id(along, request)) is not None:
            payload[says.CORRELATION_ID] = correlation_id
        self.log.record(
            event_type,
            payload,
            level=says.LEVELS.get(event_type, "info"),
            actor=along.get(says.ACTOR),
            task_id=request["id"],
        )

    def _correlation_id(self, along: Mapping[str, str], request: Mapping[str, Any]) -> str | None:
        """The sender's, else that of where it is run or sent, else the id of the first task."""
        given = along.get(says.CORRELATION_ID) or _bound_correlation_id()
        return given or request.get("root_id")

    def _register(self, task_id: str, name: str) -> None:
        if self._registers:
            self.log.register_task(task_id, task=name)

    @staticmethod
    def _duration(request: Any, runtime_s: float | None = None) -> dict[str, Any]:
        run = getattr(request, _RUN, None)
        if runtime_s is None and run is not None:
            runtime_s = perf_counter() - run.began_s
        return {} if runtime_s is None else {"duration_ms": _ms(runtime_s)}


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 3)


def _bound_correlation_id() -> str | None:
    """The one that is bound here, as text."""
    known = bound_now()
    text = known.fields.get(says.CORRELATION_ID) if known is not None else None
    if text is None:
        return None
    value = orjson.loads(b"{" + text + b"}")[says.CORRELATION_ID]
    return value if isinstance(value, str) else None
