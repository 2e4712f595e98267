"""The token that a collector prints: its address, the pin of its CA, and a secret, in one string."""

from __future__ import annotations

import base64
import dataclasses
import json

from llmenv_cli.errors import UsageError

PREFIX = "llmenv1."


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccessToken:
    """`address` is host:port, `pin` the SHA-256 of the CA's public key in base64url without padding."""

    address: str
    pin: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> AccessToken:
        """Raises UsageError for anything that was not copied whole."""
        text = text.strip()
        if not text.startswith(PREFIX):
            raise UsageError(
                f"This is no token: it starts with {PREFIX} as `llmenv-collector token create` prints it."
            )
        encoded = text.removeprefix(PREFIX)
        try:
            content = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
            parts = {key: content[key] for key in "apt"}
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"The token is damaged: copy it whole, from {PREFIX} to its end.") from error
        if not all(isinstance(part, str) and part for part in parts.values()):
            raise UsageError(f"The token is damaged: copy it whole, from {PREFIX} to its end.")
        return cls(address=parts["a"], pin=parts["p"].rstrip("="), secret=parts["t"])
