"""Where trust begins: with the keys that somebody outside has kept, or else with writer.pub.

It reads that file, and makes of the log's own entries whose signatures count.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from hansard import directory as layout
from hansard_writer.proof.key_chain import BrokenChain, KeyChain, key_chain
from hansard_writer.proof.keys import KeyUnusable, read_verifier_key
from hansard_writer.proof.signed_note import VerifierKey
from hansard_writer.proof.verifying.findings import Findings
from hansard_writer.proof.verifying.trust import Trust, trust

GIVEN_KEY: Final = "the given key"


class Anchors(NamedTuple):
    """The keys that all trust begins with, none where there is no writer.pub; and whether somebody
    outside has kept them."""

    keys: tuple[VerifierKey, ...]
    are_given: bool

    @property
    def named(self) -> str:
        return GIVEN_KEY if self.are_given else layout.PUBLIC_KEY


def anchors(
    directory: Path, given: tuple[VerifierKey, ...], log_id: str | None, findings: Findings
) -> Anchors:
    """The anchors of a log: what is given, those of this log first. Notes it where there is none
    of it."""
    keys = given
    if not given:
        try:
            keys = (read_verifier_key(directory / layout.PUBLIC_KEY),)
        except FileNotFoundError:
            return Anchors((), are_given=False)
        except KeyUnusable as error:
            findings.add(str(error))
            return Anchors((), are_given=False)
    found = Anchors(keys, bool(given))
    if log_id is None:
        return found
    of_this = [key for key in keys if is_of(key.name, log_id)]
    if not of_this:
        findings.add(
            f"{found.named} is one of another log ({keys[0].name}): this one is hansard/{log_id}"
        )
    others = [key for key in keys if key not in of_this]
    return found._replace(keys=(*of_this, *others))


def is_of(origin: str, log_id: str) -> bool:
    """Whether an origin is of the log with this id."""
    first = f"hansard/{log_id}"
    return origin == first or origin.startswith(f"{first}/")


def trust_from(
    found: Anchors, entries: Iterable[tuple[int, str, str | None]], findings: Findings
) -> Trust:
    """What the anchors lead to, by what entries say of keys. Notes it where that is nothing."""
    chain = chain_from(found, entries, findings)
    check_named(found, chain, findings)
    return trust(chain, found.keys)


def check_named(found: Anchors, chain: KeyChain, findings: Findings) -> None:
    """Note it where a log's entries name none of the anchors."""
    if not any(key in chain.keys for key in found.keys):
        findings.add(
            f"{found.named} is none of the keys that the log's entries name; the last one is "
            f"{chain.current.key}"
        )


def chain_from(
    found: Anchors, entries: Iterable[tuple[int, str, str | None]], findings: Findings
) -> KeyChain:
    """The keys that entries name. Notes it where these do not fit together."""
    try:
        return key_chain(found.keys[0], entries)
    except BrokenChain as error:
        findings.add(str(error))
        return key_chain(found.keys[0], ())
