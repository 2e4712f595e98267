"""The pages show a certificate of the lab's own, read again when it changes; other files are refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from llmenv_collector import settings
from llmenv_collector.errors import DataFolderError, UsageError
from llmenv_collector.live import server as live_server
from llmenv_collector.live.server import LivePages
from llmenv_collector.serving.lab_certificate import LabCertificate
from llmenv_collector.serving.ports import agent_addresses
from llmenv_collector.settings import Address, Settings
from llmenv_collector.storage.data_folder import Serving

from .conftest import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.timedelta(days=1)


def write_pair(folder: Path, *, key: Any, days: int = 90) -> LabCertificate:
    """A self-signed certificate and its key, as files."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pages.lab")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + days * DAY)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "lab.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "lab.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return LabCertificate(folder / "lab.pem", folder / "lab.key")


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def shown(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


def test_the_pages_show_it_and_its_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An RSA certificate first, then one that whatever renews it has put in its place."""
    monkeypatch.setattr(live_server, "RENEWAL_SECONDS", 0.05)
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = write_pair(tmp_path, key=rsa_key)

    async def both() -> tuple[bytes, bytes]:
        async with LivePages(Any, certificate).open(Address("127.0.0.1", 0)) as port:
            first = await shown(port)
            write_pair(tmp_path, key=new_key())
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (second := await shown(port)) == first:
                    pass
            return first, second

    first, second = asyncio.run(both())
    assert isinstance(x509.load_der_x509_certificate(first).public_key(), rsa.RSAPublicKey)
    assert isinstance(x509.load_der_x509_certificate(second).public_key(), ec.EllipticCurvePublicKey)


def test_files_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    """What is wrong, and with which file."""
    certificate = write_pair(tmp_path, key=new_key())
    assert certificate.current().chain == (tmp_path / "lab.pem").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    write_pair(other, key=new_key())
    (tmp_path / "lab.key").write_bytes((other / "lab.key").read_bytes())
    with pytest.raises(DataFolderError, match=r"lab\.key is not the key of"):
        certificate.current()
    (tmp_path / "lab.key").write_text("nonsense")
    with pytest.raises(DataFolderError, match="are not a PEM certificate and its key"):
        certificate.current()
    (tmp_path / "lab.key").unlink()
    with pytest.raises(DataFolderError, match=r"lab\.key cannot be read: No such file"):
        certificate.current()


def test_its_end_is_said_a_week_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each certificate."""
    certificate = write_pair(tmp_path, key=new_key(), days=3)
    certificate.current()
    certificate.current()
    assert len([record for record in caplog.records if "ends on" in record.getMessage()]) == 1


def test_both_files_are_needed() -> None:
    """None is the collector's own certificate."""
    assert LabCertificate.of(Settings()) is None
    with pytest.raises(UsageError, match="go together"):
        LabCertificate.of(Settings(pages_key="lab.key"))


def test_a_collector_has_several_names(tmp_path: Path) -> None:
    """The first is what people are told; agents are told all, with the port that is served."""
    several = Settings(advertise="collector.lab, 10.8.0.1 ,::1")
    assert settings.people_address(several) == "collector.lab:7443"
    serving = Serving("collector.lab:1", "collector.lab:7444", pid=1)
    assert agent_addresses(several, serving) == ["collector.lab:7444", "10.8.0.1:7444", "[::1]:7444"]
    assert agent_addresses(Settings(), Serving("a:1", "127.0.0.1:5", pid=1)) == ["127.0.0.1:5"]
