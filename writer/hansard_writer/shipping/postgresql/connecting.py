"""Connections to PostgreSQL: what they are told, so that a dead peer or a held lock ends in time.

What the URL itself says counts first. It reads and writes no table.
"""

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from hansard.errors import ConfigError
from hansard_writer.shipping.postgresql.errors import translated
from hansard_writer.shipping.target import TargetRefused
from hansard_writer.shipping.targets import without_password

CONNECT_TIMEOUT_S: Final = 10
VERSION_MIN: Final = 160_000  # pg_input_is_valid

_DEFAULTS: Final[Mapping[str, Any]] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 10,  # s; a peer that is gone is found after 25
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms until sent data must be received
    "client_encoding": "utf8",
}
# On the server. It finds a client that is gone as soon, and lets go of what that held. A statement
# may take its time, as to prune and to migrate does; it waits for nobody's lock for long.
_SESSION: Final = """
    SELECT set_config(name, value, false) FROM (VALUES
        ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'),
        ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '30s'),
        ('client_connection_check_interval', '5s'),
        ('idle_in_transaction_session_timeout', %(idle)s),
        ('statement_timeout', '0'), ('lock_timeout', '60s'),
        ('client_min_messages', 'error'), ('TimeZone', 'UTC'),
        ('default_transaction_read_only', %(read_only)s),
        ('synchronous_commit', CASE current_setting('synchronous_commit')
            WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END)
    ) AS settings(name, value)
"""


class Address:
    """Where a database is, and how it is known to others. Raises `ConfigError` for text that is no
    URL of one; it connects to nothing."""

    def __init__(self, text: str) -> None:
        self.name = without_password(text)
        try:
            self._given = conninfo_to_dict(text)
        except psycopg.Error:
            raise ConfigError(
                f"{self.name!r:.200} is no URL of PostgreSQL: write "
                "postgresql://USER@HOST:PORT/DATABASE?PARAMETER=VALUE"
            ) from None
        self.password = self._given.get("password")

    def connect(self, application: str, *, read_only: bool) -> Any:
        """A connection that commits each statement by itself. Raises `TargetUnavailable` and
        `TargetRefused`."""
        facts = {**_DEFAULTS, "application_name": application, **self._given}
        settings = {
            "idle": "0" if read_only else "60s",
            "read_only": "on" if read_only else "off",
        }
        with translated(self.name, self.password):
            connection = psycopg.connect(**facts, autocommit=True)
            try:
                self._require_fit(connection)
                connection.execute(_SESSION, settings)
            except BaseException:
                connection.close()
                raise
            return connection

    def _require_fit(self, connection: Any) -> None:
        version = connection.info.server_version
        if version < VERSION_MIN:
            raise TargetRefused(
                f"{self.name} is PostgreSQL {version // 10_000}: it must be "
                f"{VERSION_MIN // 10_000} or newer"
            )
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise TargetRefused(
                f"{self.name} is a database in {encoding}: make one with ENCODING 'UTF8'"
            )
