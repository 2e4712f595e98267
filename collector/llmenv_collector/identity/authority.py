"""The collector's own certificate authority: who is this collector, and who is this machine.

Keys are P-256, written 0600, and never leave the data folder.  A machine's
certificate carries its id as URI llmenv://machine/<id>.  None outlives the CA.
While the CA is rotated the former one is accepted as well, see `rotation`.
"""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from llmenv_collector.errors import DataFolderError, UnauthenticatedError
from llmenv_collector.identity.certificates import (
    certify,
    general_name,
    key_pem,
    key_usage,
    own_certificate,
    pem_of,
    pin_of,
    requested_key,
    require_issued,
    unsigned,
)
from llmenv_collector.identity.lifetimes import CLOCK_TOLERANCE
from llmenv_collector.storage.data_folder import PUT_BACK, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from llmenv_collector.storage.data_folder import DataFolder

MACHINE_URI = "llmenv://machine/"

Read = TypeVar("Read")


@dataclass(frozen=True)
class ServerIdentity:
    """PEM: the server's key, and its certificate followed by the CA's."""

    key: bytes
    chain: bytes


@dataclass(frozen=True)
class MachineCertificate:
    pem: bytes
    serial: str
    not_after: dt.datetime


@dataclass(frozen=True)
class Presented:
    """A machine's certificate of this CA, whether it has ended or not."""

    machine_id: str
    serial: str
    not_after: dt.datetime
    public_key: ec.EllipticCurvePublicKey


class Authority:
    """Signs for one data folder."""

    def __init__(
        self,
        *,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        former: x509.Certificate | None = None,
        cross: x509.Certificate | None = None,
    ) -> None:
        self._key = key
        self._certificate = certificate
        self._former = former
        self._cross = cross

    @classmethod
    def create(cls, folder: DataFolder) -> Authority:
        """A new CA, its files written."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls(key=key, certificate=own_certificate(key))
        write_whole(folder.ca_certificate, made.pem, mode=0o644)
        write_whole(folder.ca_key, made.key_pem, mode=0o600)
        return made

    @classmethod
    def load(cls, folder: DataFolder) -> Authority:
        """Raises DataFolderError where the files are not the two that were made together."""
        key = readable(folder.ca_key, lambda pem: serialization.load_pem_private_key(pem, password=None))
        certificate = readable(folder.ca_certificate, x509.load_pem_x509_certificate)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise DataFolderError(f"{folder.ca_key} is not a P-256 key.")
        if key.public_key() != certificate.public_key():
            raise DataFolderError(f"{folder.ca_certificate} is not of the key beside it: {PUT_BACK}.")
        former, cross = (
            readable(path, x509.load_pem_x509_certificate) if path.exists() else None
            for path in (folder.ca_former, folder.ca_cross)
        )
        return cls(key=key, certificate=certificate, former=former, cross=cross)

    def successor(self) -> Authority:
        """The next CA, certified by this one too: who trusts this one trusts it as well.

        Raises DataFolderError where this one may not certify another.
        """
        constraints = self._certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if constraints.path_length == 0:
            raise DataFolderError(
                "The authority is of a development version that cannot be rotated: make a new collector."
            )
        key = ec.generate_private_key(ec.SECP256R1())
        return Authority(
            key=key,
            certificate=own_certificate(key),
            former=self._certificate,
            cross=certify(key.public_key(), by=self._key, issuer=self._certificate, ends=self.ends),
        )

    @property
    def key_pem(self) -> bytes:
        return key_pem(self._key)

    @property
    def former_pem(self) -> bytes:
        """Empty outside a rotation."""
        return pem_of(self._former)

    @property
    def cross_pem(self) -> bytes:
        """Empty outside a rotation."""
        return pem_of(self._cross)

    @property
    def trusted_pem(self) -> bytes:
        """What machines trust, and whose machines are accepted."""
        return self.pem + self.former_pem

    @functools.cached_property
    def trusted_pins(self) -> frozenset[str]:
        return frozenset(pin_of(one) for one in self._trusted())

    @property
    def chain(self) -> bytes:
        """What follows the server's certificate.

        The CA itself, so that a first contact can compare it with the pin in its token; the one certified by
        the former before it, since a search for an issuer takes the first that fits.
        """
        return self.cross_pem + self.pem + self.former_pem

    @property
    def began(self) -> dt.datetime:
        return self._certificate.not_valid_before_utc + CLOCK_TOLERANCE

    def _trusted(self) -> list[x509.Certificate]:
        return [self._certificate, *([self._former] if self._former else [])]

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pin(self) -> str:
        return pin_of(self._certificate)

    @property
    def ends(self) -> dt.datetime:
        return self._certificate.not_valid_after_utc

    def sign_server(self, names: Iterable[str], *, lifetime: dt.timedelta) -> ServerIdentity:
        """For a key made here.  Raises UsageError for a name that a certificate cannot carry."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "llmenv collector")])
        builder = self._unsigned(subject, key.public_key(), lifetime)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([general_name(name) for name in sorted(names)]), critical=False
        )
        certificate = self._sign_leaf(builder, ExtendedKeyUsageOID.SERVER_AUTH)
        return ServerIdentity(key=key_pem(key), chain=pem_of(certificate) + self.chain)

    def sign_machine(
        self, signing_request: bytes, *, machine_id: str, lifetime: dt.timedelta
    ) -> MachineCertificate:
        """Raises UsageError unless the DER request carries a P-256 key and its own valid signature."""
        public_key = requested_key(signing_request)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, machine_id)])
        builder = self._unsigned(subject, public_key, lifetime)
        uri = x509.UniformResourceIdentifier(MACHINE_URI + machine_id)
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        certificate = self._sign_leaf(builder, ExtendedKeyUsageOID.CLIENT_AUTH)
        return MachineCertificate(
            pem=certificate.public_bytes(serialization.Encoding.PEM),
            serial=f"{certificate.serial_number:x}",
            not_after=certificate.not_valid_after_utc,
        )

    def read_machine(self, pem: bytes) -> Presented:
        """Raises UnauthenticatedError unless it is a machine's certificate that this CA signed."""
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            require_issued(certificate, self._trusted())
            alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            key = certificate.public_key()
        except (
            ValueError,
            TypeError,
            InvalidSignature,
            UnsupportedAlgorithm,
            x509.ExtensionNotFound,
        ) as error:
            raise UnauthenticatedError("This is no certificate of this collector's.") from error
        uris = alternatives.get_values_for_type(x509.UniformResourceIdentifier)
        machines = [uri.removeprefix(MACHINE_URI) for uri in uris if uri.startswith(MACHINE_URI)]
        if not machines or not isinstance(key, ec.EllipticCurvePublicKey):
            raise UnauthenticatedError("This is no machine's certificate.")
        return Presented(
            machine_id=machines[0],
            serial=f"{certificate.serial_number:x}",
            not_after=certificate.not_valid_after_utc,
            public_key=key,
        )

    def _unsigned(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, lifetime: dt.timedelta
    ) -> x509.CertificateBuilder:
        ends = min(dt.datetime.now(dt.UTC) + lifetime, self.ends)
        return unsigned(subject, self._certificate.subject, public_key, ends)

    def _sign_leaf(self, builder: x509.CertificateBuilder, usage: x509.ObjectIdentifier) -> x509.Certificate:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(key_usage(sign_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())


def readable(path: Path, parse: Callable[[bytes], Read]) -> Read:
    """One of the authority's files, which only a copy replaces."""
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        raise DataFolderError(f"{path}, of the authority, is not there: {PUT_BACK}.") from None
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise DataFolderError(f"{path}, of the authority, cannot be read: {PUT_BACK}.") from error
