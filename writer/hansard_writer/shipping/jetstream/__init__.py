"""NATS JetStream as a target, and as a source on the way to another one."""

from collections.abc import Callable

from hansard.errors import ConfigError
from hansard_writer.shipping.target import Target
from hansard_writer.shipping.targets import TargetOptions


def opener(text: str, options: TargetOptions) -> Callable[[], Target]:
    """What connects to the target that a text names."""
    raise ConfigError(f"{text} ({options}): this target is not there yet")
