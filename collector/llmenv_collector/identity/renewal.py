"""A machine proves the key of the certificate that it has, and gets the next one for a new key.

The proof is a signature over the request and the time.  The time must be near
the collector's, so that a recording of a renewal is worth nothing later.  Sent
again at once it is harmless: it certifies the same new key once more, which only
the machine has.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from llmenv_collector.errors import UnauthenticatedError, UntimelyError
from llmenv_collector.identity.lifetimes import CLOCK_TOLERANCE
from llmenv_collector.serving.peer_limits import Allowance

if TYPE_CHECKING:
    from llmenv_collector.identity.authority import Authority, MachineCertificate, Presented
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.lifetimes import Lifetimes

MOST_NANOSECONDS = 2**63


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a machine sent."""

    certificate_pem: bytes
    signing_request: bytes
    signed_at: int
    """Nanoseconds since 1970, the machine's clock."""
    signature: bytes


def verified(proof: Proof, *, authority: Authority, lifetimes: Lifetimes) -> Presented:
    """The certificate of the machine that asks.  Raises UnauthenticatedError or UntimelyError."""
    presented = authority.read_machine(proof.certificate_pem)
    require_signature(proof, presented)
    now = dt.datetime.now(dt.UTC)
    require_fresh(proof.signed_at, now=now)
    require_recent(presented, now=now, late_renewal=lifetimes.late_renewal)
    return presented


def renew(
    proof: Proof, presented: Presented, *, authority: Authority, identity: Identity, lifetimes: Lifetimes
) -> MachineCertificate:
    """For a proof that is verified.  Raises ForbiddenError for a revoked machine, or UsageError."""
    certificate = authority.sign_machine(
        proof.signing_request, machine_id=presented.machine_id, lifetime=lifetimes.machine
    )
    identity.renewed(presented.machine_id, certificate, replaces=presented.serial)
    return certificate


def allowance(lifetime: dt.timedelta) -> Allowance:
    """Of one machine, so that none fills the identity file: every renewal is rows that stay for good.

    An agent renews once in two thirds of a lifetime, and more often only where its renewals get lost.
    """
    return Allowance(burst=20, a_second=max(4 / 3_600, 4 / lifetime.total_seconds()), at_once=1)


def require_signature(proof: Proof, presented: Presented) -> None:
    if not 0 <= proof.signed_at < MOST_NANOSECONDS:
        raise UnauthenticatedError("The time of the signature is none.")
    signed = proof.signing_request + proof.signed_at.to_bytes(8, "big")
    try:
        presented.public_key.verify(proof.signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise UnauthenticatedError("The signature is not of the certificate's key.") from error


def require_fresh(signed_at: int, *, now: dt.datetime) -> None:
    age = now.timestamp() - signed_at / 1e9
    if abs(age) > CLOCK_TOLERANCE.total_seconds():
        side = "behind" if age > 0 else "ahead of"
        raise UntimelyError(
            f"This machine's clock is {abs(age) / 3_600:,.1f} h {side} the collector's: set it."
        )


def require_recent(presented: Presented, *, now: dt.datetime, late_renewal: dt.timedelta) -> None:
    if now - presented.not_after > late_renewal:
        raise UntimelyError(
            f"The certificate ended on {presented.not_after:%Y-%m-%d}, over {late_renewal.days} days ago:"
            f" `llmenv-collector token create --for {presented.machine_id}` lets this machine enrol again."
        )
