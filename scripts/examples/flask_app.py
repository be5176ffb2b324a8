"""A Flask application whose every request is in the audit log, with who it was.

hansard serve --dir ./audit &
HANSARD_DIR=./audit gunicorn --pythonpath scripts/examples flask_app:app --workers 2 --preload &
curl -X POST -H 'X-User: alice' -H 'X-Request-ID: r-1' localhost:8000/orders/7
hansard query --dir ./audit --actor user:alice
"""

import flask

import hansard
from hansard.integrations.wsgi import AuditMiddleware

log = hansard.AuditLog()
app = flask.Flask(__name__)
app.wsgi_app = AuditMiddleware(app.wsgi_app, log, exclude=["/healthz"])


@app.before_request
def authenticate() -> None:
    """Whoever authentication says; bound, for all that this request records."""
    if name := flask.request.headers.get("X-User"):
        hansard.bind(actor=f"user:{name}")


@app.post("/orders/<int:number>")
def place_order(number: int) -> dict[str, object]:
    log.record("order.placed", {"order": number})
    return {"order": number}


@app.get("/healthz")
def healthz() -> str:
    return "well"
