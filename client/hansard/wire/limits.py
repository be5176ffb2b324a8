"""Version, kinds and limits of the wire format. Numbers only; who checks them is elsewhere."""

from typing import Final

WIRE_VERSION: Final = 1

KIND_EVENT: Final = 0
KIND_TASK: Final = 1  # registers its task_id; the payload holds the attributes
KIND_UNFIT: Final = 2  # what no event could be made of: a dead letter, and its payload says why
JOINED: Final = 16  # added to the kind: this event and the next are entered together or not at all

TASK_REGISTERED: Final = "hansard.task_registered"  # the event type of that kind, and of no other
ORPHAN: Final = "orphan"  # the reason of a dead letter whose task is not registered
UNFIT: Final = "unfit"  # the reason of one that its producer could make no event of

# Limits of one event. The client refuses what exceeds them; the writer dead-letters it.
EVENT_TYPE_CHARS_MAX: Final = 255
EVENT_TYPE_PATTERN: Final = r"[A-Za-z][A-Za-z0-9_.:/-]*"
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
ACTOR_BYTES_MAX: Final = 1_024
TASK_ID_BYTES_MAX: Final = 1_024
EVENT_BYTES_MAX: Final = 1 << 20
JSON_DEPTH_MAX: Final = 64
INT64_MAX: Final = (1 << 63) - 1

# Limits of one frame: small, so that nobody waits behind a bulk producer's megabytes.
HEADER_BYTES_MAX: Final = 128
FRAME_EVENTS_MAX: Final = 1_000
FRAME_EVENTS_CUT: Final = 250  # what a producer puts into one: a sync caller's waits its turn
FRAME_BYTES_MAX: Final = 256 << 10  # unless one event, or one run of joined events, is larger
RUN_BYTES_MAX: Final = 1 << 20  # of joined events, which travel in one frame
MESSAGE_BYTES_MAX: Final = 2 << 20  # larger than one event or run of any legal size in its frame
PIPE_MESSAGES_MAX: Final = 4
REQUEST_BYTES_MAX: Final = 64 << 10  # unless it is flat, as a call is, whose params are bytes

URGENT_FRAMES: Final = "urgent_frames"  # among a welcome's limits: that their header is understood
WAIT_S: Final = 0.25  # the writer answers every `wait` within this time
RUNS_PER_REPLY_MAX: Final = 1_000

PRODUCER_ID_BYTES: Final = 16

CALL_ID_BYTES: Final = 16
VERIFIER_KEY_CHARS_MAX: Final = 1_024
CALL_VALUE_BYTES_MAX: Final = (1 << 20) - 1_024  # params or result: room for what goes around it
