"""Who this machine is to its collector: an issued id, a key made here, a certificate, and whom to trust.

All of it lies in one file of the state directory, readable by its owner alone and replaced as a whole, so
that a key never stands beside another key's certificate.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from llmenv_agent.errors import IdentityError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "identity.json"
ROOM_BYTES = 16_384  # an identity has about 2,000


@dataclass(frozen=True, kw_only=True)
class Identity:
    """PEM texts, and `agent_addresses` as host:port in order of preference."""

    machine_id: str
    key_pem: str
    certificate_pem: str
    ca_pem: str
    agent_addresses: tuple[str, ...]
    not_after: str
    """End of the certificate's validity, ISO 8601 with its offset."""

    def remaining(self) -> dt.timedelta:
        """Time until the certificate ends; negative after it."""
        return dt.datetime.fromisoformat(self.not_after) - dt.datetime.now(dt.UTC)


def load_identity(state_dir: Path) -> Identity:
    """Raises IdentityError where there is none, or none that can be read."""
    path = state_dir / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Identity(**{**content, "agent_addresses": tuple(content["agent_addresses"])})
    except FileNotFoundError:
        raise IdentityError(
            f"This machine is not enrolled (there is no {path}): run `llmenv-agent enroll --token TOKEN`."
        ) from None
    except OSError as error:
        raise IdentityError(f"The identity {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IdentityError(
            f"The identity {path} is damaged ({error}): enroll again with --replace."
        ) from error


def require_room(state_dir: Path) -> None:
    """Raises IdentityError where an identity could not be kept: asked first, since a token is spent once."""
    _write_part(state_dir, "." * ROOM_BYTES).unlink()


def save_identity(state_dir: Path, identity: Identity) -> Path:
    """Replace the stored identity as a whole; returns the file."""
    path = state_dir / FILE_NAME
    _write_part(state_dir, json.dumps(asdict(identity), indent=2)).replace(path)
    return path


def _write_part(state_dir: Path, content: str) -> Path:
    path = state_dir / FILE_NAME
    part = path.with_name(path.name + ".part")
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise IdentityError(f"The identity {path} cannot be written: {error.strerror}.") from error
    return part
