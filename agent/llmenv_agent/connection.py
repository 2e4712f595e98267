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
from typing import TYPE_CHECKING, cast

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped] # no stubs are published
from grpc_status import rpc_status
from llmenv.addresses import split_address

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

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
    OTHER_NAME = "certificate for another name"
    NOT_TLS = "does not speak TLS"
    REFUSED_BY_TLS = "refused by TLS"
    REVOKED = "revoked"
    NOT_KNOWN = "not known"
    OVERLOADED = "overloaded"
    REPLACED = "replaced"
    INCOMPATIBLE = "incompatible"
    BROKEN = "broken"


_OTHER_NAME_CODES = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH of OpenSSL


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    trouble: Trouble
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """How a TLS handshake went; `trouble` is None where both sides took each other's certificate."""

    trouble: Trouble | None
    detail: str = ""


def open_channel(address: str, identity: Identity) -> grpc.aio.Channel:
    """A channel with mutual TLS; nothing is connected yet."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_pem.encode(),
        private_key=identity.key_pem.encode(),
        certificate_chain=identity.certificate_pem.encode(),
    )
    return grpc.aio.secure_channel(address, credentials, options=OPTIONS)


class Line:
    """How the collector is reached: the network as it is."""

    def open(self, address: str, identity: Identity) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        return open_channel(address, identity)

    def explain(self, address: str, identity: Identity, error: grpc.aio.AioRpcError) -> Diagnosis:
        return explain(address, identity, error)


LINE = Line()


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
            trouble, words = Trouble.REPLACED, "took a newer stream of this machine"
        case grpc.StatusCode.FAILED_PRECONDITION:
            trouble, words = Trouble.INCOMPATIBLE, "speaks another protocol revision; upgrade the older side"
        case code:
            trouble, words = Trouble.BROKEN, f"ended the stream with {code.name}"
    return Diagnosis(trouble=trouble, sentence=f"The collector {address} {words}: {details}")


def retry_seconds(error: grpc.aio.AioRpcError) -> float:
    """The delay that the server asks for (google.rpc.RetryInfo), or 0."""
    status = rpc_status.from_call(cast("grpc.Call", error))  # which has all that is read here
    retry = error_details_pb2.RetryInfo()
    found = [detail for detail in (status.details if status else ()) if detail.Unpack(retry)]
    return float(retry.retry_delay.ToTimedelta().total_seconds()) if found else 0.0


def diagnose(address: str, identity: Identity, *, details: str) -> Diagnosis:
    """Tell unreachable, untrusted and refused apart by one TLS connection without gRPC."""
    host, port = split_address(address)
    try:
        with socket.create_connection((host, port), timeout=DIAGNOSE_SECONDS) as connection:
            shaken = shake_hands(connection, identity, host=host)
    except OSError as error:
        return Diagnosis(
            trouble=Trouble.UNREACHABLE,
            sentence=f"The collector {address} cannot be reached: {error.strerror or error}.",
        )
    sentences = {
        None: f"The collector {address} is there, but the stream failed: {details}",
        Trouble.COLLECTOR_NOT_TRUSTED: f"The certificate of {address} is not the enrolled collector's: "
        f"{shaken.detail}.",
        Trouble.OTHER_NAME: f"The collector's certificate is not for the name in {address}: {shaken.detail}.",
        Trouble.NOT_TLS: f"What answers at {address} speaks no TLS as a collector does: {shaken.detail}.",
        Trouble.REFUSED_BY_TLS: f"The collector {address} refuses this machine's certificate "
        f"({shaken.detail}): it may have expired, or be another collector's; enroll again.",
    }
    return Diagnosis(trouble=shaken.trouble or Trouble.BROKEN, sentence=sentences[shaken.trouble])


def shake_hands(connection: socket.socket, identity: Identity, *, host: str) -> Handshake:
    """One handshake as the agent makes it."""
    try:
        with client_context(identity).wrap_socket(connection, server_hostname=host) as tls:
            refusal = _refusal(tls)
    except ssl.SSLCertVerificationError as error:
        is_other_name = error.verify_code in _OTHER_NAME_CODES
        trouble = Trouble.OTHER_NAME if is_other_name else Trouble.COLLECTOR_NOT_TRUSTED
        return Handshake(trouble=trouble, detail=error.verify_message.rstrip("."))
    except OSError as error:
        detail = _words(error)
        # Up to TLS 1.2 a refusal of our certificate is an alert within the handshake.
        return Handshake(
            trouble=Trouble.REFUSED_BY_TLS if "ALERT" in detail else Trouble.NOT_TLS, detail=detail
        )
    return Handshake(trouble=Trouble.REFUSED_BY_TLS if refusal else None, detail=refusal)


def _refusal(tls: ssl.SSLSocket) -> str:
    """What the server says against our certificate; "" where it takes it.

    With TLS 1.3 that comes after the handshake, as an alert or as a plain end; a server that took the
    certificate speaks first (HTTP/2 SETTINGS).
    """
    tls.settimeout(ALERT_SECONDS)
    try:
        return "" if tls.recv(1) else "it closed the connection"
    except TimeoutError:
        return ""
    except OSError as error:
        return _words(error)


def _words(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error)


def client_context(identity: Identity) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=identity.ca_pem)
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # 0600; ssl reads keys from files only
        file.write(identity.key_pem + identity.certificate_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context
