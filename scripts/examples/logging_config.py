"""Your loggers, recorded: one handler in the logging configuration, and no other change.

    hansard serve --dir ./audit &
    HANSARD_DIR=./audit python scripts/examples/logging_config.py
    hansard query --dir ./audit

Every line of WARNING and above is an event, and every line of the logger `shop.orders`.
"""

import logging
import logging.config

CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"short": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "short"},
        "audit": {
            "class": "hansard.integrations.logging.AuditHandler",
            # "log": "./audit" names the directory; without it HANSARD_DIR does
            "types": {"shop.orders": "order.line"},  # others: log.<logger>
            "traceback": True,
        },
        "audit_warnings": {
            "class": "hansard.integrations.logging.AuditHandler",
            "level": "WARNING",
        },
    },
    "loggers": {"shop.orders": {"level": "INFO", "handlers": ["audit", "console"]}},
    "root": {"level": "INFO", "handlers": ["console", "audit_warnings"]},
}
CONFIG["loggers"]["shop.orders"]["propagate"] = False  # or a warning of it is recorded twice


def main() -> None:
    logging.config.dictConfig(CONFIG)
    orders = logging.getLogger("shop.orders")
    whose = {"actor": "user:7", "task_id": "order-7"}
    orders.info("order %d is placed", 7, extra={"amount": 3, **whose})
    orders.info("paid", extra={"event_type": "order.paid", "task_id": "order-7"})
    try:
        raise ConnectionError("the printer does not answer")
    except ConnectionError:
        orders.exception("no label", extra={"task_id": "order-7", "password": "never recorded"})
    logging.getLogger("shop.stock").info("on the console only")
    logging.getLogger("shop.stock").warning("only %s left", 2)


if __name__ == "__main__":
    main()
