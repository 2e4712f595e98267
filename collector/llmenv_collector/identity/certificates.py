"""X.509 certificates and P-256 keys, as one authority makes them and machines ask for them."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import re
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from llmenv_collector.errors import UsageError
from llmenv_collector.identity.lifetimes import CA_LIFETIME, CLOCK_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 1123, section 2.1: labels of letters, digits and inner hyphens.
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
MAX_HOST_NAME = 253


def own_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Of a CA, by itself."""
    return certify(key.public_key(), by=key, issuer=None, ends=dt.datetime.now(dt.UTC) + CA_LIFETIME)


def certify(
    public_key: ec.EllipticCurvePublicKey,
    *,
    by: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    ends: dt.datetime,
) -> x509.Certificate:
    """A CA's certificate: its own, or without `issuer` the one that it gives itself.

    Its name has the beginning of its pin: two authorities of one collector are told apart.
    """
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"llmenv collector CA {key_pin(public_key)[:8]}")]
    )
    builder = unsigned(name, issuer.subject if issuer else name, public_key, ends)
    below = 0 if issuer else 1
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
    builder = builder.add_extension(key_usage(sign_certificates=True), critical=True)
    if issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
        builder = builder.add_extension(identifier, critical=False)
    return builder.sign(by, hashes.SHA256())


def require_issued(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> None:
    """Raises InvalidSignature unless one of them issued it."""
    for authority in authorities:
        if certificate.issuer == authority.subject:
            certificate.verify_directly_issued_by(authority)
            return
    raise InvalidSignature


def pem_of(certificate: x509.Certificate | None) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM) if certificate else b""


def pin_of(certificate: x509.Certificate) -> str:
    return key_pin(certificate.public_key())


def key_pin(public_key: Any) -> str:
    """base64url SHA-256 of a public key (SubjectPublicKeyInfo, DER), without padding."""
    spki = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()


def unsigned(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, ends: dt.datetime
) -> x509.CertificateBuilder:
    """A certificate of a random serial that is valid from an hour ago, since clocks differ."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.now(dt.UTC) - CLOCK_TOLERANCE)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def requested_key(signing_request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_der_x509_csr(signing_request)
        is_signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise UsageError("The certificate signing request is not a DER request that can be read.") from error
    if not is_signed:
        raise UsageError("The signature of the certificate signing request is not valid.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError("The certificate signing request must carry a P-256 key.")
    return key


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not HOST_NAME.fullmatch(name) or len(name) > MAX_HOST_NAME:
        raise UsageError(
            f"{name[:MAX_HOST_NAME]!r} is not a host name that a certificate can carry,"
            " such as collector.lab.example, without a port."
        )
    return x509.DNSName(name)
