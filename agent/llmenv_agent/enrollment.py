"""How a machine gets its identity: a printed token, a first contact that trusts only the pinned CA, one call.

The key is made here and never leaves; only a server that the pinned CA vouches for is told the secret.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from llmenv import __version__
from llmenv.first_contact import NoAnswerError, WrongAuthorityError, fetch_authority
from llmenv.fleet.v1 import enrollment_service_pb2, enrollment_service_pb2_grpc
from llmenv.printed_token import PrintedToken

from llmenv_agent.errors import EnrollmentError, UsageError
from llmenv_agent.identity import Identity, renewal_due

if TYPE_CHECKING:
    from llmenv.fleet.v1 import machine_pb2

CONTACT_SECONDS = 10.0
CALL_SECONDS = 30.0


def enroll(token_text: str, *, machine: machine_pb2.Machine, address: str = "") -> Identity:
    """Make a key, have it certified, return the identity.

    `address` is used in place of the one in the token, for a network that knows the collector otherwise.
    Raises UsageError for a token or an address that is none, EnrollmentError with what stood in the way.
    """
    token, ca_pem = first_contact(token_text, address=address)
    with open_channel(token.address, ca_pem) as channel:
        return enroll_over(channel, token, machine=machine)


def open_channel(address: str, ca_pem: str) -> grpc.Channel:
    """To a collector that has shown this CA; one is enough for many machines."""
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem.encode())
    return grpc.secure_channel(address, credentials)


def enroll_over(channel: grpc.Channel, token: PrintedToken, *, machine: machine_pb2.Machine) -> Identity:
    """Raises EnrollmentError."""
    key = ec.generate_private_key(ec.SECP256R1())
    response = _call(
        channel,
        token.address,
        enrollment_service_pb2.EnrollRequest(
            token=token.secret,
            certificate_signing_request=signing_request(key),
            machine=machine,
            agent_version=__version__,
        ),
    )
    not_after = response.not_after.ToDatetime(tzinfo=dt.UTC)
    return Identity(
        machine_id=response.machine_id,
        key_pem=private_pem(key),
        certificate_pem=response.certificate_pem,
        ca_pem=response.ca_pem,
        enrollment_address=token.address,
        agent_addresses=tuple(response.agent_addresses),
        not_after=not_after.isoformat(),
        renew_at=renewal_due(not_after),
    )


def first_contact(token_text: str, *, address: str = "") -> tuple[PrintedToken, str]:
    """The token, and PEM of the collector's CA once it has shown the pinned one."""
    try:
        token = PrintedToken.parse(token_text)
        token = dataclasses.replace(token, address=address or token.address)
        return token, fetch_authority(token.address, pin=token.pin, timeout_seconds=CONTACT_SECONDS)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (NoAnswerError, WrongAuthorityError) as error:
        raise EnrollmentError(str(error)) from error


def signing_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A CSR in DER; the collector decides the name that it certifies."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _call(
    channel: grpc.Channel, address: str, request: enrollment_service_pb2.EnrollRequest
) -> enrollment_service_pb2.EnrollResponse:
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
