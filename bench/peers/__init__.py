"""What people would use instead of Hansard, each by its name, and Hansard beside it.

What each promises of what it has acknowledged goes with its name wherever its rate is shown.
"""

from typing import Final

from bench.peers.bare import Bare
from bench.peers.jetstream import JetStream, Way
from bench.peers.ours import Ours
from bench.peers.peer import Peer, Shape
from bench.peers.peewee_queue import PeeweeQueue
from bench.peers.postgresql import PostgreSQL
from bench.peers.redis_streams import RedisStreams
from bench.peers.stdlib_logging import ByQueue, FileOfEach
from bench.peers.stdlib_sqlite import OneCommitAnEvent, QueueAndThread

COMMIT: Final = "fsync a commit"
EVENT: Final = "fsync an event"
ANSWER: Final = "fsync before each answer"  # several may share it
SECOND: Final = "fsync a second"
TWO_MINUTES: Final = "fsync every 2 min"
NONE: Final = "no fsync"

HANSARD: Final = Ours("Hansard", COMMIT, 1)
SQLITE: Final = OneCommitAnEvent("sqlite3, one commit an event", EVENT, 0.01)
REDIS: Final = RedisStreams("Redis Streams always", ANSWER, 0.03, has_server=True)
JETSTREAM: Final = JetStream(
    "JetStream, publish_async", TWO_MINUTES, 0.2, has_server=True, way=Way.FUTURES
)
JETSTREAM_COUNTED: Final = JetStream("JetStream, acks counted", TWO_MINUTES, 0.75, has_server=True)
POSTGRESQL: Final = PostgreSQL("PostgreSQL INSERT", ANSWER, 0.03, has_server=True)

_ALL: Final[tuple[Peer, ...]] = (
    HANSARD,
    Ours("Hansard sync=True", ANSWER, 0.015, sync=True),
    Bare("bare executemany", COMMIT, 1, Shape.ALONE),
    SQLITE,
    QueueAndThread("sqlite3 behind a queue", EVENT, 0.01, Shape.THREADS),
    PeeweeQueue("peewee SqliteQueueDatabase", EVENT, 0.01, Shape.THREADS),
    ByQueue("logging QueueHandler", NONE, 0.4, Shape.THREADS),
    FileOfEach("logging FileHandler", NONE, 0.75),
    REDIS,
    RedisStreams("Redis Streams always, pipelines of 100", ANSWER, 0.4, has_server=True,
                 pipelined=100),
    RedisStreams("Redis Streams everysec", SECOND, 0.2, has_server=True, appendfsync="everysec"),
    RedisStreams("Redis Streams everysec, pipelines of 100", SECOND, 0.4, has_server=True,
                 appendfsync="everysec", pipelined=100),
    JETSTREAM,
    JETSTREAM_COUNTED,
    JetStream("JetStream, awaited publish", TWO_MINUTES, 0.03, has_server=True, way=Way.AWAITED),
    JetStream("JetStream always, acks counted", EVENT, 0.015, has_server=True,
              sync_interval="always"),
    JetStream("JetStream always, awaited publish", EVENT, 0.01, has_server=True,
              sync_interval="always", way=Way.AWAITED),
    POSTGRESQL,
    PostgreSQL("PostgreSQL COPY of 1,000", COMMIT, 0.75, has_server=True, copied=1_000),
)  # fmt: skip

PEERS: Final[dict[str, Peer]] = {peer.name: peer for peer in _ALL}
