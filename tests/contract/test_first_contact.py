"""First contact: the pin is of the public key, and damaged certificates have none.

Whom it trusts over a real connection is tested with the programs that use it:
tests/agent/test_enrollment.py and tests/cli/test_login.py.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from llmenv.first_contact import public_key_pin

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_pin_is_of_the_public_key() -> None:
    """Our walk through DER agrees with the library that made the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a collector")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), NOW, NOW)
    certificate = builder.sign(key, hashes.SHA256())
    public_key = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    expected = base64.urlsafe_b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")
    assert public_key_pin(certificate.public_bytes(serialization.Encoding.DER)) == expected


@pytest.mark.parametrize(
    "content", [b"", b"0", b"\x30\x03\x02\x01", b"\x02\x01\x00", b"\x30\x82\xff\xff\x00"]
)
def test_what_is_no_certificate_has_no_pin(content: bytes) -> None:
    """Damaged DER is refused, never read past its end."""
    with pytest.raises(ValueError, match="not"):
        public_key_pin(content)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_do_nothing_worse(content: bytes) -> None:
    """What a stranger's server sends first is arbitrary."""
    try:
        pin = public_key_pin(content)
    except ValueError:
        return
    assert len(pin) == 43
