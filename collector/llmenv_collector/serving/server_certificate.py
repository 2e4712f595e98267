"""The certificate that both ports show: made and renewed by the collector itself, also while it serves.

A port asks for it at each handshake, so a new one is shown without a restart
and open connections go on.  A renewal that fails is said, and tried again at
the next handshake; until it succeeds the former certificate is shown.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from llmenv_collector.errors import DataFolderError
from llmenv_collector.identity import rotation
from llmenv_collector.identity.authority import ServerIdentity
from llmenv_collector.identity.lifetimes import CLOCK_TOLERANCE, Lifetimes, renewal_due
from llmenv_collector.storage.data_folder import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.storage.data_folder import DataFolder

logger = logging.getLogger(__name__)

ALWAYS_NAMED = ("localhost", "127.0.0.1", "::1")
DEFAULT_LIFETIME = Lifetimes().server


class ServerCertificate:
    """Of one data folder.  Any thread may use it."""

    def __init__(
        self, folder: DataFolder, authority: Authority, *, lifetime: dt.timedelta = DEFAULT_LIFETIME
    ) -> None:
        self._folder = folder
        self._authority = authority
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._shown: ServerIdentity | None = None
        self._state: tuple[int, ...] | None = None
        self._due = dt.datetime.min.replace(tzinfo=dt.UTC)

    @property
    def files(self) -> tuple[Path, Path]:
        """The chain and the key."""
        return self._folder.server_certificate, self._folder.server_key

    def with_names(self, names: Iterable[str]) -> ServerIdentity:
        """The stored one, or a new one when it lacks a name or is due.

        Names once certified stay, so that `init --host` holds for every later `serve`.
        """
        with self._lock:
            return self._ensure(set(names))

    def current(self) -> ServerIdentity:
        """The one to show now."""
        with self._lock:
            self._follow()
            if self._shown is None or dt.datetime.now(dt.UTC) >= self._due:
                return self._ensure(set())
            return self._shown

    def authority(self) -> Authority:
        """As it is now, also when another program has rotated it."""
        with self._lock:
            self._follow()
            return self._authority

    def credentials(self, *, asks_clients: bool = False) -> grpc.ServerCredentials:
        """Of one port.  With `asks_clients` a client must show a certificate of an authority that counts."""
        shown = self._offered(asks_clients=asks_clients)

        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            try:
                current = self._offered(asks_clients=asks_clients)
            except (DataFolderError, OSError) as error:
                logger.warning("the server's certificate cannot be renewed: %s", error)
                return None
            if current == shown:
                return None
            logger.info("a port shows the server's next certificate")
            shown = current
            return configuration(*current)

        return grpc.dynamic_ssl_server_credentials(
            configuration(*shown),
            newer,  # type: ignore[arg-type]  # the stub lacks None, which says: no change
            require_client_authentication=asks_clients,
        )

    def _offered(self, *, asks_clients: bool) -> tuple[ServerIdentity, bytes | None]:
        current = self.current()
        return current, self.authority().trusted_pem if asks_clients else None

    def _follow(self) -> None:
        """Reads the authority again when its files have changed."""
        state = state_of_files(self._folder)
        if state != self._state:
            if self._state is not None:
                self._authority = rotation.load(self._folder)
                self._shown = None
                logger.info("the authority has changed")
            self._state = state_of_files(self._folder)

    def _ensure(self, names: set[str]) -> ServerIdentity:
        stored = stored_certificate(self._folder)
        known = certified_names(stored) if stored else set()
        wanted = known | names | set(ALWAYS_NAMED)
        if stored is None or wanted != known or self._is_due(stored) or not self._is_whole(stored):
            stored = self._replace(wanted)
        self._due = renewal_due(issued=issued(stored), ends=stored.not_valid_after_utc)
        self._shown = ServerIdentity(
            key=self._folder.server_key.read_bytes(), chain=self._folder.server_certificate.read_bytes()
        )
        return self._shown

    def _is_due(self, stored: x509.Certificate) -> bool:
        """Also when the lifetime was set shorter since it was made."""
        now, ends = dt.datetime.now(dt.UTC), stored.not_valid_after_utc
        return now >= renewal_due(issued=issued(stored), ends=ends) or ends - now > self._lifetime

    def _is_whole(self, stored: x509.Certificate) -> bool:
        """Of the present authority, and of the key beside it."""
        chain = self._folder.server_certificate.read_bytes()
        return chain.endswith(self._authority.chain) and self._has_key_of(stored)

    def _has_key_of(self, stored: x509.Certificate) -> bool:
        """False after a crash between the writing of the two files."""
        try:
            key = serialization.load_pem_private_key(self._folder.server_key.read_bytes(), password=None)
        except (OSError, ValueError):
            return False
        return key.public_key() == stored.public_key()

    def _replace(self, names: set[str]) -> x509.Certificate:
        identity = self._authority.sign_server(names, lifetime=self._lifetime)
        write_whole(self._folder.server_key, identity.key, mode=0o600)
        write_whole(self._folder.server_certificate, identity.chain, mode=0o644)
        return x509.load_pem_x509_certificate(identity.chain)


def configuration(identity: ServerIdentity, client_ca: bytes | None) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], client_ca)


def state_of_files(folder: DataFolder) -> tuple[int, ...]:
    """Another one after each change of the authority."""
    paths = (folder.ca_certificate, folder.ca_former)
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def stored_certificate(folder: DataFolder) -> x509.Certificate | None:
    if not folder.server_certificate.exists():
        return None
    try:
        return x509.load_pem_x509_certificates(folder.server_certificate.read_bytes())[0]
    except ValueError as error:
        raise DataFolderError(f"{folder.server_certificate} cannot be read: remove it.") from error


def issued(certificate: x509.Certificate) -> dt.datetime:
    return certificate.not_valid_before_utc + CLOCK_TOLERANCE


def certified_names(certificate: x509.Certificate) -> set[str]:
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in alternatives.get_values_for_type(x509.IPAddress)}
    return addresses | set(alternatives.get_values_for_type(x509.DNSName))
