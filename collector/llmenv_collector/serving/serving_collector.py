"""The collector that serves a data folder, asked by its other commands: over TLS, with a token of a minute.

Whoever can read the folder may make tokens for it anyway.
"""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from llmenv.fleet.v1.collector_service_pb2 import TakeSnapshotRequest
from llmenv.fleet.v1.collector_service_pb2_grpc import CollectorServiceStub

from llmenv_collector.errors import BackupError
from llmenv_collector.identity import tokens
from llmenv_collector.identity.identity_file import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_collector.storage.data_folder import DataFolder

TOKEN_SECONDS = 60


@dataclass(frozen=True)
class Copy:
    """A file of the serving collector's that stays as it is until the block ends."""

    path: Path
    taken_at: dt.datetime


@contextmanager
def snapshot(folder: DataFolder) -> Iterator[Copy]:
    """Raises BackupError when the collector does not answer or cannot copy."""
    serving = folder.read_serving()
    if serving is None:
        raise BackupError(f"A collector uses {folder.path} and is not ready yet: try again.")
    identity = Identity(folder.identity)
    secret = tokens.create(identity, role="admin", seconds=TOKEN_SECONDS, label="llmenv-collector backup")
    credentials = grpc.ssl_channel_credentials(folder.ca_certificate.read_bytes())
    with grpc.secure_channel(serving.people_address, credentials) as channel:
        call = CollectorServiceStub(channel).TakeSnapshot(
            TakeSnapshotRequest(), metadata=(("authorization", f"Bearer {secret}"),)
        )
        try:
            taken = next(call)
        except grpc.RpcError as error:
            raise BackupError(f"The collector that serves {folder.path} says: {error.details()}") from error
        try:
            yield Copy(Path(taken.path), taken.taken_at.ToDatetime(tzinfo=dt.UTC))
        finally:
            call.cancel()
