"""How a machine gets its identity: a printed token, a first contact that trusts only the pinned CA, one call.

The token is `llmenv1.` and base64url of {"a": host:port, "p": pin, "t": secret}. The pin is the base64url
SHA-256 of the public key (SubjectPublicKeyInfo, DER) of the collector's CA, so the first connection needs no
trust in the network: the chain is fetched unverified, the pinned CA is looked for in it, and only a server
that this CA vouches for is told the secret.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from llmenv import __version__
from llmenv.fleet.v1 import enrollment_service_pb2, enrollment_service_pb2_grpc

from llmenv_agent.addresses import split_address
from llmenv_agent.errors import EnrollmentError, UsageError
from llmenv_agent.identity import Identity

if TYPE_CHECKING:
    from llmenv.fleet.v1 import machine_pb2

PREFIX = "llmenv1."
CONTACT_SECONDS = 10.0
CALL_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Token:
    """What a printed token carries. `printed` is the whole of it, a secret."""

    address: str
    pin: str
    printed: str


def parse_token(printed: str) -> Token:
    """Raises UsageError for anything that `llmenv-collector token create` does not print."""
    printed = printed.strip()
    try:
        encoded = printed[printed.index(PREFIX) + len(PREFIX) :]
        content = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        address, pin = content["a"], content["p"]
        split_address(address)
        return Token(address=address, pin=pin.rstrip("="), printed=printed)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise UsageError(
            "The token cannot be read: copy the whole line that `llmenv-collector token create` printed."
        ) from error


def enroll(token: Token, *, machine: machine_pb2.Machine, address: str = "") -> Identity:
    """Make a key, have it certified, return the identity. Raises EnrollmentError with what stood in the way.

    `address` is used in place of the one in the token, for a network that knows the collector otherwise.
    """
    address = address or token.address
    ca_pem = pinned_ca(fetch_chain(address), pin=token.pin, address=address)
    key = ec.generate_private_key(ec.SECP256R1())
    response = _call(
        address,
        ca_pem,
        enrollment_service_pb2.EnrollRequest(
            token=token.printed,
            certificate_signing_request=signing_request(key),
            machine=machine,
            agent_version=__version__,
        ),
    )
    return Identity(
        machine_id=response.machine_id,
        key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        certificate_pem=response.certificate_pem,
        ca_pem=response.ca_pem,
        agent_addresses=tuple(response.agent_addresses),
        not_after=response.not_after.ToDatetime(tzinfo=dt.UTC).isoformat(),
    )


def fetch_chain(address: str) -> list[bytes]:
    """The certificates that the server shows, DER, without trusting any of them."""
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to look at the chain: nothing is said on this connection
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), timeout=CONTACT_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host) as tls,
        ):
            return _unverified_chain(tls)
    except ssl.SSLError as error:
        raise EnrollmentError(f"{address} does not speak TLS ({error.reason or error}).") from error
    except OSError as error:
        raise EnrollmentError(
            f"The collector {address} cannot be reached: {error.strerror or error}."
        ) from error


def pinned_ca(chain: list[bytes], *, pin: str, address: str) -> str:
    """PEM of the certificate whose public key has the pin; a server without it is not the token's."""
    for der in chain:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if base64.urlsafe_b64encode(hashlib.sha256(key).digest()).decode().rstrip("=") == pin:
            return certificate.public_bytes(serialization.Encoding.PEM).decode()
    raise EnrollmentError(
        f"The server at {address} is not the collector that the token is from (its CA has another key): "
        f"the token was not sent. Check the address, or make a new token."
    )


def signing_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A CSR in DER; the collector decides the name that it certifies."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _unverified_chain(tls: ssl.SSLSocket) -> list[bytes]:
    # Public since Python 3.13; before, the same call is on the object underneath.
    source: Any = tls if hasattr(tls, "get_unverified_chain") else tls._sslobj  # type: ignore[attr-defined] # noqa: SLF001
    chain = source.get_unverified_chain() or []
    return [
        link if isinstance(link, bytes) else ssl.PEM_cert_to_DER_cert(link.public_bytes()) for link in chain
    ]


def _call(
    address: str, ca_pem: str, request: enrollment_service_pb2.EnrollRequest
) -> enrollment_service_pb2.EnrollResponse:
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem.encode())
    with grpc.secure_channel(address, credentials) as channel:
        stub = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
        try:
            return stub.Enroll(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise EnrollmentError(_refusal(address, error)) from error


def _refusal(address: str, error: grpc.RpcError) -> str:
    code, details = error.code(), error.details()
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return f"The collector does not take the token: {details}"
    if code == grpc.StatusCode.UNAVAILABLE:
        return f"The collector {address} did not answer, or its certificate is not for that name: {details}"
    return f"The collector refused to enrol this machine ({code.name}): {details}"
