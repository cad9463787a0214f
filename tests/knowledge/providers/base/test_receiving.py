"""Replies that never end, end late, are compressed or quote a secret, from a real socket."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from knowledge.providers.base import receiving
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.chat import ChatClient
from knowledge.providers.base.provider import ProviderOptions
from knowledge.providers.base.reply import EmptyReply
from knowledge.providers.openai_compatible import PROBE, OpenAICompatible

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Behavior = Callable[[socket.socket], None]


@contextmanager
def socket_server(behave: Behavior) -> Iterator[str]:
    """The address of a server that reads a request and leaves the rest to `behave`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.recv(65536)
                behave(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def trickle(connection: socket.socket, data: bytes) -> None:
    for byte in data * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def slow_headers(connection: socket.socket) -> None:
    trickle(connection, b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 500)


def slow_body(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 90000\r\n\r\n")
    trickle(connection, b" ")


def slow_body_without_length(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"\r\n")
    trickle(connection, b" ")


def silence(connection: socket.socket) -> None:
    time.sleep(3)


def endless_informational(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize(
    "behave",
    [slow_headers, slow_body, slow_body_without_length, silence, endless_informational],
)
def test_a_call_ends_within_its_time(behave: Behavior) -> None:
    options = {"model": "m", "retries": 0, "timeout_seconds": 0.5}
    with socket_server(behave) as url:
        start = time.monotonic()
        provider = OpenAICompatible(ProviderOptions(base_url=url, **options), "")
        with pytest.raises(OSError, match=r"no answer from .* within 0.5 s \(--timeout\)"):
            provider.ask(PROBE, Budget())
        assert time.monotonic() - start < 2


def test_an_endless_body_ends_at_the_limit_of_its_size(monkeypatch) -> None:
    monkeypatch.setattr(receiving, "MOST_BYTES", 2**20)
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b" " * 2**16 + b"\r\n")
            sent += 2**16

    with socket_server(endless) as url:
        provider = OpenAICompatible(ProviderOptions(model="m", base_url=url, retries=3), "")
        with pytest.raises(OSError, match="larger than 1 MiB"):
            provider.ask(PROBE, Budget())
    assert sent < 2**25  # once, without repetitions, but for what sockets hold


def answer(content: bytes, *headers: bytes) -> Behavior:
    def behave(connection: socket.socket) -> None:
        length = b"Content-Length: %d\r\n" % len(content)
        head = HEAD + b"".join(header + b"\r\n" for header in headers)
        connection.sendall(head + length + b"\r\n" + content)

    return behave


def get(url: str, key: str = ""):
    client = ChatClient(ProviderOptions(model="m", base_url=url, timeout_seconds=5.0), key)
    return client._client._client.get(url, headers={"Connection": "close"})


def test_body_and_headers_reach_nobody_before_secrets_are_taken_out() -> None:
    body = json.dumps({"a": ["sk-secret/1"], "sk-secret/1": 5}).encode()
    with socket_server(answer(body, b"X-Key: the SK-SECRET/1.")) as url:
        response = get(url, "sk-secret/1")
    assert response.json() == {"a": ["***"], "***": 5}
    assert response.headers["x-key"] == "the ***."
    assert response.status_code == 200


def test_a_body_without_secrets_stays_as_it_is() -> None:
    body = b'{ "a" : 1e999, "b": "\\ud800" }'
    with socket_server(answer(body)) as url:
        assert get(url, "sk-secret").content == body


def test_a_compressed_body_is_read_and_redacted() -> None:
    body = gzip.compress(b'{"a": "sk-secret"}')
    with socket_server(answer(body, b"Content-Encoding: gzip")) as url:
        assert get(url, "sk-secret").json() == {"a": "***"}


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (gzip.compress(b" " * 2**25), b"gzip", "larger than 16 MiB"),
        (b"no gzip", b"gzip", "compression is damaged"),
        (b"x", b"br", "compressed by 'br', which was not asked for"),
    ],
)
def test_bombs_and_unknown_compressions_are_refused(body, encoding, message) -> None:
    with (
        socket_server(answer(body, b"Content-Encoding: " + encoding)) as url,
        pytest.raises(EmptyReply, match=message),
    ):
        get(url)


def test_an_error_of_the_library_that_quotes_a_reply_holds_no_secret() -> None:
    def garbage(connection: socket.socket) -> None:
        connection.sendall(b"sk-very-secret is no status line\r\n\r\n")

    with socket_server(garbage) as url:
        provider = OpenAICompatible(
            ProviderOptions(model="m", base_url=url, retries=0), "sk-very-secret"
        )
        with pytest.raises(OSError, match="cannot reach") as fault:
            provider.ask(PROBE, Budget())
    assert "secret" not in str(fault.value)
