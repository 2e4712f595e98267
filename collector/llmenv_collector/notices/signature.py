"""The signature of what is sent, as Standard Webhooks writes it: HMAC-SHA256 over id, time and body.

https://www.standardwebhooks.com: the same id comes with every attempt, so that whoever receives can tell a
repeated delivery, and the time lets an old one be refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def headers(body: bytes, *, notice_id: str, seconds: int, secret: bytes | None) -> dict[str, str]:
    """`seconds` since 1970.  Without a secret nothing is signed."""
    told = {"webhook-id": notice_id, "webhook-timestamp": str(seconds)}
    if secret is not None:
        told["webhook-signature"] = sign(body, notice_id=notice_id, seconds=seconds, secret=secret)
    return told


def sign(body: bytes, *, notice_id: str, seconds: int, secret: bytes) -> str:
    signed = b".".join([notice_id.encode(), str(seconds).encode(), body])
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
