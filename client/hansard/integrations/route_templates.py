"""Which route a request took, as the framework's own template: ``/users/{id}``, never a path.

Frameworks leave it in the scope or the environ. What they left is read; none of them is imported,
and where one says nothing, or too little, there is no route.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

_BELOW: Final = "/{path}"  # how Starlette writes that a mount takes all paths below it


def asgi_route(scope: Mapping[str, Any], root_path_before: str) -> str | None:
    """Starlette's and FastAPI's, with the mounts in front of it; ``root_path_before`` is the
    scope's ``root_path`` as the server gave it, which each mount has made longer."""
    root_path = scope.get("root_path", "")
    mounted = root_path.removeprefix(root_path_before)
    routes = getattr(scope.get("router"), "routes", ())
    if not mounted:
        return _own_template(scope, routes)
    found = _mounts(routes, mounted)
    if found is None:
        return None
    prefix, routes = found
    return prefix + (_own_template(scope, routes) or _BELOW)


def wsgi_route(environ: Mapping[str, Any], script_name_before: str) -> str | None:
    """Flask's, with what Werkzeug's dispatcher has mounted it at. Flask tells it only while it
    answers: until ``start_response`` has returned."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    if rule is None:
        return None
    mounted = environ.get("SCRIPT_NAME", "").removeprefix(script_name_before)
    return f"{mounted}{rule.rule}"


def _own_template(scope: Mapping[str, Any], routes: Iterable[Any]) -> str | None:
    """The template of the route itself, without its mounts."""
    route = scope.get("route")
    # FastAPI keeps what `include_router` puts in front of a route beside it.
    context = scope.get("fastapi", {}).get("effective_route_context")
    if context is not None and (route is None or context.original_route is route):
        own = getattr(context.starlette_route, "path_format", None) or context.path_format
        return str(own)
    if route is not None and not hasattr(route, "routes"):  # a mount has some
        return getattr(route, "path_format", None)
    # Before 1.0, Starlette told the endpoint alone; FastAPI does so of what is none of its own.
    endpoint = scope.get("endpoint")
    path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
    for each in routes if endpoint is not None else ():
        if getattr(each, "endpoint", None) is endpoint and each.path_regex.match(path):
            return str(each.path_format)
    return None


def _mounts(routes: Iterable[Any], mounted: str) -> tuple[str, Iterable[Any]] | None:
    """The templates of the mounts, one inside the other, that have taken ``mounted``, and the
    routes inside of the last. Its own words cannot be used: ``/{tenant}`` has taken ``/acme``."""
    if not mounted:
        return "", routes
    for each in routes:
        template, inside = getattr(each, "path_format", None), getattr(each, "routes", None)
        if inside is None:
            continue
        if template is None:  # `Host`, which takes nothing of the path
            found, own = _mounts(inside, mounted), ""
        elif match := each.path_regex.match(f"{mounted}/"):
            rest = match["path"]
            found, own = _mounts(inside, f"/{rest}"[:-1]), template.removesuffix(_BELOW)
        else:
            continue
        if found is not None:
            return own + found[0], found[1]
    return None
