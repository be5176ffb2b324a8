"""A directory of Parquet files as a target, for DuckDB, Spark and Trino.

layout           where what is, and by which names
columns          entries as columns, and back                   pure
facts            what a file says of itself                     pure
rewriting        files of entries, written and written again
storage          files that are whole and durable, also on an object store's mount
holding          one process at a time
log_files        the files of one log, and how they take in a batch
parquet_target   the `Target`
parquet_far_end  the `FarEnd`

What is below this package loads pyarrow; `opener` and `far_end` say how to get it.
"""

from collections.abc import Callable

from hansard_writer.arrow import load_arrow
from hansard_writer.shipping.far_end import FarEnd
from hansard_writer.shipping.target import Target
from hansard_writer.shipping.targets import TargetOptions, path_of


def opener(text: str, options: TargetOptions) -> Callable[[], Target]:
    """What opens the directory that a text names. Raises `ConfigError` without pyarrow."""
    load_arrow()
    from hansard_writer.shipping.parquet.parquet_target import ParquetOpener

    return ParquetOpener(path_of(text), options)


def far_end(text: str) -> FarEnd:
    """The directory that a text names, for reading. Raises `ConfigError` without pyarrow."""
    load_arrow()
    from hansard_writer.shipping.parquet.parquet_far_end import ParquetFarEnd

    return ParquetFarEnd(path_of(text))
