"""The manual page hansard(1), out of the commands' own help, the settings, the exit codes. Pure.

It knows click's commands and troff's macros (man 7 man); what a command does it does not know.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click

import hansard
from hansard import directory as layout
from hansard.settings import DIRECTORY_VARIABLE, ENVIRONMENT_PREFIX, SETTINGS_FILE, Settings

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "writer" / "hansard.1"
LINE_CHARS: Final = 80  # of the source, for whoever reads a change of it
DEFAULT_DIRECTORY: Final = "~/.local/state/hansard"

FILES: Final = {
    layout.DATABASE: "The log, a SQLite database: for every reader, and for the writer to change.",
    SETTINGS_FILE: "Settings, one a line, by their names; an environment variable beats them.",
    f"{layout.SPOOL}/": "What producers have recorded and no writer has entered yet.",
    layout.CHECKPOINT: "The newest signed checkpoint.",
    layout.KEY: "The private key that checkpoints are signed with.",
    layout.PUBLIC_KEY: "Its public half, by which anybody can check them.",
    layout.CURVE_KEY: "How this directory's clients or writer are known to other hosts.",
    layout.CURVE_ALLOWED: "Which other hosts' clients may do what.",
    layout.SHIPPING: "How far which target of `hansard ship` has got.",
}
EXAMPLE: Final = "Example:"
SEE_ALSO: Final = ("sqlite3(1)", "systemd.service(5)", "zmq_curve(7)")

_CODE: Final = re.compile(r"`([^`]+)`")
_OPTION: Final = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")  # in prose, where no line may break it
_EXIT_CODE: Final = re.compile(r"(\d+) ([^,.]+)")
_AS_TYPED: Final = str.maketrans(
    {"-": "\\-", "'": "\\(aq", "`": "\\(ga", "~": "\\(ti", '"': "\\(dq", "^": "\\(ha"}
)
_SPECIAL: Final = re.compile(r"[^\x20-\x7e\n]")


def page(command: click.Group) -> str:
    """The whole page, as troff takes it."""
    context = click.Context(command, info_name=command.name)
    about, _, exits = (command.help or "").partition("Exit codes:")
    summary, *more = _paragraphs(about)
    lines = [
        '.\\" Made by scripts/generate.py of the help of the commands: change that.',
        f'.TH HANSARD 1 "" "hansard {hansard.__version__}" "User Commands"',
        ".nh",  # a name that is broken is none
        ".ad l",
        ".SH NAME",
        f"hansard \\- {_prose(summary[0].lower() + summary[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        "\\fBhansard\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]",
        ".br",
        "\\fBhansard\\fR \\fB\\-\\-version\\fR | \\fB\\-\\-help\\fR",
        ".SH DESCRIPTION",
        *_help("\n\n".join(more)),
        ".SH OPTIONS",
        *_options(command, context),
        ".SH COMMANDS",
        *_commands(command, context),
        ".SH ENVIRONMENT",
        *_environment(),
        ".SH FILES",
        f"In the log's directory, by default {_bold(DEFAULT_DIRECTORY)}:",
        *(line for name, meaning in FILES.items() for line in _item(_bold(name), meaning)),
        ".SH EXIT STATUS",
        *(line for each in _EXIT_CODE.findall(exits) for line in _item(*each)),
        ".SH EXAMPLES",
        *_help(command.epilog or ""),
        ".SH SEE ALSO",
        ", ".join(re.sub(r"(.+)(\(\d\))", r"\\fB\1\\fR\2", each) for each in SEE_ALSO),
    ]
    return "\n".join(lines) + "\n"


# --- its parts ---


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    """Each command, and those of a group behind it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
        words = "COMMAND" if isinstance(command, click.Group) else " ".join(arguments)
        yield f'.SS "{_text(below.command_path)} [OPTIONS] {_text(words)}'.rstrip() + '"'
        yield from _help(command.help or "")
        yield from _options(command, below)
        yield from _help(command.epilog or "")
        if isinstance(command, click.Group):
            yield from _commands(command, below)


def _argument(argument: click.Argument) -> str:
    choices = getattr(argument.type, "choices", None)
    name = argument.metavar or ("|".join(choices) if choices else (argument.name or "").upper())
    return name if argument.metavar or argument.nargs == 1 else f"{name}..."


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for each in command.get_params(context):
        if isinstance(each, click.Option) and not each.hidden:
            names = ", ".join(_bold(name) for name in (*each.opts, *each.secondary_opts))
            metavar = _text(_metavar(each)).replace("|", "|\\:")  # where a line may be broken
            value = "" if each.is_flag or each.count else f" \\fI{metavar}\\fR"
            yield from _item(names + value, (each.help or "") + _condition(each))


def _metavar(option: click.Option) -> str:
    choices = getattr(option.type, "choices", None)
    return option.metavar or ("|".join(choices) if choices else option.type.name.upper())


def _condition(option: click.Option) -> str:
    if option.required:
        return " [required]"
    default: Any = option.default
    if option.show_default is not True or default in (None, ()):
        return ""
    if option.secondary_opts:
        default = (option.opts if default else option.secondary_opts)[0]
    return f" [default: {default}]"


def _environment() -> Iterator[str]:
    yield from _item(_bold(DIRECTORY_VARIABLE), "The log's directory.")
    for each in fields(Settings):
        default = "" if each.default is None else f" [default: {_shown(each.default)}]"
        name = ENVIRONMENT_PREFIX + each.name.upper()
        meaning = each.metadata["meaning"]
        yield from _item(_bold(name), f"{meaning[0].upper()}{meaning[1:]}.{default}")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


# --- troff ---


def _help(text: str) -> Iterator[str]:
    """Click's help: paragraphs, and blocks behind ``\\b`` whose lines stay as they are."""
    for number, paragraph in enumerate(_paragraphs(text)):
        first, _, block = paragraph.partition("\n")
        if number:
            yield ".PP"
        if first.strip() == "\b":
            yield from (".nf", *map(_line, textwrap.dedent(block).split("\n")), ".fi")
        elif paragraph.startswith(EXAMPLE):
            yield from (
                EXAMPLE,
                ".PP",
                ".nf",
                "  " + _text(paragraph.removeprefix(EXAMPLE).strip()),
                ".fi",
            )
        else:
            yield _prose(paragraph)


def _paragraphs(text: str) -> list[str]:
    cleaned = "\n".join(line.rstrip() for line in text.strip(" \n").split("\n"))
    return [each for each in re.split(r"\n\n+", cleaned) if each]


def _item(name: str, meaning: str) -> Iterator[str]:
    yield from (".TP", name, _prose(meaning))


def _prose(text: str) -> str:
    """With what stands between backticks bold."""
    parts = _CODE.split(" ".join(text.split()))
    text = "".join(
        _bold(part) if at % 2 else _OPTION.sub(lambda name: _text(name[0]), _escaped(part))
        for at, part in enumerate(parts)
    )
    lines = textwrap.wrap(text, LINE_CHARS, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(_guarded, lines))


def _bold(text: str) -> str:
    return f"\\fB{_text(text)}\\fR"


def _line(text: str) -> str:
    return _guarded(_text(text))


def _text(text: str) -> str:
    """To be typed as it stands: troff would make a hyphen of a minus, and a quote curly."""
    return _escaped(text).translate(_AS_TYPED)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\[u{ord(found[0]):04X}]", text.replace("\\", "\\e"))


def _guarded(line: str) -> str:
    """A line that begins like a request is none."""
    return "\\&" + line if line.startswith((".", "'")) else line
