"""Who asks for an administrator's deed, where nobody says: for the entry that it leaves."""

import getpass
import os
import socket


def whoami() -> str:
    """The user of this process, as user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        user = f"uid {os.geteuid()}"
    return f"{user}@{socket.gethostname()}"
