"""Replies of HTTP calls, received within a time and a size, and without secrets."""

import socket
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from knowledge.providers.base.redaction import Redactor
from knowledge.providers.base.reply import EmptyReply

MOST_BYTES = 16 * 2**20  # of a reply; a long list of models has one or two million
_MOST_OF_ERROR = 2**16  # bytes that are searched for secrets; a message shows far less
_CONNECTED = ("connect_tcp.complete", "start_tls.complete")  # events of the HTTP library


def receive(send: Callable[[Any], Any], request: Any, *, seconds: float, redactor: Redactor) -> Any:
    """The complete reply; every byte of it passes here before it is used.

    The library's time-outs hold for each read, so that a server which sends a byte at a time never
    meets them; here the call as a whole ends in `seconds`.

    Args:
        send: sends a request and returns a response whose body is not read yet.
        request: of the HTTP library (httpx).
        seconds: for the whole call, from the connection to the last byte.
        redactor: takes secrets out of body and headers.

    Raises:
        TimeoutError: the call did not end in time.
        EmptyReply: too large, or compressed in a way that was not asked for.
    """
    request.headers["accept-encoding"] = "identity"
    with _Deadline(seconds) as deadline:
        request.extensions = {**request.extensions, "trace": deadline.watch}
        try:
            response = send(request)
            try:
                body = _read(response)
            finally:
                response.close()
        except Exception:
            if not deadline.passed:
                raise
        # A body without a length seems complete when its connection is cut.
        if deadline.passed:
            raise TimeoutError(f"no complete reply within {seconds:g} s")
    body = _decompressed(body, response.headers.get("content-encoding", "identity"))
    if response.status_code >= 400:
        body = body[:_MOST_OF_ERROR]
    headers = [
        (name, redactor.text(value))
        for name, value in response.headers.multi_items()
        if name not in ("content-encoding", "content-length", "transfer-encoding")
    ]
    return type(response)(
        response.status_code, headers=headers, content=redactor.body(body), request=request
    )


class _Deadline:
    """Cuts the connection of a call when its time is over."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *end: object) -> None:
        self._timer.cancel()

    def watch(self, event: str, info: dict[str, Any]) -> None:
        """Take the socket of a new connection, as the HTTP library reports it."""
        if event.endswith(_CONNECTED):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.passed:
                self._cut()

    def _expire(self) -> None:
        self.passed = True
        self._cut()

    def _cut(self) -> None:
        if self._socket is None:
            return
        with suppress(OSError):  # closed already
            # A shutdown wakes the thread that waits in a read; closing the socket would not. Of the
            # plain socket, since that of TLS is in use by the other thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _read(response: Any) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        _check_size(body)
    return bytes(body)


def _decompressed(body: bytes, encoding: str) -> bytes:
    """The body as it was before compression; some servers compress whatever one asks for."""
    if encoding.lower() in ("identity", ""):
        return body
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        raise EmptyReply(
            f"the reply is compressed by {encoding!r}, which was not asked for", again=False
        )
    try:
        # 32: gzip and zlib alike, by their headers.
        body = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise EmptyReply(f"the reply's compression is damaged: {error}") from None
    _check_size(body)
    return body


def _check_size(body: bytes | bytearray) -> None:
    if len(body) > MOST_BYTES:
        raise EmptyReply(f"the reply is larger than {MOST_BYTES >> 20} MiB", again=False)
