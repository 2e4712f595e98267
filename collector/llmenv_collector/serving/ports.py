"""The TLS ports of a collector: what they allow whoever connects, and by which names they are reached.

People and enrolment come to a port that shows the server's certificate; agents
to a port that asks for theirs as well (gRPC cannot ask for an optional one).
"""

from __future__ import annotations

import datetime as dt
import logging
import os
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from llmenv_collector.errors import UsageError
from llmenv_collector.identity import rotation
from llmenv_collector.identity.lifetimes import WARN_OF_CA, Lifetimes
from llmenv_collector.serving import open_files
from llmenv_collector.serving.server_certificate import ServerCertificate
from llmenv_collector.settings import Address, Settings, advertised, parse_address
from llmenv_collector.storage.data_folder import Serving

if TYPE_CHECKING:
    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.serving.gate import Gate
    from llmenv_collector.storage.data_folder import DataFolder

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 << 20
MOST_PENDING = 65_536
"""Streams that are connected and not served yet, a count."""
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A laptop that went to sleep is noticed only with the ping timeout as well.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.http2.ping_timeout_ms", 8_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    # Who connects and says nothing, or a little at a time, does not stay.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.http2.settings_timeout", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.max_concurrent_streams", 128),
    # A fleet that comes back waits here for its turn: of more than 1,000 gRPC would cancel some, and of more
    # than 3,000 all, without a word of when to come again.
    ("grpc.server.max_pending_requests", MOST_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING),
    ("grpc.server_max_unrequested_time_in_server", 120),
    # Memory of each connection; what is larger is sealed in several pieces.
    ("grpc.tsi.max_frame_size", 4_096),
    # Two collectors on one port would share its calls between their databases.
    ("grpc.so_reuseport", 0),
)


def new_server(gate: Gate, *, ports: int) -> Any:
    """A gRPC server behind the gate, for as many connections as there are files."""
    most = ("grpc.max_allowed_incoming_connections", open_files.most_connections(ports=ports))
    return grpc.aio.server(interceptors=[gate], options=(*OPTIONS, most))


def bind(server: Any, address: Address, server_credentials: grpc.ServerCredentials) -> int:
    """Returns the port.  Raises UsageError where it cannot be had."""
    try:
        port = server.add_secure_port(str(address), server_credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise UsageError(f"{address} cannot be listened on: it is in use, or not an address of this machine.")
    return int(port)


def open_ports(server: Any, settings: Settings, certificate: ServerCertificate) -> Serving:
    """Binds both; returns where they really are."""
    listen = parse_address(settings.listen, where="--listen")
    agents_listen = parse_address(settings.agents_listen, where="--agents-listen")
    people_port = bind(server, listen, certificate.credentials())
    agents_port = bind(server, agents_listen, certificate.credentials(asks_clients=True))
    return Serving(
        people_address=told(settings, listen, people_port),
        agents_address=told(settings, agents_listen, agents_port),
        pid=os.getpid(),
    )


def told(settings: Settings, listen: Address, port: int) -> str:
    """The host:port that others are told, of one that is listened on."""
    return str(Address(advertised(settings, reachable(listen.host))[0], port))


def agent_addresses(settings: Settings, serving: Serving) -> list[str]:
    """host:port of the agents' port under every name, the preferred one first."""
    at = parse_address(serving.agents_address, where="serving")
    return [str(Address(host, at.port)) for host in advertised(settings, at.host)]


def reachable(host: str) -> str:
    """A host to connect to; a wildcard address is none."""
    return os.uname().nodename if host in {"0.0.0.0", "::"} else host  # noqa: S104 (compares, binds nothing)


def server_certificate(folder: DataFolder, settings: Settings) -> ServerCertificate:
    """The one that every port shows, for the hosts that people are told."""
    authority = rotation.load(folder)
    warn_of_end(authority)
    certificate = ServerCertificate(folder, authority, lifetime=Lifetimes.of(settings).server)
    listen = parse_address(settings.listen, where="--listen")
    certificate.with_names(advertised(settings, reachable(listen.host)))
    return certificate


def warn_of_end(authority: Authority) -> None:
    """A year before, since a rotation takes as long as machines take to renew."""
    if authority.ends - dt.datetime.now(dt.UTC) < WARN_OF_CA:
        logger.warning(
            "the authority of this collector ends on %s: `llmenv-collector ca rotate` makes the next one",
            authority.ends.date(),
        )
