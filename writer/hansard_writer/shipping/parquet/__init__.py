"""A directory of Parquet files as a target, for DuckDB, Spark and Trino."""

from collections.abc import Callable

from hansard.errors import ConfigError
from hansard_writer.shipping.target import Target
from hansard_writer.shipping.targets import TargetOptions


def opener(text: str, options: TargetOptions) -> Callable[[], Target]:
    """What connects to the target that a text names."""
    raise ConfigError(f"{text} ({options}): this target is not there yet")
