"""pyarrow, loaded when somebody needs it, and what all our Parquet files have in common.

It knows no columns: exporting and shipping have their own.
"""

from typing import Any, Final, NamedTuple

from hansard.errors import ConfigError

REQUIREMENT: Final = "pyarrow>=16"
ROW_GROUP_ENTRIES_MAX: Final = 50_000
ROW_GROUP_BYTES_MAX: Final = 16 << 20  # of payloads
COMPRESSION: Final = "zstd"


class Arrow(NamedTuple):
    """The package, and its module for Parquet."""

    pa: Any
    parquet: Any


def load_arrow() -> Arrow:
    """Raises `ConfigError` where it is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ConfigError(
            f"Parquet needs pyarrow ({error}): pip install '{REQUIREMENT}', which is what "
            "pip install 'hansard[parquet]' adds"
        ) from error
    return Arrow(pa, parquet)
