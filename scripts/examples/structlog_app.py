"""structlog's events, recorded and rendered: one processor in the chain.

HANSARD_DIR=./audit python scripts/examples/structlog_app.py
"""

import structlog

from hansard.integrations.structlog import AuditProcessor

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        AuditProcessor(),  # before what renders
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
)


def main() -> None:
    log = structlog.get_logger()
    with structlog.contextvars.bound_contextvars(actor="user:7", request="r-1"):
        log.info("order placed", event_type="order.placed", task_id="order-7", amount=3)
        try:
            raise ConnectionError("the printer does not answer")
        except ConnectionError:
            log.exception("no label", task_id="order-7")


if __name__ == "__main__":
    main()
