"""Where notices are sent, as collector.toml says, and the secrets that go with it.

An address may be a secret itself, as those of chat services are: nothing but the name of a webhook and the
host of its address is ever shown, logged or audited.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmenv.catalog.texts import LANGUAGES
from llmenv.named_file import refuse_pipes

from llmenv_collector.errors import UsageError
from llmenv_collector.notices.state_change import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmenv_collector.toml_table import Table

KEYS = (
    "name",
    "url",
    "url_file",
    "secret_file",
    "secret_variable",
    "ca_file",
    "body",
    "language",
    "kinds",
    "timeout_seconds",
    "retry_seconds",
    "give_up_hours",
)
REPORT = "report"
KINDS = (*Kind, REPORT)
BODIES = ("notice", "text")
SHORTEST_SECRET = 16
STANDARD_PREFIX = "whsec_"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """One receiver."""

    name: str
    url: str = field(repr=False)
    secret_file: Path | None = None
    secret_variable: str = ""
    ca_file: Path | None = None
    """Who may sign the receiver's certificate; None for the system's authorities."""
    body: str = "notice"
    """`notice` as documented, or `text` for chat services."""
    language: str = "en"
    kinds: frozenset[str] = frozenset(KINDS)
    timeout_seconds: float = 10.0
    retry_seconds: float = 5.0
    """Before the second attempt; doubled with each."""
    give_up_seconds: float = 72 * 3600.0

    @property
    def host(self) -> str:
        """What may be shown of its address."""
        return urlsplit(self.url).hostname or ""

    def secret(self) -> bytes | None:
        """None where it signs nothing.  Raises UsageError, without the secret in it."""
        if self.secret_file is not None:
            return key_of(read_private(self.secret_file), where=str(self.secret_file))
        if self.secret_variable:
            return key_of(os.environ.get(self.secret_variable, ""), where=f"variable {self.secret_variable}")
        return None


def webhooks_of(tables: Sequence[Table]) -> tuple[Webhook, ...]:
    """Raises UsageError, also for a secret that cannot be used."""
    found = tuple(webhook_of(table) for table in tables)
    for one in found:
        one.secret()
    return found


def webhook_of(table: Table) -> Webhook:
    table.require_known(KEYS)
    body = table.one_of("body", BODIES, "notice")
    secret_file, variable = table.text("secret_file", ""), table.text("secret_variable", "")
    if secret_file and variable:
        raise table.error("secret_variable", "a secret is in a file or in a variable, not in both.")
    if body == "notice" and not secret_file and not variable:
        raise table.error(
            "secret_file", "it is missing: notices are signed; name a file or a secret_variable."
        )
    return Webhook(
        name=table.name,
        url=url_of(table),
        secret_file=path_of(table, "secret_file"),
        secret_variable=variable,
        ca_file=authority_of(table),
        body=body,
        language=table.one_of("language", LANGUAGES, "en"),
        kinds=kinds_of(table),
        timeout_seconds=table.number("timeout_seconds", 10, least=0.1, most=60),
        retry_seconds=table.number("retry_seconds", 5, least=0.01, most=3_600),
        give_up_seconds=table.number("give_up_hours", 72, least=0.0001, most=24 * 365) * 3_600,
    )


def url_of(table: Table) -> str:
    """Where to send; encrypted, but to this machine itself."""
    key = "url_file" if "url_file" in table.values else "url"
    if key == "url_file" and "url" in table.values:
        raise table.error("url", "the address is here or in url_file, not in both.")
    path = path_of(table, "url_file")
    url = table.text("url") if path is None else read_private(path)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    # The address may be a secret, so it is not repeated.
    if host is None or port == 0 or re.search(r"\s", url) or parts.username or parts.password:
        raise table.error(key, "it is no address such as https://example.org/hook.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise table.error(key, "it begins with https://; http:// only where it leads to this machine.")
    return url


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def kinds_of(table: Table) -> frozenset[str]:
    chosen = table.texts("kinds")
    for one in chosen:
        if one not in KINDS:
            raise table.error("kinds", f"there is no kind {one!r}; there are {', '.join(KINDS)}.")
    return frozenset(chosen or KINDS)


def authority_of(table: Table) -> Path | None:
    path = path_of(table, "ca_file")
    if path is not None and not path.is_file():
        raise table.error("ca_file", f"there is no file {path}.")
    return path


def path_of(table: Table, key: str) -> Path | None:
    """Relative to the folder of collector.toml."""
    text = table.text(key, "")
    return table.file.parent / text if text else None


def read_private(path: Path) -> str:
    """What a file of its owner alone holds.  Raises UsageError."""
    try:
        refuse_pipes(path)
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path} cannot be read: {why}.") from error
    if mode & OTHERS:
        raise UsageError(f"{path} holds a secret and others may read it: run `chmod 600 {path}`.")
    return text


def key_of(text: str, *, where: str) -> bytes:
    """Bytes of the secret; "whsec_" begins one in base64, as Standard Webhooks writes it."""
    text = text.strip()
    key = text.encode()
    if text.startswith(STANDARD_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(STANDARD_PREFIX), validate=True)
        except binascii.Error:
            raise UsageError(f"{where}: what follows {STANDARD_PREFIX} is no base64.") from None
    if len(key) < SHORTEST_SECRET:
        raise UsageError(
            f"{where}: a secret has at least {SHORTEST_SECRET} bytes; `openssl rand -hex 32` makes one."
        )
    return key
