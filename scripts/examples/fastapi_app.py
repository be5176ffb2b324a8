"""A FastAPI application whose every request is in the audit log, with who it was.

hansard serve --dir ./audit &
HANSARD_DIR=./audit uvicorn --app-dir scripts/examples fastapi_app:app --workers 2 &
curl -X POST -H 'X-User: alice' -H 'X-Request-ID: r-1' localhost:8000/orders/7
hansard query --dir ./audit --actor user:alice
"""

from typing import Annotated

from fastapi import Depends, FastAPI, Header

import hansard
from hansard.integrations.asgi import AuditMiddleware

log = hansard.AuditLog()
app = FastAPI()
app.add_middleware(AuditMiddleware, log=log, exclude=["/healthz"])


async def user(x_user: Annotated[str, Header()]) -> str:
    """Whoever authentication says; bound, for all that this request records."""
    hansard.bind(actor=f"user:{x_user}")
    return x_user


@app.post("/orders/{number}")
async def place_order(number: int, who: Annotated[str, Depends(user)]) -> dict[str, object]:
    await log.arecord("order.placed", {"order": number})
    return {"order": number, "by": who}


@app.get("/healthz")
async def healthz() -> str:
    return "well"
