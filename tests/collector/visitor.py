"""A visitor of the live pages over a real TLS socket, without a browser: one request a connection."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from .conftest import RunningCollector

FORM = "application/x-www-form-urlencoded"
PATIENCE_SECONDS = 120


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Visitor:
    """Trusts the collector's authority and nobody else; keeps the cookie it was given."""

    collector: RunningCollector
    cookie: str = field(default="")

    @property
    def address(self) -> str:
        serving = json.loads((self.collector.folder / "serving.json").read_text())
        return str(serving["pages_address"])

    def connect(self) -> http.client.HTTPSConnection:
        trusted = ssl.create_default_context(cadata=self.collector.ca.decode())
        return http.client.HTTPSConnection(self.address, context=trusted, timeout=PATIENCE_SECONDS)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent["Cookie"] = f"__Host-llmenv={self.cookie}"
        connection = self.connect()
        try:
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, *, origin: str | None = None, **form: str) -> Answer:
        """As a browser sends a form, from this page unless another origin is given; "" for none."""
        origin = f"https://{self.address}" if origin is None else origin
        named = {"Origin": origin} if origin else {}
        return self.ask("POST", path, urlencode(form), Content_Type=FORM, **named)

    def log_in(self, token: str, place: str = "/") -> Answer:
        answer = self.post("/login", token=token, next=place)
        given = answer.headers.get("Set-Cookie", "")
        if given.startswith("__Host-llmenv="):
            self.cookie = given.removeprefix("__Host-llmenv=").partition(";")[0]
        return answer
