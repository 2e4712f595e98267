"""EnrollmentService over gRPC: a token, or the key of the former certificate, gets a machine its identity."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1.enrollment_service_pb2 import (
    EnrollRequest,
    EnrollResponse,
    RenewRequest,
    RenewResponse,
)
from llmenv.fleet.v1.enrollment_service_pb2_grpc import EnrollmentServiceServicer
from llmenv.ids import new_id

from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.identity import renewal, tokens
from llmenv_collector.identity.renewal import Proof
from llmenv_collector.serving.peer_limits import Peer, PeerLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import grpc.aio

    from llmenv_collector.identity.authority import Authority, MachineCertificate
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.lifetimes import Lifetimes
    from llmenv_collector.storage.store import Store

NANOSECONDS = 1_000_000_000
MOST_HOSTNAME = 253
"""Characters, as of a name in DNS."""


class EnrollmentServicer(EnrollmentServiceServicer):
    def __init__(
        self,
        *,
        identity: Identity,
        authority: Callable[[], Authority],
        lifetimes: Lifetimes,
        store: Store,
        agent_addresses: Sequence[str],
    ) -> None:
        self._identity = identity
        self._authority = authority
        self._lifetimes = lifetimes
        self._store = store
        self._agent_addresses = agent_addresses
        self._renewals = PeerLimits()

    async def Enroll(  # noqa: N802 (gRPC names it)
        self,
        request: EnrollRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 (gRPC passes it)
    ) -> EnrollResponse:
        token = await asyncio.to_thread(tokens.enrolment_token, self._identity, request.token)
        machine_id = token.machine_id or new_id()
        # Signed first, so that a request which cannot be signed does not use the token up.
        certificate = self._authority().sign_machine(
            request.certificate_signing_request, machine_id=machine_id, lifetime=self._lifetimes.machine
        )
        enrolled_at = await asyncio.to_thread(
            tokens.redeem,
            self._identity,
            request.token,
            machine_id=machine_id,
            hostname=request.machine.hostname[:MOST_HOSTNAME],
            certificate=certificate,
        )
        sighting = Sighting(
            machine_id=machine_id,
            seen_at=enrolled_at,
            enrolled_at=enrolled_at,
            agent_version=request.agent_version,
            facts=request.machine,
        )
        await asyncio.wrap_future(self._store.see(sighting))
        return self._response(machine_id, certificate)

    async def Renew(  # noqa: N802 (gRPC names it)
        self,
        request: RenewRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 (gRPC passes it)
    ) -> RenewResponse:
        proof, authority = proof_from_proto(request), self._authority()
        presented = await asyncio.to_thread(
            renewal.verified, proof, authority=authority, lifetimes=self._lifetimes
        )
        # Only now is it known whose allowance it is.
        self._renewals.spend(Peer(presented.machine_id, renewal.allowance(self._lifetimes.machine)))
        certificate = await asyncio.to_thread(
            renewal.renew,
            proof,
            presented,
            authority=authority,
            identity=self._identity,
            lifetimes=self._lifetimes,
        )
        response = RenewResponse(
            certificate_pem=certificate.pem.decode(),
            ca_pem=self._authority().trusted_pem.decode(),
            agent_addresses=self._agent_addresses,
        )
        response.not_after.FromDatetime(certificate.not_after)
        return response

    def _response(self, machine_id: str, certificate: MachineCertificate) -> EnrollResponse:
        response = EnrollResponse(
            machine_id=machine_id,
            certificate_pem=certificate.pem.decode(),
            ca_pem=self._authority().trusted_pem.decode(),
            agent_addresses=self._agent_addresses,
        )
        response.not_after.FromDatetime(certificate.not_after)
        return response


def proof_from_proto(request: RenewRequest) -> Proof:
    return Proof(
        certificate_pem=request.certificate_pem.encode(),
        signing_request=request.certificate_signing_request,
        signed_at=request.signed_at.seconds * NANOSECONDS + request.signed_at.nanos,
        signature=request.signature,
    )
