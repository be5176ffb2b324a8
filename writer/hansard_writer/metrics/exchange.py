"""HTTP, as much of it as a scraper speaks: a request's head in, a response out. Pure.

One request a connection, GET or HEAD; what carries the bytes is `server`'s business.
"""

from http import HTTPStatus
from typing import Final, NamedTuple

TEXT: Final = "text/plain; charset=utf-8"
HEAD_BYTES_MAX: Final = 8 << 10
END_OF_HEAD: Final = b"\r\n\r\n"

_METHODS: Final = ("GET", "HEAD")


class Response(NamedTuple):
    """What is answered."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


class Request(NamedTuple):
    """What is asked: a path without its query, and which formats are understood."""

    method: str
    path: str
    accept: str


def said(status: HTTPStatus, words: str) -> Response:
    """A response of one line."""
    return Response(status, words.encode() + b"\n")


def read_head(head: bytes) -> Request | Response:
    """The request of a whole head, or what is to be answered to what is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return said(HTTPStatus.BAD_REQUEST, "this speaks HTTP/1")
    method, target, _ = words
    if method not in _METHODS:
        return said(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
    headers = (line.partition(":") for line in lines)
    accepted = [value.strip() for name, _, value in headers if name.lower() == "accept"]
    return Request(method, target.partition("?")[0], ",".join(accepted))


def packed(response: Response, *, with_body: bool = True) -> bytes:
    """The bytes of a response, behind which the connection ends."""
    status = response.status
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(f"Allow: {', '.join(_METHODS)}")
    head = "\r\n".join(lines).encode("latin-1") + END_OF_HEAD
    return head + response.body if with_body else head
