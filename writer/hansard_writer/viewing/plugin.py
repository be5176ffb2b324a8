"""What Datasette is told about the view: routes, templates' words, errors; nothing that writes.

Which plugins others have installed is of no matter here: none of them is let in.
"""

import logging
from typing import Any, Final

from datasette import hookimpl
from datasette.plugins import pm
from datasette.utils.asgi import Base400, Response
from datasette.views.base import DatasetteError

from hansard.errors import ConfigError
from hansard_writer.viewing import text
from hansard_writer.viewing.asking import Unanswered, Wrong
from hansard_writer.viewing.pages import GLOBALS, Pages

_LOG: Final = logging.getLogger("hansard.view")
CELL_CHARS_MAX: Final = 200
_UNWANTED: Final = (
    "datasette.handle_exception",  # prints local variables, a cookie among them
    "datasette.actor_auth_cookie",
    "datasette.publish.heroku",
    "datasette.publish.cloudrun",
)


def register(pages: Pages) -> None:
    """The only plugin, besides Datasette's own that read."""
    for plugin, _ in pm.list_plugin_distinfo():
        if pm.is_registered(plugin):
            pm.unregister(plugin)
    for name in _UNWANTED:
        if pm.has_plugin(name):
            pm.unregister(name=name)
    pm.register(_Plugin(pages), "hansard_view")


class _Plugin:
    """Datasette's hooks."""

    __name__ = "hansard_view"  # Datasette expects a module

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    @hookimpl  # type: ignore[untyped-decorator]
    def register_routes(self) -> Any:
        return self._pages.routes()

    @hookimpl  # type: ignore[untyped-decorator]
    def extra_template_vars(self) -> Any:
        return self._pages.around

    @hookimpl  # type: ignore[untyped-decorator]
    def skip_csrf(self) -> bool:
        return True  # `guard` looks at cookie and origin

    @hookimpl  # type: ignore[untyped-decorator]
    def prepare_jinja2_environment(self, env: Any) -> None:
        env.trim_blocks = env.lstrip_blocks = True
        env.globals.update(GLOBALS)
        env.filters.update(
            visible=text.visible,
            pieces=text.pieces,
            one_line=text.one_line,
            moment=text.moment,
            time=text.time_tag,
            size=text.bytes_said,
            duration=text.duration_said,
        )

    @hookimpl  # type: ignore[untyped-decorator]
    def render_cell(self, value: Any) -> Any:
        """Recorded text in a table, as it is shown elsewhere."""
        if not isinstance(value, str):
            return None
        cut = value[:CELL_CHARS_MAX]
        return text.visible(cut) + ("…" if len(cut) < len(value) else "")

    @hookimpl  # type: ignore[untyped-decorator]
    def handle_exception(self, datasette: Any, request: Any, exception: Exception) -> Any:
        async def respond() -> Response:
            status, message = _told(exception)
            if request.path.endswith(".json"):
                return Response.json({"error": message, "status": status}, status=status)
            html = await datasette.render_template(
                "problem.html", {"status": status, "message": message}, request=request
            )
            return Response.html(html, status=status)

        return respond


def _told(exception: Exception) -> tuple[int, str]:
    """The status and what to say; of a fault of ours no more than that there was one."""
    if isinstance(exception, Wrong):
        return 400, str(exception)
    if isinstance(exception, Unanswered | ConfigError):
        return 503, str(exception)
    if isinstance(exception, Base400):
        said = str(exception.args[0]) if exception.args else ""
        return exception.status, "There is no such page." if said in ("404", "") else said
    if isinstance(exception, DatasetteError):
        return exception.status, str(exception.message)
    _LOG.error("a page could not be made", exc_info=exception)
    return 500, "This page could not be made: the reason is on the view's stderr."
