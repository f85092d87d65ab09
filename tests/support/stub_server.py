"""A real OpenAI-compatible server on loopback that misbehaves as it is told, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request. `drop` closes the connection after that many bytes of the body.

    `delay` is in seconds before the reply, `trickle` in seconds after each byte of it; `repeat` sends the body so many
    times. `calls` are functions that the model calls, by name with their arguments.
    """

    text: str = "Answer: rain"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish: str = "stop"
    reasoning: str | None = None
    delay: float = 0.0
    raw: bytes | None = None
    drop: int | None = None
    trickle: float = 0.0
    repeat: int = 1
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def body(self, model: str) -> bytes:
        """The body as it is sent: `raw`, an error object, or a completion."""
        if self.raw is not None:
            return self.raw
        if self.status >= 400:
            return json.dumps({"error": {"message": self.text, "type": "error", "code": None}}).encode()
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "reasoning_content": self.reasoning}
        if self.calls:
            message["tool_calls"] = [
                {"id": f"call-{place}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
                for place, (name, given) in enumerate(self.calls)
            ]
        details = {"reasoning_tokens": 5 if self.reasoning else 0}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "completion_tokens_details": details}
        choice = {"index": 0, "finish_reason": self.finish, "message": message}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        return json.dumps({**whole, "usage": usage}).encode()


def _parts(body: bytes, reply: Reply) -> Iterator[bytes]:
    if reply.trickle:
        return (body[at : at + 1] for at in range(len(body)))
    return (body for _ in range(reply.repeat))


def _read(kind: str, body: bytes) -> dict[str, Any]:
    """A request's fields: of a JSON object, or of a form, where a file is (name, content)."""
    if kind.startswith("application/json"):
        return dict(json.loads(body))
    form = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    fields: dict[str, Any] = {}
    for part in form.walk():
        name, file = part.get_param("name", header="content-disposition"), part.get_filename()
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = (file, content) if file else content.decode()
    return fields


Script = Callable[[dict[str, Any], int], Reply]


class Stub:
    """The server, while the context lasts. `script(request, number)` says what to do; `asked` is every request."""

    def __init__(self, script: Script | None = None, *, delay: float = 0.0) -> None:
        self.script = script or (lambda request, number: Reply(delay=delay))
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Message] = []  # their names in any case
        self.paths: list[str] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Stub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(stub) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler's own self is the request
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body in one packet: two would wait for the client's delayed acknowledgement.
            wbufsize = -1

            def do_POST(self) -> None:
                request = _read(self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"])))
                with stub._lock:
                    number = len(stub.asked)
                    stub.asked.append(request)
                    stub.headers.append(self.headers)
                    stub.paths.append(self.path)
                    stub._now += 1
                    stub.most_at_once = max(stub.most_at_once, stub._now)
                reply = stub.script(request, number)
                time.sleep(reply.delay)
                with stub._lock:
                    stub._now -= 1
                self._send(reply, request.get("model", ""))

            def _send(self, reply: Reply, model: str) -> None:
                body = reply.body(model)
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) * reply.repeat))
                self.end_headers()
                for part in _parts(body[: reply.drop], reply):
                    self.wfile.write(part)
                    self.wfile.flush()
                    time.sleep(reply.trickle)
                self.close_connection = reply.drop is not None

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True  # The client has gone: that is what some tests do.

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler
