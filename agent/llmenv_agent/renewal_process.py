"""`python -m llmenv_agent.renewal_process STATE_DIR [HOST:PORT]`: exchange the certificate for the next one.

A process of its own, since cryptography would stay in the agent for good (12 MiB) and is needed once in three
weeks. The identity is replaced as a whole, after the collector has answered: a crash at any moment leaves
the former pair, which renews as well, or the next one. Ends with 0, else with one sentence on stderr; with
ExitCode.FAILED where another address may be the collector's.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from pathlib import Path

import grpc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from llmenv.fleet.v1 import enrollment_service_pb2 as wire
from llmenv.fleet.v1 import enrollment_service_pb2_grpc

from llmenv_agent.enrollment import CALL_SECONDS, private_pem, signing_request
from llmenv_agent.errors import AgentError, ElsewhereError, EnrollmentError, IdentityError
from llmenv_agent.exit_codes import ExitCode
from llmenv_agent.identity import Identity, load_identity, renewal_due, replace_identity

NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""Nobody there, a certificate that is not trusted, or somebody who speaks something else."""


def main() -> int:
    state_dir, *other = Path(sys.argv[1]), *sys.argv[2:]
    try:
        identity = load_identity(state_dir)
        replace_identity(
            state_dir, identity, renew(identity, address=other[0] if other else identity.enrollment_address)
        )
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return ExitCode.DONE


def renew(identity: Identity, *, address: str) -> Identity:
    """Raises EnrollmentError where the collector does not answer or refuses."""
    key = ec.generate_private_key(ec.SECP256R1())
    response = _call(address, identity.ca_pem, proof(identity, key))
    not_after = response.not_after.ToDatetime(tzinfo=dt.UTC)
    return dataclasses.replace(
        identity,
        key_pem=private_pem(key),
        certificate_pem=response.certificate_pem,
        ca_pem=response.ca_pem,
        agent_addresses=tuple(response.agent_addresses),
        not_after=not_after.isoformat(),
        renew_at=renewal_due(not_after),
    )


def proof(identity: Identity, key: ec.EllipticCurvePrivateKey) -> wire.RenewRequest:
    """Asks for a certificate of `key`, signed with the key that the machine has."""
    former = load_pem_private_key(identity.key_pem.encode(), password=None)
    if not isinstance(former, ec.EllipticCurvePrivateKey):
        raise IdentityError("The key of this machine is not of enrolment: enroll again with --replace.")
    request = wire.RenewRequest(
        certificate_pem=identity.certificate_pem, certificate_signing_request=signing_request(key)
    )
    request.signed_at.GetCurrentTime()
    signed = request.certificate_signing_request + request.signed_at.ToNanoseconds().to_bytes(8, "big")
    request.signature = former.sign(signed, ec.ECDSA(hashes.SHA256()))
    return request


def _call(address: str, ca_pem: str, request: wire.RenewRequest) -> wire.RenewResponse:
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_pem.encode())
    with grpc.secure_channel(address, credentials) as channel:
        stub = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
        try:
            return stub.Renew(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            failure = ElsewhereError if error.code() in NO_ANSWER else EnrollmentError
            raise failure(
                f"The collector {address} gave no certificate ({error.code().name}): {error.details()}"
            ) from error


if __name__ == "__main__":
    sys.exit(main())
