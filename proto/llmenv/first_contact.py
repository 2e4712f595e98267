"""First contact with a collector: fetch the chain it shows, and trust its CA only if the pin is right.

The connection is not verified, since nothing is trusted yet, and carries nothing.  The pin of a printed
token is the SHA-256 of the CA's SubjectPublicKeyInfo, so a certificate of anybody else is recognised before
the secret leaves this machine.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import ssl
import sys
from typing import TYPE_CHECKING

from llmenv.addresses import split_address

if TYPE_CHECKING:
    from collections.abc import Sequence

TIME_HEADER = "llmenv-time"
"""Initial metadata of a stream, also of a refused one: the collector's clock, microseconds since 1970."""

TAG_SEQUENCE = 0x30
TAG_VERSION = 0xA0
# serial number, signature algorithm, issuer, validity, subject
FIELDS_BEFORE_PUBLIC_KEY = 5


class NoAnswerError(Exception):
    """Nothing that speaks TLS answers there; the text is a sentence for people."""


class WrongAuthorityError(Exception):
    """Another collector, or somebody else, answers there; the text is a sentence for people."""


def fetch_authority(address: str, *, pin: str, timeout_seconds: float) -> str:
    """PEM of the CA at host:port whose public key has the pin.

    Raises NoAnswerError, WrongAuthorityError, or ValueError when `address` is none.
    """
    # From the end: a CA that another one has certified stands before the one that certifies itself.
    for certificate in reversed(_shown_chain(address, timeout_seconds=timeout_seconds)):
        if hmac.compare_digest(public_key_pin(certificate), pin):
            return ssl.DER_cert_to_PEM_cert(certificate)
    raise WrongAuthorityError(
        f"What answers at {address} is not the collector that made the token: its certificate authority is"
        " another, and the token was not sent. Ask for a new token, and whether the address is right."
    )


def public_key_pin(certificate: bytes) -> str:
    """SHA-256 of the SubjectPublicKeyInfo of a DER certificate, base64url without padding.

    Raises ValueError when it is no certificate (RFC 5280, section 4.1).
    """
    tag, body, _ = _element(certificate)
    _, fields, _ = _element(body)
    if tag != TAG_SEQUENCE:
        raise ValueError("not a certificate")
    tag, _, rest = _element(fields)
    if tag == TAG_VERSION:
        fields = rest
    for _ in range(FIELDS_BEFORE_PUBLIC_KEY):
        _, _, fields = _element(fields)
    _, _, after = _element(fields)
    digest = hashlib.sha256(fields[: len(fields) - len(after)]).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _shown_chain(address: str, *, timeout_seconds: float) -> Sequence[bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin is what is checked
    context.set_alpn_protocols(["h2"])
    host, port = split_address(address)
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            return _unverified_chain(connection)
    except ssl.SSLError as error:
        raise NoAnswerError(
            f"What answers at {address} does not speak TLS: {error.reason or error}."
        ) from error
    except OSError as error:
        raise NoAnswerError(f"No collector answers at {address}: {error.strerror or error}.") from error


def _unverified_chain(connection: ssl.SSLSocket) -> Sequence[bytes]:
    """DER of every certificate that the other side sent."""
    if sys.version_info >= (3, 13):
        return connection.get_unverified_chain()
    # Before Python 3.13 the chain has no public name.
    shown = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # noqa: SLF001
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in shown or ()]


def _element(encoded: bytes) -> tuple[int, bytes, bytes]:
    """The first DER element: its tag, its content, and what follows it."""
    if len(encoded) < 2:
        raise ValueError("not DER: it ends too early")
    length, start = encoded[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(encoded[2:start])
    if len(encoded) < start + length:
        raise ValueError("not DER: it ends too early")
    return encoded[0], encoded[start : start + length], encoded[start + length :]
