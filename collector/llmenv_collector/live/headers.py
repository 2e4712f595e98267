"""What every answer tells the browser: run only our script, be framed by nobody, keep nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.pages import html

if TYPE_CHECKING:
    from aiohttp import web


def add(response: web.StreamResponse) -> None:
    """No Strict-Transport-Security: it would bind the host's other ports too."""
    response.headers.update(
        {
            "Content-Security-Policy": html.live_policy(),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            # Not none at all: a browser then hides from us which page a form was sent from.
            "Referrer-Policy": "same-origin",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Server": "llmenv",
        }
    )
