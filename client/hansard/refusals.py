"""Governance refusals: which decision enters the log, as what payload, and what if it cannot.

Never blocks and never raises for the log's sake: an agent's guard must not fail by its log.
"""

from collections.abc import Mapping
from functools import lru_cache
from time import gmtime, monotonic, strftime, time_ns
from typing import TYPE_CHECKING, Any, Final

from hansard import wire
from hansard.entry import COMMITTED
from hansard.errors import AuditLogError, ClosedError, InvalidEvent
from hansard.producer import DROP, NOT_KEPT
from hansard.settling import Facts
from hansard.texts import check_text
from hansard.wording import kind_of

if TYPE_CHECKING:
    from hansard.audit_log import AuditLog

GOVERNANCE_REFUSAL: Final = "governance.refusal"
REFUSAL_LEVEL: Final = "warning"
REFUSE: Final = "refuse"
DECISIONS: Final = ("allow", "warn", REFUSE)


def record(
    log: "AuditLog", agent_id: str, action: Mapping[str, Any], decision: Mapping[str, Any]
) -> bool:
    """`AuditLog.refusal`."""
    created_at = time_ns()
    payload = refusal_payload(agent_id, action, decision, created_at)
    if payload is None:
        return False
    encode = log._encoder.encode
    data = encode(GOVERNANCE_REFUSAL, payload, REFUSAL_LEVEL, agent_id, None, created_at)
    producer = log._producer
    try:
        if not log._sync:
            is_recorded = producer.append(data, DROP) != NOT_KEPT
        else:
            on_full = None if log.settings.on_full == "block" else DROP
            deadline = monotonic() + log.settings.ack_timeout
            seq, ticket = producer.append_awaited(data, on_full)
            facts = Facts(GOVERNANCE_REFUSAL, created_at, None)
            entry = log._settling.entry(seq, ticket, facts, deadline - monotonic())
            is_recorded = entry.status == COMMITTED
    except ClosedError as error:
        producer.count_unsent()
        log._complaints.warn("closed", "a refusal was not recorded: %s", error)
        return False
    except AuditLogError:  # best_effort is off: but this call's answer is its result
        is_recorded = False
    if not is_recorded:
        log._complaints.say()
    return is_recorded


def refusal_payload(
    agent_id: str,
    action: Mapping[str, Any],
    decision: Mapping[str, Any],
    created_at: int,
) -> dict[str, Any] | None:
    """The payload of a refusal's event; None for a decision that is none.

    Raises `InvalidEvent` naming the argument and the rule.
    """
    if not isinstance(agent_id, str) or not agent_id:
        raise InvalidEvent(
            f"agent_id is {agent_id!r:.100}: it must be a string that names an agent"
        )
    check_text("agent_id", agent_id, wire.ACTOR_BYTES_MAX)
    _require_mapping("action", action, "kind")
    _require_mapping("decision", decision, "decision")
    if not isinstance(action["kind"], str):
        raise InvalidEvent(f"action's kind is {action['kind']!r:.100}: it must be a string")
    if decision["decision"] not in DECISIONS:
        raise InvalidEvent(
            f"decision's decision is {decision['decision']!r:.100}: "
            f"it must be one of {', '.join(DECISIONS)}"
        )
    rule_id, reason = decision.get("rule_id"), decision.get("reason")
    for name, value in (("rule_id", rule_id), ("reason", reason)):
        if value is not None and not isinstance(value, str):
            raise InvalidEvent(f"decision's {name} is {value!r:.100}: it must be a string or None")
    if decision["decision"] != REFUSE:
        return None
    return {
        "action": action,
        "decision": decision,
        "rule_id": rule_id,
        "reason": reason,
        "agent_id": agent_id,
        "timestamp": timestamp(created_at),
    }


def timestamp(at_ns: int) -> str:
    """A time as RFC 3339 text, UTC, cut to microseconds: as the views have it."""
    seconds, ns = divmod(at_ns, 1_000_000_000)
    return f"{_second(seconds)}.{ns // 1_000:06d}Z"


@lru_cache(maxsize=16)  # most refusals of a second share it
def _second(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


def _require_mapping(argument: str, value: object, key: str) -> None:
    if type(value) is not dict and not isinstance(value, Mapping):  # the first alone is fast
        raise InvalidEvent(
            f"{argument} is {kind_of(value)}: it must be a mapping with the key {key!r}"
        )
    if key not in value:
        raise InvalidEvent(f"{argument} has no {key!r}: it must say it")
