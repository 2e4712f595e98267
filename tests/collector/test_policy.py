"""Every RPC that is served, tried as everybody: each role, nobody, and whoever has something that is no good.

The RPCs are those of the descriptors, so a new one is tried without being named here.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor_pool import Default
from grpc_reflection.v1alpha import reflection
from llmenv.ids import new_id
from llmenv_collector.errors import ForbiddenError
from llmenv_collector.identity import tokens
from llmenv_collector.identity.acting import Actor
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.serving import policy, services
from llmenv_collector.serving.gate import Gate, origin_of
from llmenv_collector.serving.policy import ANYONE, MACHINES, POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from google.protobuf.descriptor import MethodDescriptor

    from .conftest import EnrolledMachine, RunningCollector

METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for service in map(Default().FindServiceByName, (*services.SERVICES, reflection.SERVICE_NAME))
    for method in service.methods
}
REFUSALS = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
ADMITTED_SECONDS = 20.0
"""A stream that has said nothing by then, not even that it refuses, has admitted its caller."""
REFUSED_SECONDS = 120.0
ROLES = ("viewer", "analyst", "admin")


@dataclass(frozen=True)
class Callers:
    """Everybody who may come: over which channel, and with which token."""

    people: grpc.Channel
    machine: grpc.Channel
    revoked_machine: grpc.Channel
    roles: dict[str, str]
    no_good: dict[str, str | None]
    """Tokens that are worth nothing to people's RPCs."""


def certified(machine: EnrolledMachine) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(machine.collector.ca, machine.key, machine.certificate)
    return grpc.secure_channel(machine.collector.agents_address, credentials)


@pytest.fixture(scope="module")
def callers(collector: RunningCollector) -> Iterator[Callers]:
    identity = Identity(collector.folder / "identity.db")

    def secret(role: str) -> str:
        return tokens.create(identity, role=role, seconds=3_600, label=f"{role} {new_id()}")

    def spoilt(role: str, change: str) -> str:
        made = secret(role)
        with identity.changes() as connection:
            connection.execute(f"UPDATE token SET {change} WHERE secret_hash = ?", (tokens.digest(made),))
        return made

    no_good = {
        "nobody": None,
        "wrong": "nonsense",
        "damaged": "llmenv1.damaged",
        "enrolment": secret(tokens.ENROLMENT),
        **{f"expired {role}": spoilt(role, "expires_at = 0") for role in ROLES},
        **{f"revoked {role}": spoilt(role, "revoked_at = 1") for role in ROLES},
    }
    standing, revoked = collector.enrol("standing"), collector.enrol("revoked")
    identity.revoke_machine(revoked.machine_id)
    with collector.people_channel() as people, certified(standing) as machine, certified(revoked) as barred:
        yield Callers(people, machine, barred, {role: secret(role) for role in ROLES}, no_good)


def code(channel: grpc.Channel, path: str, token: str | None, *, seconds: float) -> str:
    """How an empty request is answered; a stream is left after its first message."""
    method = METHODS[path]
    metadata = [("authorization", f"Bearer {token}")] if token else []
    kind = (method.client_streaming, method.server_streaming)
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[kind]
    request = iter([b""]) if method.client_streaming else b""
    try:
        answer = make(path)(request, metadata=metadata, timeout=seconds)
        if method.server_streaming:
            for _ in itertools.islice(answer, 1):
                answer.cancel()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_every_rpc_has_a_row_in_the_policy() -> None:
    """The policy has a row for each RPC that is served, and of ours for nothing else."""
    assert set(METHODS) <= set(POLICY)
    # The health service of a newer grpcio has RPCs that the oldest lacks.
    assert all(name.startswith("/grpc.") for name in set(POLICY) - set(METHODS))


@pytest.mark.parametrize("path", [path for path in METHODS if POLICY[path] not in (ANYONE, MACHINES)])
def test_people_may_do_what_their_role_may(callers: Callers, path: str) -> None:
    """On both ports, whoever's certificate it is; nobody else may."""
    for role, token in callers.roles.items():
        for channel in (callers.people, callers.machine):
            if role in POLICY[path]:
                assert code(channel, path, token, seconds=ADMITTED_SECONDS) not in {
                    *REFUSALS,
                    "UNIMPLEMENTED",
                }
            else:
                assert code(channel, path, token, seconds=REFUSED_SECONDS) == "PERMISSION_DENIED", role
    for who, worthless in callers.no_good.items():
        for channel in (callers.people, callers.machine, callers.revoked_machine):
            assert code(channel, path, worthless, seconds=REFUSED_SECONDS) == "UNAUTHENTICATED", who


@pytest.mark.parametrize("path", [path for path in METHODS if POLICY[path] == MACHINES])
def test_machines_alone_may_deliver(callers: Callers, path: str) -> None:
    """A certificate is needed, of a machine that stands; no token takes its place."""
    assert code(callers.machine, path, None, seconds=ADMITTED_SECONDS) == "INVALID_ARGUMENT"
    assert code(callers.revoked_machine, path, None, seconds=REFUSED_SECONDS) == "PERMISSION_DENIED"
    for token in (*callers.roles.values(), *callers.no_good.values()):
        assert code(callers.people, path, token, seconds=REFUSED_SECONDS) == "UNAUTHENTICATED"


@pytest.mark.parametrize("path", [path for path in METHODS if POLICY[path] == ANYONE])
def test_what_anyone_may_ask_is_answered_alike(callers: Callers, path: str) -> None:
    """Whoever asks, a token changes nothing."""
    everybody = (*callers.roles.values(), *callers.no_good.values())
    answers = {code(callers.people, path, token, seconds=ADMITTED_SECONDS) for token in everybody}
    assert len(answers) == 1
    assert "PERMISSION_DENIED" not in answers


class Peer:
    """Of a call, what the gate asks."""

    def __init__(self, peer: str, metadata: dict[str, str]) -> None:
        self._peer = peer
        self._metadata = metadata

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> Any:
        return tuple(self._metadata.items())


def test_an_rpc_without_a_row_is_refused_to_an_admin(tmp_path: Path) -> None:
    """Somebody who adds a service and forgets the policy has added nothing."""
    identity = Identity.create(tmp_path / "identity.db")
    secret = tokens.create(identity, role="admin", seconds=60, label="")
    peer: Any = Peer("ipv4:192.0.2.7:5", {"authorization": f"Bearer {secret}"})
    assert policy.allowed("/new.Service/Method") == frozenset()
    with pytest.raises(ForbiddenError, match="This is for nobody"):
        asyncio.run(Gate(identity).admit("/new.Service/Method", peer))


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        ("ipv4:192.0.2.7:55512", "192.0.2.7"),
        ("ipv6:%5B2001:db8::7%5D:55512", "2001:db8::7"),
        ("ipv6:[::1]:80", "::1"),
    ],
    ids=["ipv4", "ipv6-escaped", "ipv6"],
)
def test_the_audit_has_the_address_without_its_port(peer: str, origin: str) -> None:
    """As gRPC names a peer."""
    named: Any = Peer(peer, {})
    assert Actor("somebody", origin_of(named)).origin == origin
