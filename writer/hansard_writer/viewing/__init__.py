"""`hansard view`: pages on a log, read-only, in a process of their own, on Datasette.

Datasette brings its own SQLite (the standard library's), and POSIX locks belong to a process. So
one SQLite a process: `serving` and what it loads, down to `log_database`, open the log by that one
alone; `answering` and what it loads are a child process, where apsw reads it. What a page shows
comes from the child; only the tables and the SQL of the reader's own come from Datasette.

It imports nothing by itself.
"""

from typing import Final

HOST: Final = "127.0.0.1"
PORT: Final = 8470  # always the same, so that it can be forwarded
VERIFY_EVERY_S: Final = 900.0
