"""The authority is rotated: both are trusted for a while, and a crash at any moment leaves one that works."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from llmenv.ids import new_id
from llmenv_agent.trust import trusted_pins
from llmenv_collector.backups.backup_folder import write_identity
from llmenv_collector.errors import DataFolderError, UnauthenticatedError, UsageError
from llmenv_collector.identity import rotation
from llmenv_collector.identity.authority import Authority
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.serving.server_certificate import ServerCertificate
from llmenv_collector.storage.data_folder import DataFolder

from .conftest import signing_request

if TYPE_CHECKING:
    from pathlib import Path

MONTH = dt.timedelta(days=30)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    made.create()
    Authority.create(made)
    Identity.create(made.identity)
    return made


def machine_pem(authority: Authority) -> bytes:
    request = signing_request(ec.generate_private_key(ec.SECP256R1()))
    return authority.sign_machine(request, machine_id=new_id(), lifetime=MONTH).pem


def test_machines_of_both_are_accepted_until_the_former_is_retired(folder: DataFolder) -> None:
    """New certificates are of the new one; what agents are told is what they say that they trust."""
    identity, former = Identity(folder.identity), rotation.load(folder)
    before = machine_pem(former)
    rotation.rotate(folder, identity)
    now = rotation.load(folder)
    assert now.pin != former.pin
    assert now.trusted_pins == {now.pin, former.pin} == set(trusted_pins(now.trusted_pem.decode()))
    after = machine_pem(now)
    for pem in (before, after):
        assert now.read_machine(pem).machine_id
    with pytest.raises(UnauthenticatedError):
        former.read_machine(after)
    with pytest.raises(UsageError, match="is being rotated already"):
        rotation.rotate(folder, identity)
    rotation.retire(folder, identity)
    last = rotation.load(folder)
    assert (last.trusted_pins, last.trusted_pem) == ({now.pin}, now.pem)
    with pytest.raises(UnauthenticatedError):
        last.read_machine(before)
    with pytest.raises(UsageError, match="no former authority"):
        rotation.retire(folder, identity)
    with identity.reading() as connection:
        rows = connection.execute("SELECT action, subject FROM audit ORDER BY rowid").fetchall()
    assert rows == [("authority.rotate", now.pin), ("authority.retire", now.pin)]


def test_a_server_shows_its_next_certificate_to_whoever_trusts_either(folder: DataFolder) -> None:
    """Without a restart; its chain leads to both, and to one alone after the end of the former."""
    shown = ServerCertificate(folder, Authority.load(folder))
    first = shown.with_names(["localhost"])
    former = shown.authority()
    rotation.rotate(folder, Identity(folder.identity))
    second = shown.current()
    assert second != first
    chain = x509.load_pem_x509_certificates(second.chain)
    assert shown.authority().pin != former.pin
    assert chain[0].issuer == chain[1].subject == chain[2].subject
    assert chain[1].issuer == chain[3].subject == x509.load_pem_x509_certificate(former.pem).subject
    chain[0].verify_directly_issued_by(chain[1])
    chain[1].verify_directly_issued_by(chain[3])
    rotation.retire(folder, Identity(folder.identity))
    assert len(x509.load_pem_x509_certificates(shown.current().chain)) == 2


@pytest.mark.parametrize("writes", range(5))
def test_a_crash_leaves_the_former_or_the_new_one(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """After each of the writes: what is loaded then signs, and a rotation can be made."""
    done: list[str] = []
    write_whole = rotation.write_whole

    def crashing(path: Path, content: bytes, *, mode: int) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path.name)
        write_whole(path, content, mode=mode)

    former = Authority.load(folder)
    with monkeypatch.context() as patch:
        patch.setattr(rotation, "write_whole", crashing)
        patch.setattr(rotation, "finish", lambda _: None)
        if writes < 4:
            with pytest.raises(KeyboardInterrupt):
                rotation.rotate(folder, Identity(folder.identity))
        else:
            rotation.rotate(folder, Identity(folder.identity))
    found = rotation.load(folder)
    assert (found.pin == former.pin) == (writes < 4)
    assert found.read_machine(machine_pem(found))
    assert not folder.ca_next_key.exists()
    assert folder.ca_former.exists() == folder.ca_cross.exists() == (writes == 4)


def test_a_crash_while_the_former_is_retired_is_completed(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two files: it is retired when that is asked for again."""
    rotation.rotate(folder, Identity(folder.identity))
    removed: list[str] = []
    unlink = type(folder.ca_former).unlink

    def crashing(path: Path, *, missing_ok: bool = False) -> None:
        if path in {folder.ca_former, folder.ca_cross}:
            if removed:
                raise KeyboardInterrupt
            removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(type(folder.ca_former), "unlink", crashing)
        with pytest.raises(KeyboardInterrupt):
            rotation.retire(folder, Identity(folder.identity))
    rotation.retire(folder, Identity(folder.identity))
    assert not folder.ca_former.exists()
    assert not folder.ca_cross.exists()
    assert rotation.load(folder).trusted_pem == rotation.load(folder).pem


def test_a_crash_between_the_key_and_its_certificate_is_completed(folder: DataFolder) -> None:
    """The key is in its place, the certificate not yet."""
    made = Authority.load(folder).successor()
    folder.ca_key.write_bytes(made.key_pem)
    folder.ca_next_certificate.write_bytes(made.pem)
    assert rotation.load(folder).pin == made.pin


def test_a_backup_made_meanwhile_has_both(folder: DataFolder, tmp_path: Path) -> None:
    """Else whoever restores it would lock out the machines of the former."""
    rotation.rotate(folder, Identity(folder.identity))
    write_identity(tmp_path / "identity", folder)
    assert {folder.ca_former.name, folder.ca_cross.name} <= {
        one.name for one in (tmp_path / "identity").iterdir()
    }


def test_an_authority_that_may_certify_none_is_not_rotated(folder: DataFolder) -> None:
    """As those of early development versions."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.load_pem_x509_certificate(Authority.load(folder).pem)
    builder = x509.CertificateBuilder(
        made.subject, made.subject, key.public_key(), 1, made.not_valid_before_utc, made.not_valid_after_utc
    ).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    old = Authority(key=key, certificate=builder.sign(key, hashes.SHA256()))
    with pytest.raises(DataFolderError, match="cannot be rotated"):
        old.successor()


def test_what_an_agent_is_told_is_read_before_it_is_trusted(folder: DataFolder) -> None:
    """Whatever is no certificate is refused."""
    pem = Authority.load(folder).pem.decode()
    assert trusted_pins(pem) == (Authority.load(folder).pin,)
    assert trusted_pins("nothing") == ()
    assert ssl.PEM_cert_to_DER_cert(pem)
