"""What `llmenv login` keeps: which collector and its CA, in a file that only its owner reads.

The token is in the system's keyring where there is one, else in that file.  Whom to trust is learnt again now
and then, on a connection where the collector has shown itself: nobody logs in again because its authority
is rotated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import ssl
import tempfile
import time
from pathlib import Path

from llmenv_cli import system_keyring
from llmenv_cli.errors import UsageError
from llmenv_cli.settings import config_folder

FILE_NAME = "credentials.json"
LEARN_SECONDS = 3_600.0
"""The collector is asked whom to trust once in so long."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credentials:
    """`address` is host:port, `ca_pem` what its certificate must be signed by, one or more."""

    address: str
    ca_pem: str
    token: str
    learnt_at: float | None = None
    """When the collector was last asked whom to trust, seconds since 1970; None: it is not to be asked."""

    @classmethod
    def load(cls) -> Credentials:
        """Raises UsageError when nobody logged in, or the file is damaged."""
        file = credentials_file()
        try:
            content = json.loads(file.read_text("utf-8"))
            address, ca_pem, token = (content[key] for key in ("address", "ca_pem", "token"))
            learnt_at = float(content.get("learnt_at", 0))
        except FileNotFoundError as error:
            raise UsageError(
                "No collector is known here: run `llmenv login` with a token of yours."
            ) from error
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file} is damaged: run `llmenv login` again.") from error
        token = system_keyring.get(address) if token is None else token
        return cls(address=address, ca_pem=ca_pem, token=token, learnt_at=learnt_at)

    def are_to_learn(self) -> bool:
        """Also after a clock that was wrong."""
        return self.learnt_at is not None and abs(time.time() - self.learnt_at) >= LEARN_SECONDS

    def learn(self, ca_pem: str) -> None:
        """Keeps whom to trust from now on, unless somebody has logged in otherwise meanwhile.

        Raises UsageError where it cannot be written.
        """
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(credentials_file().read_text("utf-8"))
            if (content.get("address"), content.get("ca_pem")) == (self.address, self.ca_pem):
                trusted = ca_pem if _are_authorities(ca_pem) else self.ca_pem
                _write(content | {"ca_pem": trusted, "learnt_at": time.time()})

    def save(self, *, in_keyring: bool) -> bool:
        """Whether the token is in the keyring; else it is in the file, and none from before in a keyring."""
        kept = in_keyring and system_keyring.put(self.address, self.token)
        if not kept:
            _leave_keyring()
        content = dataclasses.asdict(self) | {"learnt_at": time.time()}
        _write(content | ({"token": None} if kept else {}))
        return kept


def _write(content: dict[str, object]) -> None:
    """Replaces the file as a whole; it is never readable by others, not even for a moment."""
    file = credentials_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent)  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(content, stream, indent=2)
            Path(temporary).replace(file)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}.") from error


def _are_authorities(ca_pem: str) -> bool:
    """What cannot be read, and nothing, would lock this person out."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _leave_keyring() -> None:
    """Takes the token of the login before out of the keyring, where it is there and the keyring gives it."""
    try:
        content = json.loads(credentials_file().read_text("utf-8"))
        address, is_in_keyring = str(content["address"]), content["token"] is None
    except (OSError, ValueError, KeyError, TypeError):
        return
    if is_in_keyring:
        with contextlib.suppress(UsageError):  # a locked one; the token in the file counts from now on
            system_keyring.remove(address)


def forget() -> str | None:
    """Removes the token from wherever it is; the address that it was for, None when nobody was logged in."""
    file = credentials_file()
    try:
        content = json.loads(file.read_text("utf-8"))
        address, token = content["address"], content["token"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        address, token = "a collector", ""
    if token is None:
        system_keyring.remove(address)
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{file} cannot be removed: {error.strerror}.") from error
    return str(address)


def credentials_file() -> Path:
    return config_folder() / FILE_NAME
