"""The channel to the collector, and why it does not come about.

gRPC says UNAVAILABLE for a collector that is down, for one whose certificate is not trusted, and for one that
refuses ours. `diagnose` makes one plain TLS connection of its own to tell them apart.
"""

from __future__ import annotations

import enum
import socket
import ssl
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from llmenv.addresses import split_address

if TYPE_CHECKING:
    from llmenv_agent.identity import Identity

MAX_MESSAGE_BYTES = 4 << 20
DIAGNOSE_SECONDS = 5.0
ALERT_SECONDS = 1.0

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without it a laptop that slept notices after a minute that the other side is gone.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # The reporter waits by itself, with jitter.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)


class Trouble(enum.Enum):
    """What stands between an agent and its collector."""

    UNREACHABLE = "unreachable"
    COLLECTOR_NOT_TRUSTED = "collector not trusted"
    REFUSED_BY_TLS = "refused by TLS"
    REVOKED = "revoked"
    NOT_KNOWN = "not known"
    OVERLOADED = "overloaded"
    REPLACED = "replaced"
    INCOMPATIBLE = "incompatible"
    BROKEN = "broken"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    trouble: Trouble
    sentence: str


def open_channel(address: str, identity: Identity) -> grpc.aio.Channel:
    """A channel with mutual TLS; nothing is connected yet."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_pem.encode(),
        private_key=identity.key_pem.encode(),
        certificate_chain=identity.certificate_pem.encode(),
    )
    return grpc.aio.secure_channel(address, credentials, options=OPTIONS)


def explain(address: str, identity: Identity, error: grpc.aio.AioRpcError) -> Diagnosis:
    """What a failed stream means; may block for some seconds to find out."""
    details = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return diagnose(address, identity, details=details)
        case grpc.StatusCode.PERMISSION_DENIED:
            trouble, words = Trouble.REVOKED, "does not admit this machine (revoked, or not approved)"
        case grpc.StatusCode.UNAUTHENTICATED:
            trouble, words = Trouble.NOT_KNOWN, "does not know this machine's certificate"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            trouble, words = Trouble.OVERLOADED, "has no room at the moment"
        case grpc.StatusCode.ABORTED:
            trouble, words = Trouble.REPLACED, "took a newer stream of this spool"
        case grpc.StatusCode.FAILED_PRECONDITION:
            trouble, words = Trouble.INCOMPATIBLE, "speaks another protocol revision; upgrade the older side"
        case code:
            trouble, words = Trouble.BROKEN, f"ended the stream with {code.name}"
    return Diagnosis(trouble=trouble, sentence=f"The collector {address} {words}: {details}")


def diagnose(address: str, identity: Identity, *, details: str) -> Diagnosis:
    """Tell unreachable, untrusted and refused apart by one TLS connection without gRPC."""
    host, port = split_address(address)
    try:
        with socket.create_connection((host, port), timeout=DIAGNOSE_SECONDS) as connection:
            return _shake_hands(address, identity, connection, host, details)
    except OSError as error:
        return Diagnosis(
            trouble=Trouble.UNREACHABLE,
            sentence=f"The collector {address} cannot be reached: {error.strerror or error}.",
        )


def _shake_hands(
    address: str, identity: Identity, connection: socket.socket, host: str, details: str
) -> Diagnosis:
    try:
        with _client_context(identity).wrap_socket(connection, server_hostname=host) as tls:
            # With TLS 1.3 a refusal of our certificate comes after the handshake, as an alert or as a plain
            # end; a server that took it speaks first (HTTP/2 SETTINGS).
            tls.settimeout(ALERT_SECONDS)
            refusal = "" if tls.recv(1) else "it closed the connection"
    except ssl.SSLCertVerificationError as error:
        return Diagnosis(
            trouble=Trouble.COLLECTOR_NOT_TRUSTED,
            sentence=f"The certificate of {address} is not the enrolled collector's: {error.verify_message}.",
        )
    except TimeoutError:
        refusal = ""
    except (ssl.SSLError, ConnectionError) as error:
        refusal = getattr(error, "reason", None) or error.strerror or str(error)
    if refusal:
        return Diagnosis(
            trouble=Trouble.REFUSED_BY_TLS,
            sentence=f"The collector {address} refuses this machine's certificate ({refusal}): "
            f"it may have expired, or be another collector's; enroll again.",
        )
    return Diagnosis(
        trouble=Trouble.BROKEN, sentence=f"The collector {address} is there, but the stream failed: {details}"
    )


def _client_context(identity: Identity) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=identity.ca_pem)
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # 0600; ssl reads keys from files only
        file.write(identity.key_pem + identity.certificate_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context
