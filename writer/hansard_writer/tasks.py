"""Which tasks are registered, where the log takes events of registered tasks only.

Pure but for the question whether the log knows a task. It remembers the answers that are yes, and
what the batch registers, which the log cannot know yet.
"""

from collections.abc import Callable
from typing import Final

from hansard import wire
from hansard_writer.decoding import Fault, Run

TASKS_KNOWN_MAX: Final = 100_000  # remembered behind a commit, before starting over


class TaskBook:
    """The tasks in the log and in the batch. ``is_registered`` asks the log."""

    def __init__(self, is_registered: Callable[[str], bool]) -> None:
        self._is_registered = is_registered
        self._known: set[str | None] = {None}

    def faults(self, run: Run) -> dict[int, Fault]:
        """The events of a run whose task is not registered, by index; tasks that the run itself
        registers are known from there on."""
        tasks = run.columns[4]
        unknown = {task for task in set(tasks) - self._known if not self._look_up(task)}
        if not unknown:
            return {}
        faults = {}
        for index, (kind, task) in enumerate(zip(run.kinds, tasks, strict=True)):
            if kind & wire.KIND_TASK:
                self._known.add(task)
                unknown.discard(task)
            elif task in unknown:
                detail = f"task {task!r} is not registered"
                faults[index] = Fault(detail, wire.ORPHAN, task)
        return faults

    def committed(self) -> None:
        """What was registered is in the log: it can be asked again for all that it knows."""
        if len(self._known) > TASKS_KNOWN_MAX:
            self._known = {None}

    def forget(self) -> None:
        """What was looked up was rolled back. MUST NOT be called while a batch registers tasks."""
        self._known = {None}

    def _look_up(self, task: str) -> bool:
        if not self._is_registered(task):
            return False
        self._known.add(task)
        return True
