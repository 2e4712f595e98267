"""The system's keyring for the token, where there is one: the Keychain, the Secret Service, KWallet.

It takes the package keyring (`pip install 'llmenv[keyring]'`), which is imported only here and only when it
is needed.  Without the package, without a keyring, as over ssh, and with `keyring = "never"` in cli.toml, the
token lies in a file that only its owner reads.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SERVICE = "llmenv"
LEAST_PRIORITY = 1
"""Of a backend that keyring recommends; below are those that keep nothing, or keep it in plain text."""


def usable() -> ModuleType | None:
    """The package with a keyring behind it."""
    try:
        import keyring
    except ImportError:
        return None
    return keyring if keyring.get_keyring().priority >= LEAST_PRIORITY else None


def put(address: str, secret: str) -> bool:
    """False where there is no keyring, or it does not take the secret."""
    keyring = usable()
    if keyring is None:
        return False
    try:
        keyring.set_password(SERVICE, address, secret)
    except keyring.errors.KeyringError:
        return False
    return True


def get(address: str) -> str:
    """Raises UsageError where it is not given."""
    keyring = usable()
    if keyring is None:
        raise UsageError(
            "The token is in the system's keyring, which cannot be asked from here: unlock it, or run"
            " `llmenv login` again."
        )
    with _translated(keyring):
        secret = keyring.get_password(SERVICE, address)
    if secret is None:
        raise UsageError("The token is not in the system's keyring any more: run `llmenv login` again.")
    return str(secret)


def remove(address: str) -> None:
    """Nothing where it is not there."""
    keyring = usable()
    if keyring is None:
        return
    with contextlib.suppress(keyring.errors.PasswordDeleteError), _translated(keyring):
        keyring.delete_password(SERVICE, address)


@contextlib.contextmanager
def _translated(keyring: ModuleType) -> Iterator[None]:
    try:
        yield
    except keyring.errors.PasswordDeleteError:
        raise
    except keyring.errors.KeyringError as error:
        raise UsageError(f"The system's keyring does not give the token: {error}.") from error
