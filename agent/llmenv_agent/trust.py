"""Whom this machine trusts: the certificates of its collector's authorities, told apart by their keys."""

from __future__ import annotations

import re
import ssl

from llmenv.first_contact import public_key_pin

from llmenv_agent.errors import IdentityError

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def trusted_pins(ca_pem: str) -> tuple[str, ...]:
    """SHA-256 of each public key, base64url.  Raises IdentityError for what is no certificate."""
    try:
        return tuple(public_key_pin(ssl.PEM_cert_to_DER_cert(one)) for one in CERTIFICATE.findall(ca_pem))
    except ValueError as error:
        raise IdentityError(f"The authority of the collector cannot be read: {error}.") from error
