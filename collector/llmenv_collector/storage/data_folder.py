"""The folder in which a collector keeps everything: who may touch it, and what lies where.

Only one `serve` may use a folder at a time (a lock that ends with its process).
What a running collector's other commands need to know stands in serving.json.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from llmenv_collector.errors import DataFolderError

if TYPE_CHECKING:
    from collections.abc import Iterator

PUT_BACK = "put it back from a copy, or run `llmenv-collector restore --with-identity` in a new folder"
"""What helps when a file that cannot be made anew is lost or damaged."""


@dataclass(frozen=True)
class Serving:
    """Where a running collector is: host:port of its ports, and its process id."""

    people_address: str
    agents_address: str
    pid: int
    pages_address: str = ""
    """Empty where it serves no pages."""


@dataclass(frozen=True)
class DataFolder:
    """Paths inside one collector's folder."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "llmenv.duckdb"

    @property
    def identity(self) -> Path:
        return self.path / "identity.db"

    @property
    def configuration(self) -> Path:
        return self.path / "collector.toml"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def backups(self) -> Path:
        return self.path / "backups.json"

    @property
    def serving(self) -> Path:
        return self.path / "serving.json"

    @property
    def ca_certificate(self) -> Path:
        return self.path / "ca.pem"

    @property
    def ca_key(self) -> Path:
        return self.path / "ca-key.pem"

    @property
    def ca_next_certificate(self) -> Path:
        """There only while a rotation is being written."""
        return self.path / "ca-next.pem"

    @property
    def ca_next_key(self) -> Path:
        return self.path / "ca-next-key.pem"

    @property
    def ca_former(self) -> Path:
        """The authority before, still accepted; there only during a rotation."""
        return self.path / "ca-former.pem"

    @property
    def ca_cross(self) -> Path:
        """The present authority, certified by the former one."""
        return self.path / "ca-cross.pem"

    @property
    def server_certificate(self) -> Path:
        return self.path / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.path / "server-key.pem"

    def is_initialised(self) -> bool:
        """Raises DataFolderError where the authority is gone: another one would lock every machine out."""
        if self.identity.exists() and not self.ca_key.exists():
            raise DataFolderError(
                f"{self.path} holds a collector without {self.ca_key.name}, the key of its authority:"
                f" {PUT_BACK}."
            )
        return self.identity.exists()

    def require_initialised(self) -> None:
        if not self.is_initialised():
            raise DataFolderError(
                f"{self.path} holds no collector: run `llmenv-collector init --data {self.path}`."
            )

    def create(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise DataFolderError(f"{self.path} cannot be made a data folder: {error.strerror}.") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a collector uses the folder; ends with the process, however it ends."""
        with (self.path / "serve.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataFolderError(f"Another llmenv-collector already uses {self.path}.") from error
            yield

    @contextmanager
    def announce(self, serving: Serving) -> Iterator[None]:
        """serving.json is there, whole, while the collector serves."""
        write_whole(self.serving, json.dumps(asdict(serving)).encode(), mode=0o600)
        try:
            yield
        finally:
            self.serving.unlink(missing_ok=True)

    def read_serving(self) -> Serving | None:
        """None when no collector serves this folder, as far as it says."""
        try:
            return Serving(**json.loads(self.serving.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise DataFolderError(f"{self.serving} is not what serve writes: remove it.") from error


def default_path() -> Path:
    return Path(platformdirs.user_data_dir("llmenv", appauthor=False)) / "collector"


def put_in_place(file: Path, path: Path) -> None:
    """Of both names one or the other is there, also after a power failure."""
    file.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes, *, mode: int) -> None:
    """The file has either its old content or the new one, never a part, and never wider access."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
