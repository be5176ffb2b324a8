"""A Celery app whose tasks are in the audit log, with who sent them, and in which request.

hansard serve --dir ./audit &
mkdir /tmp/queue; export QUEUE=/tmp/queue HANSARD_DIR=./audit
celery --workdir scripts/examples -A celery_worker worker -P prefork -c 2 &
python scripts/examples/celery_worker.py
hansard query --dir ./audit --actor user:alice
"""

import os

from celery import Celery

import hansard
from hansard.integrations.celery import audit

QUEUE = os.environ["QUEUE"]  # a directory, instead of a broker: a line of yours says redis://…

app = Celery("celery_worker", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": QUEUE,
    "data_folder_out": QUEUE,
    "control_folder": f"{QUEUE}/control",
    "polling_interval": 0.1,
}
log = hansard.AuditLog()  # for events of the tasks' own
audit(app, log, published=True, arguments=True)


@app.task
def charge(order: int, card: str, token: str) -> None:
    """What it records has the task's id, and the actor and correlation id of who sent it; the token
    is masked."""
    log.record("order.charged", {"order": order, "card": f"…{card[-4:]}", "token": token})


@app.task(bind=True, max_retries=3)
def ship(self: object, order: int) -> None:
    """Fails once, and is tried again."""
    if self.request.retries == 0:
        raise self.retry(exc=ConnectionError("the carrier does not answer"), countdown=0)
    token = os.environ.get("PAYMENT_TOKEN", "tok_123")
    charge.delay(order, "4111111111111111", token=token)  # of the same request


if __name__ == "__main__":
    with hansard.bound(actor="user:alice", correlation_id="r-1"):
        print(ship.delay(7).id)
    log.flush()
