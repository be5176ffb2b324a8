"""Where the log is shipped to, and whether it gets there.

Pure: facts in, findings out.
"""

import shlex
from collections.abc import Iterator
from typing import Final

from hansard.wording import counted
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import Facts, ShippingFacts
from hansard_writer.doctor.findings import Finding, action, note, ok
from hansard_writer.shipping.standing import ENDED, FAILED, HELD_UP, KILLED, path_of

LAG_AGE_S_MAX: Final = 600  # in which a target may be away without anybody's doing

SHIPPING: Final = "shipping"


def check_shipping(facts: Facts) -> Iterator[Finding]:
    """Each target; nothing where nobody ever shipped the log."""
    for each in facts.shipping:
        yield _about(facts, each)


def _about(facts: Facts, shipping: ShippingFacts) -> Finding:
    behind = max((facts.log.last if facts.log else shipping.covered) - shipping.shipped_to, 0)
    age_s = (facts.now - shipping.at) / amounts.SECOND
    told = f"{shipping.target} has {shipping.shipped_to:,}"
    if behind:
        told += f", {counted(behind, 'entry', 'entries')} behind"
    if not behind:
        return ok(SHIPPING, told)
    again = facts.command(f"ship {shlex.quote(shipping.target)}")
    told_in = shlex.quote(str(path_of(facts.directory, shipping.target)))
    goes_on = f"goes on (its password?); if that is over, `rm {told_in}`"
    if shipping.state == KILLED:
        return action(SHIPPING, f"{told}; who shipped it was killed", f"{again} {goes_on}")
    if shipping.state == FAILED:
        return action(SHIPPING, f"{told}; shipping ended: {shipping.why}", f"{again} {goes_on}")
    if shipping.state == HELD_UP:
        return (action if age_s > LAG_AGE_S_MAX else note)(
            SHIPPING,
            f"{told}; held up, last tried {amounts.span(age_s)} ago: {shipping.why}",
            "it goes on by itself once the target takes it",
        )
    if shipping.state == ENDED:
        return note(SHIPPING, f"{told}; nobody ships it now", f"{again} {goes_on}")
    return ok(SHIPPING, told)
