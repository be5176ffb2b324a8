"""The pages: what an address asks for, what the log is asked, and which template shows it.

Each is also there as JSON, under its address with ``.json`` behind the path. What an answer holds
is decided by `answers`, how it looks by the templates.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlencode

from datasette.utils.asgi import NotFound, Response

from hansard.errors import AuditLogError
from hansard_writer.viewing import payloads, plot
from hansard_writer.viewing.asking import Readers, Wrong
from hansard_writer.viewing.verification import Verification

PAGE_ROWS: Final = 50
PAGE_ROWS_MAX: Final = 200
ARGUMENT_CHARS_MAX: Final = 2_000
STRETCHES: Final = 60  # bars of a plot
SPANS: Final[Mapping[str, float | None]] = {
    "1h": 3_600,
    "6h": 6 * 3_600,
    "24h": 86_400,
    "7d": 7 * 86_400,
    "30d": 30 * 86_400,
    "1y": 365 * 86_400,
    "all": None,
}
SPAN: Final = "24h"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_NUMBER: Final = re.compile(r"\d{1,18}", re.ASCII)

# What an address calls a condition, and what the reader does.
ENTRY_FILTERS: Final[Mapping[str, str]] = {
    "q": "search",
    "type": "event_type",
    "task": "task_id",
    "actor": "actor",
    "level": "level",
    "since": "since",
    "until": "until",
}
OPERATION_FILTERS: Final[Mapping[str, str]] = {
    "q": "search",
    "status": "status",
    "workflow": "workflow_id",
    "node": "node_id",
    "version": "version_id",
    "operation": "operation",
    "since": "since",
    "until": "until",
}
REFUSAL_FILTERS: Final[Mapping[str, str]] = {"agent": "actor", "since": "since", "until": "until"}

Context = dict[str, Any]
View = Callable[..., Awaitable[Any]]


class Pages:
    """The pages on one log. ``readers`` are asked; ``verification`` says how it stands."""

    def __init__(self, readers: Readers, verification: Verification) -> None:
        self._ask = readers.ask
        self._verification = verification

    def routes(self) -> list[tuple[str, View]]:
        """What Datasette looks an address up in."""
        seq = r"(?P<seq>[0-9]{1,18})"
        return [
            (r"^/(?P<json>index\.json)?$", self._page("overview.html", self.overview)),
            *(
                (rf"^/{name}(?P<json>\.json)?$", self._page(f"{template}.html", page))
                for name, template, page in (
                    ("entries", "entries", self.entries),
                    ("operations", "operations", self.operations),
                    ("refusals", "refusals", self.refusals),
                    ("dead-letters", "dead_letters", self.dead_letters),
                    (f"dead-letters/{seq}", "dead_letter", self.dead_letter),
                    ("task", "task", self.task),
                    ("rates", "rates", self.rates),
                    (f"entry/{seq}", "entry", self.entry),
                )
            ),
            (rf"^/entry/{seq}/proof$", self.download_proof),
            (rf"^/entry/{seq}/payload$", self.download_payload),
            (r"^/-/verified$", self.verified),
            (r"^/-/verify$", self.verify),
        ]

    async def around(self) -> Context:
        """What every page shows: which log it is, and what was verified."""
        try:
            log = await self._ask("header")
        except AuditLogError as error:
            log = {"error": str(error)}
        standing = self._verification.standing
        return {"log": log, "standing": asdict(standing) | {"state": standing.state}}

    # --- pages ---

    async def overview(self, request: Any) -> Context:
        """How the log is, at a look."""
        found: Context = await self._ask("overview")
        asked = await self._rates(request.args, SPAN)
        return found | {"rates": asked, **_verification_of(self._verification)}

    async def entries(self, request: Any) -> Context:
        """Entries that meet the conditions."""
        filters, conditions = _conditions(request.args, ENTRY_FILTERS)
        found = await self._ask("entries", conditions=conditions, **_place(request.args))
        known = await self._ask("types")
        return {"filters": filters, "levels": LEVELS, **known, **found}

    async def operations(self, request: Any) -> Context:
        """Environment operations."""
        filters, conditions = _conditions(request.args, OPERATION_FILTERS)
        found = await self._ask("operations", conditions=conditions, **_place(request.args))
        return {"filters": filters, **found}

    async def refusals(self, request: Any) -> Context:
        """What rules have refused."""
        filters, conditions = _conditions(request.args, REFUSAL_FILTERS)
        found = await self._ask("refusals", conditions=conditions, **_place(request.args))
        return {"filters": filters, **found}

    async def dead_letters(self, request: Any) -> Context:
        """What could not be entered."""
        filters, _ = _conditions(request.args, {"reason": "", "returned": ""})
        returned = filters["returned"] == "1"
        found = await self._ask("dead_letters", reason=filters["reason"], returned=returned)
        return {"filters": filters, **found}

    async def dead_letter(self, request: Any) -> Context:
        """One of them."""
        found = await self._ask("dead_letter", id=int(request.url_vars["seq"]))
        if found is None:
            raise NotFound(f"There is no dead letter {request.url_vars['seq']}.")
        return {"letter": found}

    async def task(self, request: Any) -> Context:
        """One task's entries, in their order."""
        task_id = request.args.get("id") or ""
        if not task_id:
            raise NotFound("Name a task: /task?id=…")
        found = await self._ask("task", task_id=task_id, **_place(request.args))
        return {"task_id": task_id, **found}

    async def rates(self, request: Any) -> Context:
        """How many entries of each type, over time."""
        filters, _ = _conditions(request.args, {"type": "", "span": "", "until": ""})
        known = await self._ask("types")
        found = await self._rates(request.args, "all" if not filters["span"] else SPAN)
        return {"filters": filters, "spans": list(SPANS), **known, "rates": found}

    async def entry(self, request: Any) -> Context:
        """One entry: all of it, what is beside it, and its proof."""
        seq = int(request.url_vars["seq"])
        found: Context = await self._ask("entry", seq=seq)
        if found["entry"] is None:
            why = "It was pruned." if seq <= found["pruned_to"] else ""
            raise NotFound(
                f"There is no entry {seq:,}. {why or 'The last one is ' + str(found['last_id'])}"
            )
        found["proof"] = await self._ask("proof", seq=seq)
        if request.url_vars.get("json") is None and found["entry"]["payload"] is not None:
            found["folded"] = payloads.folded(found["entry"]["payload"])
        return found

    async def _rates(self, args: Any, span: str) -> Context:
        named = args.get("span") or span
        if named not in SPANS:
            raise Wrong(f"span is {named!r:.40}: it must be one of {', '.join(SPANS)}")
        until = args.get("until") or None
        found: Context = await self._ask(
            "rates",
            seconds=SPANS[named],
            until=until,
            stretches=STRETCHES,
            event_type=_argument(args, "type"),
        )
        return found | {"span": named}

    # --- what is no page ---

    async def download_proof(self, request: Any) -> Response:
        """The very file that `hansard prove` prints."""
        seq = int(request.url_vars["seq"])
        found = await self._ask("proof", seq=seq, whole=True)
        if found["proof"] is None:
            raise NotFound(found["why"])
        return _download(found["proof"], f"entry-{seq}.tlog-proof")

    async def download_payload(self, request: Any) -> Response:
        """A payload as it was recorded."""
        seq = int(request.url_vars["seq"])
        payload = await self._ask("payload", seq=seq)
        if payload is None:
            raise NotFound(f"Entry {seq:,} has no payload, or was redacted.")
        return _download(payload, f"entry-{seq}.json")

    async def verified(self) -> Response:
        """How verification stands, for who waits for it."""
        return _json(_verification_of(self._verification))

    async def verify(self, request: Any) -> Response:
        """Let it be verified now."""
        if request.method == "POST":
            self._verification.ask()
        return Response.redirect("/", status=303)

    def _page(self, template: str, view: Callable[[Any], Awaitable[Context]]) -> View:
        async def respond(request: Any, datasette: Any) -> Response:
            context = await view(request)
            if request.url_vars.get("json") is not None:
                around = await self.around()
                return _json(around | context)
            html = await datasette.render_template(
                template, context | {"here": _Here(request)}, request=request
            )
            return Response.html(html)

        return respond


class _Here:
    """The page's own address, changed in some of its arguments."""

    def __init__(self, request: Any) -> None:
        self._path = request.path
        self._args = {name: request.args[name] for name in request.args}

    def but(self, **changes: Any) -> str:
        """With these arguments; None takes one away."""
        args = self._args | changes
        kept = {name: value for name, value in args.items() if value not in (None, "")}
        return f"{self._path}?{urlencode(kept)}" if kept else str(self._path)

    @property
    def json(self) -> str:
        """As JSON."""
        path = "/index" if self._path == "/" else self._path
        return f"{path}.json" + (f"?{urlencode(self._args)}" if self._args else "")

    @property
    def first(self) -> str:
        """The newest of them."""
        return self.but(before=None, after=None)

    @property
    def is_first(self) -> bool:
        return not ({"before", "after"} & self._args.keys())

    @property
    def is_live(self) -> bool:
        return self._args.get("live") == "1"


def _verification_of(verification: Verification) -> Context:
    standing = verification.standing
    return {"verification": asdict(standing) | {"state": standing.state}}


def _conditions(
    args: Any, names: Mapping[str, str]
) -> tuple[dict[str, str | None], dict[str, str | None]]:
    """The filters as the page's form has them, and as the reader takes them."""
    filters = {name: _argument(args, name) for name in names}
    return filters, {names[name]: value for name, value in filters.items()}


def _argument(args: Any, name: str) -> str | None:
    value = args.get(name)
    if value is not None and len(value) > ARGUMENT_CHARS_MAX:
        raise Wrong(f"{name} is longer than {ARGUMENT_CHARS_MAX:,} characters")
    return value.strip() or None if value else None


def _place(args: Any) -> dict[str, Any]:
    size = args.get("size") or str(PAGE_ROWS)
    if not _NUMBER.fullmatch(size) or not 1 <= int(size) <= PAGE_ROWS_MAX:
        raise Wrong(f"size is {size!r:.40}: it must be a number from 1 to {PAGE_ROWS_MAX}")
    return {"size": int(size), "before": args.get("before"), "after": args.get("after")}


def _json(content: Any) -> Response:
    text = json.dumps(content, indent=1)  # its escapes hold whatever text there is
    return Response(text, content_type="application/json; charset=utf-8")


def _download(text: str, name: str) -> Response:
    return Response(
        text.encode("utf-8", "surrogatepass"),
        headers={"content-disposition": f'attachment; filename="{name}"'},
        content_type="text/plain; charset=utf-8",
    )


GLOBALS: Final[Mapping[str, Any]] = {
    "plot": plot.plot,
    "ranked": plot.ranked,
    "color_of": plot.color_of,
    "width_said": plot.width_said,
    "OTHERS": plot.OTHERS,
    "NARROW": plot.NARROW,
}
