"""What breaks while it is measured costs its own figures, and no other's."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from bench.measuring import processes
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Found


@contextmanager
def surviving(found: Found, what: str) -> Iterator[None]:
    """An exception within the block ends the block only, and ``found`` has it, as what befell
    ``what``; a failure's traceback is shown at once. No process that `processes.started` has made
    there goes on."""
    try:
        yield
    except WrongEntries as error:
        found.wrong.append(f"{what}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever it is, others can be measured
        traceback.print_exc()
        found.failed.append(f"{what}: {_reason(error)}")
    finally:
        processes.end_all()


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):  # of a pipe
        return "a process that was to report has died"
    return f"{type(error).__name__}: {error}"
