"""The site's views, sync and async."""

from collections.abc import Iterator

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

import hansard
from django_site.shop.models import Order
from hansard.integrations.django.configuration import log


def silent(request: HttpRequest) -> HttpResponse:
    """Records nothing, and asks for nobody."""
    return HttpResponse("silent")


def order(request: HttpRequest, pk: int) -> HttpResponse:
    """Makes an order, and never looks at the user."""
    Order.objects.create(pk=pk)
    log().record("order.placed", {"pk": pk})
    return HttpResponse("placed")


async def aorder(request: HttpRequest, pk: int) -> HttpResponse:
    """The same, async."""
    await Order.objects.acreate(pk=pk)
    await request.auser()  # type: ignore[attr-defined]
    await log().arecord("order.placed", {"pk": pk})
    return HttpResponse("placed")


async def asilent(request: HttpRequest) -> HttpResponse:
    """Records in the event loop, where nobody may be asked for."""
    await sync_to_async(lambda: None)()
    log().record("loop.event", {})
    return HttpResponse("silent")


def binding(request: HttpRequest) -> HttpResponse:
    """Knows better who it is."""
    hansard.bind(actor="service:7", tenant="acme")
    return HttpResponse("bound")


def failing(request: HttpRequest) -> HttpResponse:
    """Fails."""
    raise ValueError("no such order")


def missing(request: HttpRequest) -> HttpResponse:
    """There is none."""
    raise Http404("none")


def streaming(request: HttpRequest) -> StreamingHttpResponse:
    """Answers in pieces."""

    def pieces() -> Iterator[str]:
        yield "a"
        yield "b"

    return StreamingHttpResponse(pieces())


urlpatterns = [
    path("silent", silent),
    path("asilent", asilent),
    path("orders/<int:pk>", order),
    path("aorders/<int:pk>", aorder),
    path("binding", binding),
    path("failing", failing),
    path("missing", missing),
    path("streaming", streaming),
]
