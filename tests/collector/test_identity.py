"""Who may talk to a collector: certificates, tokens and the policy of each RPC."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import fleet_watch_pb2
from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest
from llmenv.fleet.v1.agent_service_pb2_grpc import AgentServiceStub
from llmenv.fleet.v1.enrollment_service_pb2 import EnrollRequest
from llmenv.fleet.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv_collector.identity import authority
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.serving import server_certificate, services

from .conftest import run_command, signing_request

if TYPE_CHECKING:
    from .conftest import RunningCollector


def who_am_i(collector: RunningCollector, token: str) -> str:
    """The code of the answer."""
    with collector.people_channel() as channel:
        try:
            FleetServiceStub(channel).WhoAmI(
                fleet.WhoAmIRequest(), metadata=[("authorization", f"Bearer {token}")]
            )
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def enrol(collector: RunningCollector, token: str, request: bytes) -> Any:
    with collector.people_channel() as channel:
        message = EnrollRequest(token=token, certificate_signing_request=request)
        return EnrollmentServiceStub(channel).Enroll(message)


def new_request() -> bytes:
    return signing_request(ec.generate_private_key(ec.SECP256R1()))


def test_enrolment_gives_a_machine_its_certificate(collector: RunningCollector) -> None:
    """Valid for 30 days, for the key that was asked for, with the machine's id as URI."""
    key = ec.generate_private_key(ec.SECP256R1())
    response = enrol(collector, collector.secret(), signing_request(key))
    certificate = x509.load_pem_x509_certificate(response.certificate_pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"llmenv://machine/{response.machine_id}"
    ]
    assert certificate.public_key() == key.public_key()
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(response.ca_pem.encode()))
    assert list(response.agent_addresses) == [collector.agents_address]


def test_an_enrolment_token_works_once(collector: RunningCollector) -> None:
    """A second machine with the same token is refused; a request that cannot be signed leaves it usable."""
    token = collector.secret()
    with pytest.raises(grpc.RpcError) as unsigned:
        enrol(collector, token, b"no request")
    assert unsigned.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert enrol(collector, token, new_request()).machine_id
    with pytest.raises(grpc.RpcError) as used:
        enrol(collector, token, new_request())
    assert used.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "already used" in used.value.details()


def expire(collector: RunningCollector, label: str) -> None:
    with closing(sqlite3.connect(collector.folder / "identity.db")) as connection, connection:
        connection.execute("UPDATE token SET expires_at = 0 WHERE label = ?", (label,))


def test_expired_and_revoked_tokens_are_refused(collector: RunningCollector) -> None:
    """Each says which it is, and `token list` shows the state."""
    expired = collector.secret("--label", "old")
    expire(collector, "old")
    with pytest.raises(grpc.RpcError, match="has expired"):
        enrol(collector, expired, new_request())
    revoked = collector.secret("--role", "viewer", "--label", "left")
    listing = run_command("token", "list", "--data", str(collector.folder)).stdout.splitlines()
    token_id = next(line.split()[0] for line in listing if line.endswith("left"))
    assert run_command("token", "revoke", token_id, "--data", str(collector.folder)).returncode == 0
    assert who_am_i(collector, revoked) == "UNAUTHENTICATED"
    states = run_command("token", "list", "--data", str(collector.folder)).stdout
    assert "expired" in next(line for line in states.splitlines() if line.endswith("old"))


def test_other_keys_than_p256_are_refused(collector: RunningCollector) -> None:
    """An RSA request is answered with what is wanted."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(grpc.RpcError, match="P-256"):
        enrol(collector, collector.secret(), request.public_bytes(serialization.Encoding.DER))


def test_secrets_are_not_kept(collector: RunningCollector) -> None:
    """No file of the data folder holds a token's secret, and keys are for their owner alone."""
    secret = collector.secret("--role", "admin").encode()
    for path in collector.folder.rglob("*"):
        assert path.is_dir() or secret not in path.read_bytes(), path
    for name in ("ca-key.pem", "server-key.pem", "identity.db"):
        assert stat.S_IMODE((collector.folder / name).stat().st_mode) == 0o600


def test_a_hostname_hides_no_machine(collector: RunningCollector) -> None:
    """A machine that calls itself by another one's id keeps nobody from revoking that one."""
    machine = collector.enrol("plain")
    collector.enrol(machine.machine_id)
    done = run_command("machine", "revoke", machine.machine_id, "--data", str(collector.folder))
    assert done.returncode == 0, done.stderr
    assert f"Revoked plain ({machine.machine_id})" in done.stderr


def test_the_pin_is_that_of_the_ca_that_the_server_shows(collector: RunningCollector) -> None:
    """The token's pin is the SHA-256 of the CA's key; the CA is the last certificate of the chain."""
    import base64

    chain = x509.load_pem_x509_certificates((collector.folder / "server.pem").read_bytes())
    spki = (
        chain[-1]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    pin = base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()
    assert collector.token().pin == pin
    chain[0].verify_directly_issued_by(chain[-1])


def test_agents_without_a_certificate_are_refused(collector: RunningCollector) -> None:
    """On the people's port by the policy, on the agents' port by TLS itself."""
    for address, code in (
        (collector.people_address, grpc.StatusCode.UNAUTHENTICATED),
        (collector.agents_address, grpc.StatusCode.UNAVAILABLE),
    ):
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(collector.ca))
        with channel, pytest.raises(grpc.RpcError) as refused:
            next(AgentServiceStub(channel).Connect(iter([ConnectRequest()])))
        assert refused.value.code() == code


def test_who_am_i_says_role_and_label(collector: RunningCollector) -> None:
    """And when the token ends."""
    token = collector.secret("--role", "analyst", "--label", "Ada", "--ttl", "8h")
    with collector.people_channel() as channel:
        answer = FleetServiceStub(channel).WhoAmI(
            fleet.WhoAmIRequest(), metadata=[("authorization", f"Bearer {token}")]
        )
    assert (answer.role, answer.label) == ("analyst", "Ada")
    assert answer.expires_at.seconds > 0


def test_a_revoked_token_ends_what_it_watches(own_collector: RunningCollector) -> None:
    """Though nothing is said on the stream; another token's goes on, and a new call is refused."""
    secrets = [own_collector.secret("--role", "viewer", "--label", label) for label in ("left", "stays")]
    listed = run_command("token", "list", "--data", str(own_collector.folder)).stdout.splitlines()
    token_id = next(line.split()[0] for line in listed if line.endswith("left"))
    with own_collector.people_channel() as channel:
        watches = [
            FleetServiceStub(channel).WatchFleet(
                fleet_watch_pb2.WatchFleetRequest(), metadata=[("authorization", f"Bearer {secret}")]
            )
            for secret in secrets
        ]
        for watch in watches:
            next(watch)
        assert run_command("token", "revoke", token_id, "--data", str(own_collector.folder)).returncode == 0
        with pytest.raises(grpc.RpcError) as ended:
            list(watches[0])
        assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert watches[1].is_active()
        watches[1].cancel()
    assert who_am_i(own_collector, secrets[0]) == "UNAUTHENTICATED"


def test_a_token_says_when_it_was_last_used(own_collector: RunningCollector) -> None:
    """Within a minute while the collector serves, and at once when it ends."""
    token = own_collector.secret("--role", "viewer", "--label", "Ada")
    own_collector.secret("--role", "viewer", "--label", "Bob")
    assert who_am_i(own_collector, token) == "OK"
    own_collector.stop()
    listed = run_command("token", "list", "--data", str(own_collector.folder)).stdout.splitlines()
    lines = {line.split()[-1]: line for line in listed}
    assert "LAST USED" in listed[0]
    assert ("never" in lines["Ada"], "never" in lines["Bob"]) == (False, True)


def test_health_and_reflection_answer_anyone(collector: RunningCollector) -> None:
    """A service manager and a curious person need no token."""
    with collector.people_channel() as channel:
        assert HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == 1
        watched = HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == 1
        watched.cancel()
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = ServerReflectionStub(channel).ServerReflectionInfo(iter([question]))
    assert set(services.SERVICES) <= {service.name for service in answer.list_services_response.service}


def test_the_server_certificate_keeps_its_names(tmp_path: Any) -> None:
    """Names given once stay when others are added."""
    from llmenv_collector.storage.data_folder import DataFolder

    folder = DataFolder(tmp_path)
    shown = server_certificate.ServerCertificate(folder, authority.Authority.create(folder))
    shown.with_names(["collector.lab.example"])
    first = folder.server_certificate.read_bytes()
    shown.with_names(["127.0.0.1"])
    assert folder.server_certificate.read_bytes() == first
    shown.with_names(["10.0.0.5"])
    certificate = server_certificate.stored_certificate(folder)
    assert certificate is not None
    names = server_certificate.certified_names(certificate)
    assert {"collector.lab.example", "10.0.0.5", "localhost"} <= names


def test_whoever_follows_the_identity_may_leave_while_a_thread_asks(tmp_path: Any) -> None:
    """SQLite ends the process where a connection is closed in the middle of a question."""
    identity = Identity.create(tmp_path / "identity.db")
    for _ in range(50):
        asked = threading.Event()
        refusals: list[str] = []
        with identity.followed() as version:

            def ask(version: Any = version, asked: threading.Event = asked, refusals: Any = refusals) -> None:
                try:
                    while True:
                        version()
                        asked.set()
                except sqlite3.ProgrammingError as error:
                    refusals.append(str(error))

            thread = threading.Thread(target=ask)
            thread.start()
            assert asked.wait(60)
        thread.join()
        assert refusals == ["Cannot operate on a closed database."]
