"""A small hub on loopback: a dataset's files at one revision, by HEAD and GET with ranges, and ways to break."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REVISION = "3bd051123480e80d273ae9e8e9f1653f49010ac7"


@dataclass
class Hub:
    """The server, while the context lasts.

    `cut` closes the connection of the first GETs of a file after that many bytes, one number a GET; `status` answers
    everything alike; `swap` sends other bytes of the same length than it names.
    """

    files: Mapping[str, bytes]
    cut: dict[str, list[int]] = field(default_factory=dict)
    status: int = 200
    swap: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, file, range
    sent: int = 0

    def __enter__(self) -> Hub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler's own self is the request
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                folder, _, name = self.path.partition(f"/resolve/{REVISION}/")
                asked = self.headers.get("Range", "")
                hub.asked.append((self.command, name, asked))
                content = hub.files.get(name)
                if hub.status != 200 or content is None or not folder.endswith("/datasets/BoJack/MMAR"):
                    self.send_response(hub.status if hub.status != 200 else 404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start = int(asked.removeprefix("bytes=").partition("-")[0] or 0)
                self._head(content, start)
                if body:
                    self._body(name, hub.swap.get(name, content)[start:])

            def _head(self, content: bytes, start: int) -> None:
                self.send_response(206 if start else 200)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", REVISION)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content) - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.end_headers()

            def _body(self, name: str, content: bytes) -> None:
                cuts = hub.cut.get(name, [])
                part = content[: cuts.pop(0)] if cuts else content
                hub.sent += len(part)
                self.wfile.write(part)
                self.wfile.flush()
                self.close_connection = len(part) < len(content)

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler
