"""PostgreSQL as a target: the central store of many logs.

schema              tables, indexes and views; migrations      text
making              has them made, and migrated
rows_to_copy        rows of a batch as binary COPY             pure
packed_edge         the edge of a tree as bytes                pure
connecting          connections, and what they are told
errors              what an error means: try again, or end
shipper_lock        one shipper a log
target              the side that ships
postgresql_far_end  the side that verifies
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from hansard.errors import ConfigError
from hansard_writer.shipping.far_end import FarEnd
from hansard_writer.shipping.target import Target
from hansard_writer.shipping.targets import TargetOptions

if TYPE_CHECKING:
    from hansard_writer.shipping.postgresql.shipper_lock import Backend

EXTRA: Final = "pip install 'hansard[postgres]'"


def opener(text: str, options: TargetOptions) -> Callable[[], Target]:
    """What connects to the database that a URL names. Raises `ConfigError`."""
    _require_library()
    from hansard_writer.shipping.postgresql.connecting import Address
    from hansard_writer.shipping.postgresql.target import PostgresqlTarget

    address = Address(text)
    last: Backend | None = None

    def open_() -> Target:
        nonlocal last
        target = PostgresqlTarget(address, options.partitions, last)
        last = target.backend
        return target

    return open_


def far_end(text: str) -> FarEnd:
    """What was shipped to the database that a URL names. Raises `ConfigError`, `TargetUnavailable`
    and `TargetRefused`."""
    _require_library()
    from hansard_writer.shipping.postgresql.connecting import Address
    from hansard_writer.shipping.postgresql.postgresql_far_end import PostgresqlFarEnd

    return PostgresqlFarEnd(Address(text))


def _require_library() -> None:
    if find_spec("psycopg") is None:
        raise ConfigError(f"psycopg is not installed, and a PostgreSQL target needs it: {EXTRA}")
