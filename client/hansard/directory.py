"""The layout of a log's directory: names, modes, and socket paths that fit.

It makes directories and answers questions about them. It opens no database and no sockets.
"""

import contextlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Final

from hansard.errors import ConfigError

DATABASE: Final = "log.db"
LOCK: Final = "writer.lock"
SPOOL: Final = "spool"
RESERVE: Final = "reserve"
KEY: Final = "writer.key"  # private
NEXT_KEY: Final = "writer.key.new"  # one that is to take its place
PUBLIC_KEY: Final = "writer.pub"
CHECKPOINT: Final = "checkpoint"
VERIFIED: Final = "verified"
RESTORING: Final = "restoring"  # a backup on its way in
RESTORE_PLAN: Final = f"{RESTORING}/plan.json"  # once that is decided
ASIDE_PREFIX: Final = "before-restore-"  # of the folder with the log that was there
MIGRATION_BACKUP_PREFIX: Final = f"{DATABASE}.before-v"
BACKFILL_LOCK: Final = "backfill.lock"
IMPORT_SUFFIX: Final = ".import"  # in the spool: the lock of an import
IMPORT_WORKERS_SUFFIX: Final = ".workers"  # and that of its workers
CURVE_KEY: Final = "curve.key"  # private: how other hosts know this one over tcp
CURVE_PUBLIC: Final = "curve.pub"
CURVE_ALLOWED: Final = "curve.allowed"  # whose keys may do what
SHIPPING: Final = "shipping"  # how far which target has got
OWNERS: Final = "owner.token"  # whoever can read it is the owner of a shared log
PUSH_SOCKET: Final = "push.sock"
ACK_SOCKET: Final = "ack.sock"

PRIVATE_DIRECTORY_MODE: Final = 0o700
PRIVATE_FILE_MODE: Final = 0o600
GROUP_DATABASE_MODE: Final = 0o640
SHARED_DIRECTORY_MODE: Final = 0o2750
SHARED_SPOOL_MODE: Final = 0o3730
SHARED_FILE_MODE: Final = 0o660

SOCKET_PATH_BYTES_MAX: Final = 107  # sun_path holds 108 with the final NUL: man 7 unix

_OCTAL_ESCAPE: Final = re.compile(r"\\([0-7]{3})")  # a blank in a mount point: man 5 proc
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "ocfs2", "smb3", "smbfs", "virtiofs"}
)


def prepare_for_client(directory: Path) -> None:
    """Make the directory and its spool where they are missing; the writer may come later.

    Raises `ConfigError` when nothing recorded there could ever reach a writer.
    """
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(
            f"{directory} is not a directory: name another with --dir or HANSARD_DIR"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"cannot make {directory}: {error.strerror}; make it, or name another with --dir or "
            "HANSARD_DIR"
        ) from error
    if not os.access(directory, os.X_OK):
        raise ConfigError(foreign_directory(directory))
    with contextlib.suppress(OSError):  # read-only: the producer finds no usable spool, and says so
        (directory / SPOOL).mkdir(mode=PRIVATE_DIRECTORY_MODE, exist_ok=True)


def foreign_directory(directory: Path) -> str:
    """Says whose directory it is and how to be let in."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    return (
        f"{directory} belongs to {_owner(directory)} (mode {mode:04o}) and lets this "
        f"user (uid {os.geteuid()}) not in: start its writer with `hansard serve --group GROUP` "
        "and add this user to that group"
    )


def foreign_owner(directory: Path, does_what: str) -> str:
    """Says who alone does something with a directory, such as ``migrates its log``."""
    return (
        f"{directory} belongs to {_owner(directory)}, who alone {does_what}: run this as that "
        f"user, not as uid {os.geteuid()}"
    )


def _owner(directory: Path) -> str:
    import pwd

    owner = directory.stat().st_uid
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def spool_file_mode(spool_directory: Path) -> int:
    """The mode of a new spool file: shared with the group where the directory is."""
    shared = spool_directory.stat().st_mode & stat.S_ISGID
    return SHARED_FILE_MODE if shared else PRIVATE_FILE_MODE


def group_of(directory: Path) -> str | None:
    """The group that a directory is shared with; None where it is private, or not there. Raises
    `ConfigError` for one without a name."""
    import grp

    try:
        facts = directory.stat()
    except OSError:
        return None
    if not facts.st_mode & stat.S_ISGID:
        return None
    try:
        return grp.getgrgid(facts.st_gid).gr_name
    except KeyError:
        raise ConfigError(
            f"{directory} is shared with a group that has no name ({facts.st_gid}): give it one"
        ) from None


class SocketPaths:
    """The ipc endpoints of a directory, whatever the length of its path.

    A path too long for a socket address goes through ``/proc/self/fd/N``, so this object holds
    the directory open and MUST live as long as its sockets.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor: int | None = None
        base = str(directory)
        if len(os.fsencode(directory / PUSH_SOCKET)) > SOCKET_PATH_BYTES_MAX:
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            base = f"/proc/self/fd/{self._descriptor}"
        self.push = f"ipc://{base}/{PUSH_SOCKET}"
        self.ack = f"ipc://{base}/{ACK_SOCKET}"

    def close(self) -> None:
        """Let the directory go, once the sockets are closed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_lock_file(directory: Path) -> dict[str, Any]:
    """What the last writer wrote into its lock: pid, epoch, run_id (hex), started_at.

    Empty when there is no such file, or it cannot be read.
    """
    try:
        content = json.loads((directory / LOCK).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def a_writer_lives(directory: Path) -> bool:
    """Whether some process holds the writer's lock at this moment."""
    import fcntl

    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # not ours to read: assume the better
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def silent_writer(directory: Path, when: str) -> str:
    """Says that a writer lives and did not answer, such as ``in time``; empty when none lives."""
    pid = read_lock_file(directory).get("pid")
    if pid is None or not a_writer_lives(directory):
        return ""
    return (
        f"the writer of {directory} (pid {pid}) runs, but did not answer {when}: "
        "it is busy, perhaps in a named operation"
    )


def require_local(directory: Path) -> None:
    """Raises `ConfigError` where no log can be."""
    kind = network_file_system(directory)
    if kind is not None:
        raise ConfigError(
            f"{directory} lies on a network file system ({kind}), where SQLite's locks cannot "
            "be trusted: name a directory on a local disk"
        )


def network_file_system(directory: Path) -> str | None:
    """The type of the network file system that holds ``directory``, or None for a local one."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return None  # not Linux: cannot tell
    best, kind = "", None
    resolved = str(directory.resolve())
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = _OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), left.split()[4])
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind if kind in _NETWORK_FILE_SYSTEMS else None
