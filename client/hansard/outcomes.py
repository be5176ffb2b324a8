"""What is known of an operation, and the payload that it becomes.

Values only: no clock, no log, no commands.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hansard import wire
from hansard.context import CONTEXT_BYTES_MAX
from hansard.errors import InvalidEvent
from hansard.output import as_bytes, keep
from hansard.texts import check_text, encode_payload
from hansard.wording import kind_of

SUCCESS: Final = "success"
FAILED: Final = "failed"

METADATA_BYTES_MAX: Final = 256 << 10
ERROR_BYTES_MAX: Final = 8 << 10
# Leaves room for the other fields, and for what is bound in its context.
PAYLOAD_BYTES_MAX: Final = wire.EVENT_BYTES_MAX - (4 << 10) - CONTEXT_BYTES_MAX


@dataclass(slots=True)
class Outcome:
    """What is known by now. Output is None where there was none to capture."""

    status: str | None = None
    error: str | None = None
    exit_code: int | None = None
    stdout: bytes | None = None
    stderr: bytes | None = None

    def decide(self, status: str, error: str | None = None) -> None:
        """The latest word counts."""
        self.status, self.error = status, error

    def replace(
        self, stdout: str | bytes | None, stderr: str | bytes | None, exit_code: int | None
    ) -> None:
        """What the caller knows better; None leaves it as it is. Raises `InvalidEvent`, and
        nothing changed."""
        for name, output in (("stdout", stdout), ("stderr", stderr)):
            if not isinstance(output, str | bytes | None):
                raise InvalidEvent(f"{name} is {kind_of(output)}: it must be a string or bytes")
        if exit_code is not None:
            if type(exit_code) is not int or abs(exit_code) >= 1 << 31:
                raise InvalidEvent(f"exit_code is {exit_code!r:.100}: it must be an exit status")
            self.exit_code = exit_code
        if stdout is not None:
            self.stdout = as_bytes(stdout)
        if stderr is not None:
            self.stderr = as_bytes(stderr)

    def add_command(self, stdout: bytes, stderr: bytes, exit_code: int | None, error: str) -> None:
        """A command has ended, well if ``error`` is empty. The exit code is that of the first
        command that failed, else of the last."""
        self.stdout = (self.stdout or b"") + stdout
        self.stderr = (self.stderr or b"") + stderr
        if self.status == FAILED:
            return
        self.exit_code = exit_code
        if error:
            self.decide(FAILED, error)

    def payload(
        self, names: Mapping[str, Any], duration_ms: float, metadata: Mapping[str, Any], kept: int
    ) -> bytes:
        """The entry's payload as JSON text. ``names``: its first keys, ``operation`` the last.

        At most ``kept`` bytes are kept of either output, and less where JSON's escapes would make
        the event too large: an operation is never lost for its size.
        """
        if self.error is not None:
            error = keep(as_bytes(self.error), ERROR_BYTES_MAX).text
            metadata = {**metadata, "error": error}
        while True:
            facts, cuts = self._outputs(kept)
            text = encode_payload(
                {
                    **names,
                    "status": self.status,
                    **facts,
                    "exit_code": self.exit_code,
                    "duration_ms": duration_ms,
                    "metadata": metadata,
                    **cuts,
                }
            )
            if len(text) <= PAYLOAD_BYTES_MAX or not kept:
                return text
            kept //= 2

    def _outputs(self, kept: int) -> tuple[dict[str, str | None], dict[str, int | str]]:
        """The outputs as they are entered, and what is said of those that were cut."""
        texts: dict[str, str | None] = {}
        cuts: dict[str, int | str] = {}
        for name, output in (("stdout", self.stdout), ("stderr", self.stderr)):
            if output is None:
                texts[name] = None
                continue
            text, size_bytes, sha256 = keep(output, kept)
            texts[name] = text
            if sha256:
                cuts[f"{name}_bytes"], cuts[f"{name}_sha256"] = size_bytes, sha256
        return texts, cuts


def check_metadata(metadata: Mapping[str, Any]) -> bytes:
    """``metadata`` as JSON text; raises `InvalidEvent` where it has none, or too much."""
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"metadata is {kind_of(metadata)}: it must be a mapping")
    try:
        text = encode_payload({"metadata": dict(metadata)})  # as deep as it will be
    except InvalidEvent as error:
        raise InvalidEvent(str(error).replace("payload", "metadata", 1)) from error
    if len(text) > METADATA_BYTES_MAX:
        raise InvalidEvent(
            f"metadata has {len(text):,} bytes of JSON: at most {METADATA_BYTES_MAX:,} are "
            "allowed; record a reference to large data, not the data"
        )
    return text


def metadata_in(text: bytes) -> dict[str, Any]:
    """What `check_metadata` made text of."""
    metadata: dict[str, Any] = json.loads(text)["metadata"]
    return metadata


def rescued_metadata(
    metadata: Mapping[Any, Any], at_start: bytes
) -> tuple[dict[str, Any], list[str]]:
    """Of metadata that cannot be entered as a whole what can be, key by key, and the keys, as
    Python shows them, whose values cannot. Those have their value of the start, if they had one."""
    first, kept, spoiled = metadata_in(at_start), dict[str, Any](), list[str]()
    size_bytes = 0
    for key, value in list(metadata.items()):
        try:
            text = check_metadata({key: value})
        except Exception:  # noqa: BLE001 - values of the caller's may do anything
            text = b""
        size_bytes += len(text)
        if text and size_bytes <= METADATA_BYTES_MAX:
            kept |= metadata_in(text)
            continue
        size_bytes -= len(text)
        spoiled.append(f"{key!r:.100}")
        if key in first:
            kept[key] = first[key]
    return kept, spoiled


def check_name(argument: str, value: object, chars_max: int) -> None:
    """Raises `InvalidEvent` unless ``value`` is text of 1 to ``chars_max`` characters."""
    if not isinstance(value, str):
        raise InvalidEvent(f"{argument} is {kind_of(value)}: it must be a string")
    if not 1 <= len(value) <= chars_max:
        raise InvalidEvent(
            f"{argument} has {len(value):,} characters: it must have 1 to {chars_max}"
        )
    check_text(argument, value, 4 * chars_max)


def described(error: BaseException) -> str:
    """An exception as the metadata's ``error``."""
    kind = type(error).__name__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a class of the caller's may do anything
        message = "its message could not be made"
    return f"{kind}: {message}" if message else kind
