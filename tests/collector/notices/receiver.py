"""A receiver of webhooks on loopback, which does as it is told: takes, fails, redirects, hangs up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a-secret-of-the-tests-0123456789"


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def is_signed(self, secret: str = SECRET) -> bool:
        """As a receiver works it out, from the documentation and not from our code."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        return self.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


@dataclass
class Receiver:
    """`answers` are used up one by one; then everything is taken."""

    answers: list[int | str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    certificate: tuple[Path, Path] | None = None
    """Files of a certificate and its key, for HTTPS."""

    def __enter__(self) -> Self:
        receiver, self.released = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                receiver.answer(self)

            def do_GET(self) -> None:
                receiver.received.append(Received("GET " + self.path, {}, b""))

            def log_message(self, *_: object) -> None:
                """Not on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.server.server_port}/hook"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        told = self.answers.pop(0) if self.answers else 204
        if told == "close":
            handler.close_connection = True
            return
        if told == "slow":
            self.released.wait(60)
            return
        handler.send_response(int(told))
        if 300 <= int(told) < 400:
            handler.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        if told == 429:
            handler.send_header("Retry-After", "7")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
