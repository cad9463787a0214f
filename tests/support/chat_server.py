"""A real HTTP server on loopback that speaks the chat protocol as badly as a test wants."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass
class Reply:
    """What the server does with one request."""

    content: str | None = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut: bool = False
    delay_seconds: float = 0.0
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: dict[str, int] | None = field(
        default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    )


@dataclass
class ChatServer:
    """Where the server listens, and every request it got: bodies, keys, paths, headers."""

    url: str
    requests: list[Body] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def questions(self) -> list[Body]:
        """The requests that are not probes."""
        return [body for body in self.requests if not is_probe(body)]


def user_text(body: Body, which: int = -1) -> str:
    """The text of a user message."""
    content = [m["content"] for m in body["messages"] if m["role"] == "user"][which]
    return content if isinstance(content, str) else content[0]["text"]


def is_probe(body: Body) -> bool:
    """Whether a request only finds out what the server can do."""
    return '"ready"' in user_text(body, 0)


def asked_organ(body: Body) -> str:
    """The organ that the format hint of a question names."""
    found = re.search(r'"organ": "([^"]+)"', user_text(body, 0))
    assert found, "the question names no organ"
    return found.group(1)


def good_answer(body: Body) -> Reply:
    """A valid answer to whatever is asked."""
    if is_probe(body):
        return Reply('{"ready": true, "list": []}')
    organ = asked_organ(body)
    text = f"The {organ} lies where the {organ} always lies."
    return Reply(json.dumps({"organ": organ, "text": text, "claims": [], "attributes": []}))


@contextmanager
def chat_server(behave: Callable[[Body], Reply] = good_answer) -> Iterator[ChatServer]:
    """Run a server whose answer to each request body `behave` decides."""
    state = ChatServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            data = [{"id": "tiny", "object": "model", "created": 0, "owned_by": "test"}]
            self._send(200, json.dumps({"object": "list", "data": data}).encode(), {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            state.keys.append(self.headers.get("Authorization", ""))
            state.paths.append(self.path)
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            reply = behave(body)
            if reply.delay_seconds:
                threading.Event().wait(reply.delay_seconds)
            if reply.cut:
                self.close_connection = True
                self.connection.close()
                return
            self._send(reply.status, reply.raw or _encoded(body, reply), reply.headers)

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # the client gave up waiting

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a connection that this server cut itself

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _encoded(body: Body, reply: Reply) -> bytes:
    if reply.status >= 400:
        return json.dumps({"error": {"message": reply.content, "type": "test"}}).encode()
    message = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": reply.usage,
        }
    ).encode()
