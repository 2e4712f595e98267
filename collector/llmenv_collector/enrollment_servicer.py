"""EnrollmentService over gRPC: a one-time token and a signing request become an identity."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1.enrollment_service_pb2 import EnrollRequest, EnrollResponse
from llmenv.fleet.v1.enrollment_service_pb2_grpc import EnrollmentServiceServicer
from llmenv.ids import new_id

from llmenv_collector import circumstances, tokens
from llmenv_collector.group import Sighting

if TYPE_CHECKING:
    import grpc.aio

    from llmenv_collector.authority import Authority, MachineCertificate
    from llmenv_collector.identity import Identity
    from llmenv_collector.store import Store


class EnrollmentServicer(EnrollmentServiceServicer):
    def __init__(self, *, identity: Identity, authority: Authority, store: Store, agent_address: str) -> None:
        self._identity = identity
        self._authority = authority
        self._store = store
        self._agent_address = agent_address

    async def Enroll(  # noqa: N802 (gRPC names it)
        self,
        request: EnrollRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 (gRPC passes it)
    ) -> EnrollResponse:
        machine_id = new_id()
        # Signed first, so that a request which cannot be signed does not use the token up.
        certificate = self._authority.sign_machine(request.certificate_signing_request, machine_id=machine_id)
        enrolled_at = await asyncio.to_thread(
            tokens.redeem,
            self._identity,
            request.token,
            machine_id=machine_id,
            hostname=request.machine.hostname,
            certificate=certificate,
        )
        machine_rows = list(circumstances.of_machine(request.machine, machine_id))
        sighting = Sighting(
            machine_id=machine_id,
            seen_at=enrolled_at,
            enrolled_at=enrolled_at,
            agent_version=request.agent_version,
            facts=machine_rows[0][1] if machine_rows else None,
        )
        await asyncio.wrap_future(self._store.see(sighting))
        return self._response(machine_id, certificate)

    def _response(self, machine_id: str, certificate: MachineCertificate) -> EnrollResponse:
        response = EnrollResponse(
            machine_id=machine_id,
            certificate_pem=certificate.pem.decode(),
            ca_pem=self._authority.pem.decode(),
            agent_addresses=[self._agent_address],
        )
        response.not_after.FromDatetime(certificate.not_after)
        return response
