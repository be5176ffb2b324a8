"""The child process: questions on stdin, answers on stdout, a line of JSON each.

It is the one process of the view in which apsw opens the log; it ends with its stdin.
What an answer is, is `answers`' business.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any, Final

from hansard.errors import AuditLogError, ConfigError
from hansard_writer.viewing.answers import Answers

WRONG: Final = "wrong"  # what was asked for breaks a rule
UNUSABLE: Final = "unusable"  # there is no log, or none that can be read
FAILED: Final = "failed"  # the log cannot be read now


def main() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes stdin
    answers = Answers(Path(sys.argv[1]))
    for line in sys.stdin.buffer:
        question, arguments = json.loads(line)
        # Its escapes hold whatever text there is, lone surrogates too.
        answer = json.dumps(_answer(answers, question, arguments), separators=(",", ":"))
        sys.stdout.buffer.write(answer.encode("ascii") + b"\n")
        sys.stdout.buffer.flush()


def _answer(answers: Answers, question: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": getattr(answers, question)(**arguments)}
    except ConfigError as error:
        return {UNUSABLE: str(error)}
    except ValueError as error:
        return {WRONG: str(error)}
    except AuditLogError as error:
        return {FAILED: str(error)}


if __name__ == "__main__":
    main()
