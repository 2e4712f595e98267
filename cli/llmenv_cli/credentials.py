"""What `llmenv login` keeps: which collector, its CA, and the token, in a file only its owner reads."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path

from llmenv_cli.errors import UsageError
from llmenv_cli.settings import config_folder

FILE_NAME = "credentials.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credentials:
    """`address` is host:port, `ca_pem` what its certificate must be signed by."""

    address: str
    ca_pem: str
    token: str

    @classmethod
    def load(cls) -> Credentials:
        """Raises UsageError when nobody logged in, or the file is damaged."""
        file = credentials_file()
        try:
            content = json.loads(file.read_text("utf-8"))
            return cls(address=content["address"], ca_pem=content["ca_pem"], token=content["token"])
        except FileNotFoundError as error:
            raise UsageError(
                "No collector is known here: run `llmenv login` with a token of yours."
            ) from error
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{file} is damaged: run `llmenv login` again.") from error

    def save(self) -> Path:
        """Replace the file as a whole; it is never readable by others, not even for a moment."""
        file = credentials_file()
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(dir=file.parent)  # 0600
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    json.dump(dataclasses.asdict(self), stream, indent=2)
                Path(temporary).replace(file)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}.") from error
        return file


def credentials_file() -> Path:
    return config_folder() / FILE_NAME
