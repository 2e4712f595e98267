"""Certificates over time: renewed by the former key, refused when revoked or too late, shown anew."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import socket
import sqlite3
import ssl
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from llmenv.addresses import split_address
from llmenv.fleet.v1.enrollment_service_pb2 import EnrollRequest, RenewRequest, RenewResponse
from llmenv.fleet.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from llmenv.ids import new_id
from llmenv_collector.identity import certificates
from llmenv_collector.identity.authority import Authority
from llmenv_collector.identity.renewal import allowance
from llmenv_collector.serving import ports
from llmenv_collector.serving.server_certificate import ServerCertificate, stored_certificate
from llmenv_collector.storage.data_folder import DataFolder

from .conftest import (
    PATIENCE_SECONDS,
    EnrolledMachine,
    RunningCollector,
    key_pem,
    run_command,
    signing_request,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3_600.0


def proof(machine: EnrolledMachine, *, new_key: Any = None, signed_at: float | None = None) -> RenewRequest:
    """A sound request, for the test to bend."""
    request = RenewRequest(
        certificate_pem=machine.certificate.decode(),
        certificate_signing_request=signing_request(new_key or ec.generate_private_key(ec.SECP256R1())),
    )
    request.signed_at.FromNanoseconds(int((time.time() if signed_at is None else signed_at) * 1e9))
    return sign(request, machine.key)


def sign(request: RenewRequest, key: bytes) -> RenewRequest:
    signed = request.certificate_signing_request + request.signed_at.ToNanoseconds().to_bytes(8, "big")
    private: Any = serialization.load_pem_private_key(key, None)
    request.signature = private.sign(signed, ec.ECDSA(hashes.SHA256()))
    return request


def ask(collector: RunningCollector, request: RenewRequest) -> RenewResponse:
    with collector.people_channel() as channel:
        response: RenewResponse = EnrollmentServiceStub(channel).Renew(request, timeout=PATIENCE_SECONDS)
        return response


def renew(machine: EnrolledMachine) -> EnrolledMachine:
    key = ec.generate_private_key(ec.SECP256R1())
    response = ask(machine.collector, proof(machine, new_key=key))
    return dataclasses.replace(machine, key=key_pem(key), certificate=response.certificate_pem.encode())


def refusal(collector: RunningCollector, request: RenewRequest) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        ask(collector, request)
    error: Any = refused.value
    return error.code().name, error.details()


def audited(collector: RunningCollector, action: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(collector.folder / "identity.db")) as identity:
        query = "SELECT subject, detail FROM audit WHERE action = ? ORDER BY happened_at"
        return identity.execute(query, (action,)).fetchall()


def certificate_of(machine: EnrolledMachine) -> x509.Certificate:
    return x509.load_pem_x509_certificate(machine.certificate)


def test_a_machine_renews_with_its_old_key(collector: RunningCollector) -> None:
    """The next certificate is of the same machine, for the new key, good for 30 days, and audited."""
    machine = collector.enrol()
    renewed = renew(machine)
    certificate = certificate_of(renewed)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert [f"llmenv://machine/{machine.machine_id}"] == uris
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=29, hours=23) < left <= dt.timedelta(days=30)
    renewed.connect(new_id()).close()
    details = [
        detail for subject, detail in audited(collector, "machine.renew") if subject == machine.machine_id
    ]
    before, after = certificate_of(machine).serial_number, certificate.serial_number
    assert [f"certificate {after:x} after {before:x}"] == details


def test_what_is_sent_again_certifies_the_same_key_once_more(collector: RunningCollector) -> None:
    """A replay gives nobody a certificate for a key of their own."""
    machine, key = collector.enrol(), ec.generate_private_key(ec.SECP256R1())
    request = proof(machine, new_key=key)
    for response in (ask(collector, request), ask(collector, request)):
        certificate = x509.load_pem_x509_certificate(response.certificate_pem.encode())
        assert key.public_key() == certificate.public_key()


def test_a_renewal_needs_the_key_of_a_certificate_of_this_collector(
    collector: RunningCollector, own_collector: RunningCollector
) -> None:
    """Another key, a changed request, another CA's certificate and the server's own are all refused."""
    machine = collector.enrol()
    stranger = key_pem(ec.generate_private_key(ec.SECP256R1()))
    assert refusal(collector, sign(proof(machine), stranger))[0] == "UNAUTHENTICATED"
    changed = proof(machine)
    changed.certificate_signing_request = signing_request(ec.generate_private_key(ec.SECP256R1()))
    assert refusal(collector, changed)[0] == "UNAUTHENTICATED"
    assert refusal(collector, proof(own_collector.enrol()))[0] == "UNAUTHENTICATED"
    server_key = (collector.folder / "server-key.pem").read_bytes()
    server = dataclasses.replace(
        machine, key=server_key, certificate=(collector.folder / "server.pem").read_bytes()
    )
    assert refusal(collector, proof(server)) == ("UNAUTHENTICATED", "This is no machine's certificate.")
    nothing = proof(machine)
    nothing.certificate_pem = "nothing"
    assert refusal(collector, nothing)[0] == "UNAUTHENTICATED"


def test_no_machine_fills_the_identity_file(collector: RunningCollector) -> None:
    """A few renewals at once, then a few an hour; those that are refused are no rows, and others renew."""
    machine, other = collector.enrol(), collector.enrol()
    request = proof(machine)
    with collector.people_channel() as channel:
        stub = EnrollmentServiceStub(channel)
        for _ in range(20):
            stub.Renew(request, timeout=PATIENCE_SECONDS)
    code, sentence = refusal(collector, proof(machine))
    assert (code, "More than 4 calls an hour" in sentence) == ("RESOURCE_EXHAUSTED", True)
    assert renew(other).machine_id == other.machine_id
    subjects = [subject for subject, _ in audited(collector, "machine.renew")]
    assert subjects.count(machine.machine_id) == 20


def test_a_machine_with_short_certificates_renews_as_often_as_it_has_to() -> None:
    """Four times in a lifetime, however short."""
    assert allowance(dt.timedelta(seconds=4)).a_second == 1
    assert allowance(dt.timedelta(days=30)).a_second * HOUR == 4


def test_what_a_machine_says_of_itself_is_bounded(collector: RunningCollector) -> None:
    """A hostname as long as one in DNS, and the pins of a few authorities."""
    machine = collector.enrol("h" * 5_000)
    pins = [f"{number:043}" for number in range(100)]
    said = {"trusted_pins": [*pins, "p" * 5_000], "capabilities": ["authorities"]}
    stream = machine.connect(new_id(), **said)
    stream.receive("authorities")  # what it said is noted by then
    stream.close()
    query = "SELECT hostname, trusted_pins FROM machine WHERE machine_id = ?"
    with closing(sqlite3.connect(collector.folder / "identity.db")) as identity:
        kept = identity.execute(query, (machine.machine_id,)).fetchone()
    assert kept == ("h" * 253, " ".join(pins[:8]))


@pytest.mark.parametrize(("hours", "words"), [(-1.5, "1.5 h behind"), (1.5, "1.5 h ahead of")])
def test_a_signature_of_another_hour_is_refused(
    collector: RunningCollector, hours: float, words: str
) -> None:
    """A recording is worth nothing later; a machine whose clock is wrong is told by how much."""
    request = proof(collector.enrol(), signed_at=time.time() + hours * HOUR)
    code, sentence = refusal(collector, request)
    assert code == "FAILED_PRECONDITION"
    assert words in sentence


def test_a_revoked_machine_renews_nothing(collector: RunningCollector) -> None:
    """Its certificate is valid and its key is right, and still."""
    machine = collector.enrol("revoked-renewal")
    run_command("machine", "revoke", "revoked-renewal", "--data", str(collector.folder))
    assert refusal(collector, proof(machine))[0] == "PERMISSION_DENIED"


@pytest.fixture(scope="module")
def short_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector whose certificates end after seconds."""
    running = RunningCollector(
        tmp_path_factory.mktemp("short") / "data",
        settings="certificate_seconds = 4\nserver_certificate_seconds = 8\nlate_renewal_seconds = 12\n",
    )
    yield running
    running.stop()


def wait_for_end(machine: EnrolledMachine, *, seconds_after: float = 1.0) -> None:
    """A second after the certificate's last: TLS compares whole seconds, by a clock of its own."""
    ends = certificate_of(machine).not_valid_after_utc + dt.timedelta(seconds=seconds_after)
    wait_until(lambda: dt.datetime.now(dt.UTC) > ends, seconds=90)


def test_a_certificate_that_has_ended_is_renewed_and_not_for_ever(short_lived: RunningCollector) -> None:
    """It opens no stream any more, and is exchanged for one that does, until that time is over too."""
    machine = short_lived.enrol()
    wait_for_end(machine)
    with pytest.raises(grpc.RpcError) as refused:
        machine.connect(new_id())
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    renew(machine).connect(new_id()).close()
    wait_for_end(machine, seconds_after=13)
    code, sentence = refusal(short_lived, proof(machine))
    assert code == "FAILED_PRECONDITION"
    assert f"token create --for {machine.machine_id}" in sentence


def shown_serial(address: str, ca: bytes) -> str:
    """Of the certificate that a port shows in a verified handshake."""
    host, port = split_address(address)
    context = ssl.create_default_context(cadata=ca.decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        certificate: Any = tls.getpeercert()
        return str(certificate["serialNumber"])


def test_the_server_shows_a_new_certificate_before_the_former_ends(short_lived: RunningCollector) -> None:
    """Both ports, without a restart; a stream that is open meanwhile goes on."""
    machine = renew(short_lived.enrol())
    stream = machine.connect(new_id())
    addresses = (short_lived.people_address, short_lived.agents_address)
    before = {shown_serial(address, short_lived.ca) for address in addresses}
    assert len(before) == 1
    wait_until(
        lambda: before.isdisjoint(shown_serial(address, short_lived.ca) for address in addresses), seconds=90
    )
    stream.deliver([machine.check_started()], first=1)
    assert stream.receive("acknowledged").watermark == 1
    stream.close()


def test_a_server_key_without_its_certificate_is_made_anew(tmp_path: Path) -> None:
    """A crash between the two files costs neither a start nor the names."""
    folder = DataFolder(tmp_path)
    shown = ServerCertificate(folder, Authority.create(folder))
    shown.with_names(["collector.lab.example"])
    folder.server_key.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
    again = ServerCertificate(folder, Authority.load(folder)).with_names([])
    certificate = stored_certificate(folder)
    assert certificate is not None
    key: Any = serialization.load_pem_private_key(again.key, None)
    assert key.public_key() == certificate.public_key()
    assert b"collector.lab.example" in certificate.public_bytes(serialization.Encoding.DER)


def test_a_certificate_of_a_longer_lifetime_than_is_set_is_replaced(tmp_path: Path) -> None:
    """What is set shorter holds at the next start, not after a year."""
    folder = DataFolder(tmp_path)
    signer = Authority.create(folder)
    ServerCertificate(folder, signer).with_names([])
    ServerCertificate(folder, signer, lifetime=dt.timedelta(days=7)).with_names([])
    certificate = stored_certificate(folder)
    assert certificate is not None
    assert certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) <= dt.timedelta(days=7)


def test_no_certificate_outlives_the_authority(tmp_path: Path) -> None:
    """One that nobody could verify is never issued."""
    signer = Authority.create(DataFolder(tmp_path))
    request = signing_request(ec.generate_private_key(ec.SECP256R1()))
    issued = signer.sign_machine(request, machine_id=new_id(), lifetime=dt.timedelta(days=10_000))
    assert signer.ends == issued.not_after


def test_the_end_of_the_authority_is_said_a_year_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not on its last day, when no machine can be told any more."""
    ports.warn_of_end(Authority.create(DataFolder(tmp_path)))
    assert caplog.text == ""
    monkeypatch.setattr(certificates, "CA_LIFETIME", dt.timedelta(days=364))
    ending = Authority.create(DataFolder(tmp_path))
    ports.warn_of_end(ending)
    assert f"ends on {ending.ends.date()}" in caplog.text


def enrol_with(collector: RunningCollector, secret: str) -> str:
    request = signing_request(ec.generate_private_key(ec.SECP256R1()))
    with collector.people_channel() as channel:
        message = EnrollRequest(token=secret, certificate_signing_request=request)
        return EnrollmentServiceStub(channel).Enroll(message).machine_id


def test_a_token_for_a_machine_continues_it(collector: RunningCollector) -> None:
    """A new installation gets a certificate of the old id, once; others get ids of their own."""
    machine = collector.enrol("re-imaged")
    secret = collector.secret("--for", "re-imaged")
    assert machine.machine_id == enrol_with(collector, secret)
    with pytest.raises(grpc.RpcError):
        enrol_with(collector, secret)
    assert machine.machine_id != enrol_with(collector, collector.secret())
    assert [machine.machine_id] == [subject for subject, _ in audited(collector, "machine.enrol_again")]


def test_a_token_for_a_machine_is_for_one_that_stands(collector: RunningCollector) -> None:
    """A revoked machine stays revoked, also when the token was made before; a person is no machine."""
    collector.enrol("stolen")
    secret = collector.secret("--for", "stolen")
    data = ("--data", str(collector.folder))
    run_command("machine", "revoke", "stolen", *data)
    with pytest.raises(grpc.RpcError) as refused:
        enrol_with(collector, secret)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    again = run_command("token", "create", "--for", "stolen", *data)
    assert again.returncode == 2
    assert "revoked for good" in again.stderr
    assert run_command("token", "create", "--for", "stolen", "--role", "admin", *data).returncode == 2
    assert run_command("token", "create", "--for", "nobody", *data).returncode == 1


def test_a_restore_brings_nothing_back(own_collector: RunningCollector, tmp_path: Path) -> None:
    """After `restore` of an older backup a used token stays used and a revoked machine stays out."""
    machine, secret = own_collector.enrol(), own_collector.secret()
    backup, data = str(tmp_path / "backup"), ("--data", str(own_collector.folder))
    assert run_command("backup", backup, *data).returncode == 0
    enrol_with(own_collector, secret)
    run_command("machine", "revoke", machine.machine_id, *data)
    own_collector.stop()
    assert run_command("restore", backup, *data).returncode == 0
    own_collector.start()
    with pytest.raises(grpc.RpcError) as refused:
        machine.connect(new_id())
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert refusal(own_collector, proof(machine))[0] == "PERMISSION_DENIED"
    with pytest.raises(grpc.RpcError) as used:
        enrol_with(own_collector, secret)
    assert used.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_machine_that_an_older_identity_does_not_know_is_readmitted(
    own_collector: RunningCollector,
) -> None:
    """Its certificate is of this CA and valid, so that the fleet need not enrol again; the audit says so."""
    own_collector.stop()
    identity = own_collector.folder / "identity.db"
    shutil.copy(identity, identity.with_suffix(".backup"))
    own_collector.start()
    machine, other = own_collector.enrol(), own_collector.enrol()
    own_collector.stop()
    for log in ("-wal", "-shm"):
        identity.with_name(identity.name + log).unlink(missing_ok=True)
    shutil.copy(identity.with_suffix(".backup"), identity)
    own_collector.start()
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    assert stream.receive("acknowledged").watermark == 1
    stream.close()
    renew(other)
    readmitted = [subject for subject, _ in audited(own_collector, "machine.readmit")]
    assert [machine.machine_id, other.machine_id] == readmitted


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE machine SET revoked_at = NULL",
        "UPDATE token SET used_at = NULL",
        "UPDATE token SET revoked_at = NULL WHERE role = 'viewer'",
        "DELETE FROM token",
        "DELETE FROM machine",
        "DELETE FROM audit",
        "UPDATE audit SET detail = ''",
    ],
)
def test_what_was_used_or_revoked_stays_so(collector: RunningCollector, statement: str) -> None:
    """The identity file itself refuses to take it back, whatever program asks."""
    data = ("--data", str(collector.folder))
    machine = collector.enrol()
    run_command("machine", "revoke", machine.machine_id, *data)
    collector.secret("--role", "viewer")
    with closing(sqlite3.connect(collector.folder / "identity.db")) as identity:
        viewer = "SELECT token_id FROM token WHERE role = 'viewer' AND revoked_at IS NULL"
        (token_id,) = identity.execute(viewer).fetchone()
        run_command("token", "revoke", token_id, *data)
        with pytest.raises(sqlite3.IntegrityError):
            identity.execute(statement)
