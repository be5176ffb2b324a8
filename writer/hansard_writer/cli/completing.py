"""What a shell is offered for an option's value that the log knows.

It reads as any reader does, and never fails: whoever types is in the middle of a word.
"""

import re
from typing import Any, Final

import click

EVENT_TYPES_MAX: Final = 200


def event_types(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Of the log that is named by now, those that begin so; none where it cannot be read."""
    from hansard import wire
    from hansard.reader import LogReader

    directory: Any = ctx.params.get("directory")
    try:
        with LogReader(directory) as reader:
            found = reader.event_types(begin=incomplete, limit=EVENT_TYPES_MAX)
    except Exception:  # noqa: BLE001 - a traceback would be typed into the command line
        return []
    # A log that was altered may have any text there, and what is offered is typed for a shell.
    return [each for each in found if re.fullmatch(wire.EVENT_TYPE_PATTERN, each)]
