"""Sends one body to one webhook over HTTP, once.

Certificates are verified, a redirect is not followed, proxies of the environment are not used, the answer's
body is not read, and nothing takes longer than the webhook allows.  What went wrong is one phrase, in which
no address and no secret stands.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from llmenv_collector.errors import UsageError
from llmenv_collector.notices import signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_collector.notices.webhook import Webhook

LONGEST_WAIT_SECONDS = 3_600.0


@dataclass(frozen=True)
class Attempt:
    """What became of it."""

    is_delivered: bool
    outcome: str
    wait_seconds: float = 0.0
    """How long the receiver asked to be left alone; 0 for nothing."""


class Sender:
    """One for all webhooks; each attempt has a connection of its own."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    async def send(self, webhook: Webhook, body: bytes, *, notice_id: str) -> Attempt:
        try:
            secret = webhook.secret()
            context = ssl.create_default_context(cafile=webhook.ca_file)
        except UsageError as error:
            return Attempt(is_delivered=False, outcome=str(error))
        except OSError as error:
            return Attempt(is_delivered=False, outcome=f"the ca_file cannot be used: {error.strerror}")
        headers = signature.headers(body, notice_id=notice_id, seconds=int(self._now()), secret=secret)
        headers |= {"Content-Type": "application/json", "User-Agent": "llmenv-collector"}
        try:
            return await self._post(webhook, body, headers, context)
        except TimeoutError:
            return Attempt(is_delivered=False, outcome=f"no answer within {webhook.timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Attempt(is_delivered=False, outcome=phrase_of(error))

    async def _post(
        self, webhook: Webhook, body: bytes, headers: dict[str, str], context: ssl.SSLContext
    ) -> Attempt:
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        limit = aiohttp.ClientTimeout(total=webhook.timeout_seconds)
        async with (
            asyncio.timeout(webhook.timeout_seconds),
            aiohttp.ClientSession(connector=connector, timeout=limit, trust_env=False) as session,
            session.post(webhook.url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return attempt_of(answer.status, answer.headers.get("Retry-After", ""))


def attempt_of(status: int, retry_after: str) -> Attempt:
    if 200 <= status < 300:
        return Attempt(is_delivered=True, outcome=f"status {status}")
    if 300 <= status < 400:
        return Attempt(is_delivered=False, outcome=f"status {status}: it redirects, which is not followed")
    return Attempt(is_delivered=False, outcome=f"status {status}", wait_seconds=wait_of(retry_after))


def wait_of(text: str) -> float:
    """Seconds, from a number or a date; 0 for what is neither."""
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT_SECONDS)
    try:
        seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def phrase_of(error: Exception) -> str:
    """The texts of the library hold the address, which may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host is not known"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be connected to: {os.strerror(error.os_error.errno or 0)}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError):
        return "it closed the connection without an answer"
    return f"it cannot be sent: {type(error).__name__}"
