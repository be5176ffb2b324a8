"""Which signed checkpoints a log fits and which it does not: so where another history begins. Pure.

It is told; who signed what, and what a tree comes to, others find out.
"""

from hansard_writer.proof.verifying.findings import Fork


class Histories:
    """What came of the checkpoints whose signatures count, the log's own and an outsider's."""

    def __init__(self) -> None:
        self.covered = 0  # the largest size that fits
        self.own_differs: int | None = None  # the smallest that does not
        self._own_fits = 0  # the largest before the first that does not
        self._given_fits: set[int] = set()
        self._given_differs: int | None = None

    def own(self, size: int, *, fits: bool | None) -> None:
        """Note one of the log's own; None where it cannot be told."""
        if fits is False:
            self.own_differs = min(self.own_differs or size, size)
        if fits:
            self.covered = max(self.covered, size)
            if self.own_differs is None:
                self._own_fits = max(self._own_fits, size)

    def given(self, size: int, *, fits: bool | None) -> None:
        """Note one that somebody else has kept."""
        if fits is False:
            self._given_differs = min(self._given_differs or size, size)
        if fits:
            self._given_fits.add(size)
            self.covered = max(self.covered, size)

    @property
    def fork(self) -> Fork | None:
        """Where another history begins, as far as signed checkpoints tell. What the log itself has
        signed tells nothing about a size before which an outsider's differs: whoever forked it
        had the key."""
        own, given = self.own_differs, self._given_differs
        if own is None and given is None:
            return None
        differs = min(size for size in (own, given) if size is not None)
        fits = [size for size in self._given_fits if size < differs]
        if own == differs:
            fits.append(self._own_fits)
        return Fork(max(fits, default=0), differs)
