"""Dead producers' spools on a host whose writer is elsewhere: a living producer's process sends
them, as the writer of a directory does for those beside it. Loaded only there."""

from hansard.adopting.adopter import Adopter

__all__ = ["Adopter"]
