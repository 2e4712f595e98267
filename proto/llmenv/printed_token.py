"""The token that a collector prints: its address, the pin of its CA, and a secret, in one string.

`llmenv1.` and base64url, without padding, of the JSON object {"a": address, "p": pin, "t": secret}.
"""

from __future__ import annotations

import base64
import dataclasses
import json

from llmenv.addresses import split_address

PREFIX = "llmenv1."
DAMAGED = f"The token is damaged: copy it whole, from {PREFIX} to its end."


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrintedToken:
    """`address` is host:port, `pin` the SHA-256 of the CA's public key in base64url without padding."""

    address: str
    pin: str
    secret: str = dataclasses.field(repr=False)

    @classmethod
    def parse(cls, text: str) -> PrintedToken:
        """Raises ValueError with a sentence that does not repeat the text, which may be a secret."""
        text = text.strip()
        if not text.startswith(PREFIX):
            raise ValueError(
                f"This is no token: it starts with {PREFIX} as `llmenv-collector token create` prints it."
            )
        encoded = text.removeprefix(PREFIX)
        try:
            content = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
            address, pin, secret = (content[key] for key in "apt")
            split_address(address)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(DAMAGED) from error
        # What is no ASCII may be half of a character, which nothing can encode.
        if not all(isinstance(part, str) and part and part.isascii() for part in (pin, secret)):
            raise ValueError(DAMAGED)
        return cls(address=address, pin=pin, secret=secret)

    def __str__(self) -> str:
        content = json.dumps({"a": self.address, "p": self.pin, "t": self.secret}, separators=(",", ":"))
        return PREFIX + base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
