"""A certificate of the lab's own for the pages, so that browsers trust them without the collector's CA.

The files are read again every minute, so whatever renews them needs no restart.  The ports of agents and of
the programs go on showing the collector's own: who enrolled or logged in trusts that one and no other.
"""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from llmenv.named_file import refuse_pipes

from llmenv_collector.errors import DataFolderError, UsageError
from llmenv_collector.identity.authority import ServerIdentity

if TYPE_CHECKING:
    from llmenv_collector.settings import Settings

logger = logging.getLogger(__name__)

WARN_OF_END = dt.timedelta(days=7)


class LabCertificate:
    """Of two PEM files: the chain, its own certificate first, and the key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files = (certificate, key)
        self._said: dt.datetime | None = None

    @classmethod
    def of(cls, settings: Settings) -> LabCertificate | None:
        """None where none is set.  Raises UsageError for one without the other."""
        files = (settings.pages_certificate, settings.pages_key)
        if not any(files):
            return None
        if not all(files):
            raise UsageError("pages_certificate and pages_key go together: set both, or none.")
        return cls(Path(files[0]).expanduser(), Path(files[1]).expanduser())

    def current(self) -> ServerIdentity:
        """Raises DataFolderError for files that cannot be shown."""
        certificate, key = self.files
        chain, secret = read(certificate), read(key)
        try:
            first = x509.load_pem_x509_certificates(chain)[0]
            private = serialization.load_pem_private_key(secret, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise DataFolderError(
                f"{certificate} and {key} are not a PEM certificate and its key without a password."
            ) from error
        if private.public_key() != first.public_key():
            raise DataFolderError(f"{key} is not the key of {certificate}.")
        self._warn(first.not_valid_after_utc)
        return ServerIdentity(key=secret, chain=chain)

    def _warn(self, ends: dt.datetime) -> None:
        """Once for each certificate."""
        if ends - dt.datetime.now(dt.UTC) < WARN_OF_END and ends != self._said:
            logger.warning("the certificate of the pages, %s, ends on %s", self.files[0], ends.date())
            self._said = ends


def read(path: Path) -> bytes:
    try:
        refuse_pipes(path)
        return path.read_bytes()
    except OSError as error:
        raise DataFolderError(f"{path} cannot be read: {error.strerror}.") from error
