"""Who this machine is to its collector: an issued id, a key made here, a certificate, and whom to trust.

All of it lies in one file of the state directory, readable by its owner alone and replaced as a whole, so
that a key never stands beside another key's certificate, whenever the machine stops.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from llmenv_agent.errors import IdentityError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "identity.json"
ROOM_BYTES = 16_384  # an identity has about 2,000
# Two thirds of the lifetime, spread so that machines enrolled together do not renew together.
RENEWED_AFTER = (0.60, 0.73)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """PEM texts, addresses as host:port, times in ISO 8601 with their offset."""

    machine_id: str
    key_pem: str
    certificate_pem: str
    ca_pem: str
    enrollment_address: str
    """Where the machine enrolled, and renews."""
    agent_addresses: tuple[str, ...]
    """In order of preference."""
    not_after: str
    """End of the certificate's validity."""
    renew_at: str
    """When the next certificate is due."""

    def remaining(self) -> dt.timedelta:
        """Time until the certificate ends; negative after it."""
        return dt.datetime.fromisoformat(self.not_after) - dt.datetime.now(dt.UTC)

    def until_renewal(self) -> dt.timedelta:
        """Time until the next certificate is due; negative after it."""
        return dt.datetime.fromisoformat(self.renew_at) - dt.datetime.now(dt.UTC)


def renewal_due(not_after: dt.datetime) -> str:
    """When a certificate issued now is to be renewed."""
    now = dt.datetime.now(dt.UTC)
    share = random.uniform(*RENEWED_AFTER)  # noqa: S311 # spreads load, protects nothing
    return (now + (not_after - now) * share).isoformat()


def load_identity(state_dir: Path) -> Identity:
    """Raises IdentityError where there is none, or none that can be read."""
    path = state_dir / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _identity_of(content)
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


def _identity_of(content: dict[str, Any]) -> Identity:
    """Raises ValueError naming what is missing, as in a file of another version."""
    lacking = [each.name for each in fields(Identity) if each.name not in content]
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    return Identity(**{**content, "agent_addresses": tuple(content["agent_addresses"])})


def require_room(state_dir: Path) -> None:
    """Raises IdentityError where an identity could not be kept: asked first, since a token is spent once."""
    _write_part(state_dir, "." * ROOM_BYTES).unlink()


def save_identity(state_dir: Path, identity: Identity) -> Path:
    """Replace the stored identity as a whole; returns the file."""
    path = state_dir / FILE_NAME
    _write_part(state_dir, json.dumps(asdict(identity), indent=2)).replace(path)
    return path


def replace_identity(state_dir: Path, former: Identity, identity: Identity) -> None:
    """Store what `former` became. Raises IdentityError where another one was stored meanwhile."""
    if load_identity(state_dir) != former:
        raise IdentityError("This machine was enrolled anew meanwhile; that identity stays.")
    save_identity(state_dir, identity)


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
