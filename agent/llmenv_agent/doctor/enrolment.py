"""The identity: there, whole, its key that of its certificate, and time left."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING

from llmenv_agent.approval import waiting_since
from llmenv_agent.doctor.finding import Question
from llmenv_agent.doubled import doubled_since
from llmenv_agent.identity import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography import x509

    from llmenv_agent.doctor.finding import Finding
    from llmenv_agent.errors import IdentityError
    from llmenv_agent.identity import Identity

MACHINE_URI = "llmenv://machine/"
SOON = dt.timedelta(days=7)


def ask(identity: Identity) -> Iterator[Finding]:
    said = Question("identity", values={"machine": identity.machine_id})
    try:
        certificate = _matching(identity)
    except ValueError as error:
        yield said.failed(
            "The identity of machine {machine} cannot be used: {why}.",
            "Enrol anew: llmenv-agent enroll --replace.",
            why=error,
        )
        return
    yield said.passed("This machine is {machine}; its key is that of its certificate.")
    yield _lifetime(certificate)


def not_enrolled(state_dir: Path, error: IdentityError) -> Finding:
    """Where there is no identity, or none that can be read."""
    path = state_dir / FILE_NAME
    is_there = os.path.lexists(path)
    return Question("identity", values={"path": path, "why": error}).failed(
        "{why}" if is_there else "This machine is not enrolled: there is no {path}.",
        "Enrol this machine: llmenv-agent enroll, with a token of llmenv-collector token create.",
    )


def not_alone(state_dir: Path) -> Iterator[Finding]:
    """Nothing where no other agent has this identity, as far as the collector has said."""
    since = doubled_since(state_dir)
    if since:
        yield Question("copies", values={"since": since}).failed(
            "Another agent has had this machine's identity since {since}: was this disk cloned?",
            "On one of the two: llmenv-agent enroll --replace with a new token, then start the agent again.",
        )


def not_waiting(state_dir: Path) -> Iterator[Finding]:
    """Nothing where the machine is approved, as far as the collector has said."""
    since = waiting_since(state_dir)
    if since:
        yield Question("approval", values={"since": since}).warned(
            "This machine has waited for approval since {since}; nothing is delivered, and nothing is lost.",
            "An admin lets it deliver: llmenv-collector machine approve.",
        )


def _matching(identity: Identity) -> x509.Certificate:
    """The certificate. Raises ValueError where it is not of this machine and key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(identity.key_pem.encode(), password=None)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    if key.public_key() != certificate.public_key():
        raise ValueError("its key is not that of its certificate")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if MACHINE_URI + identity.machine_id not in names.get_values_for_type(x509.UniformResourceIdentifier):
        raise ValueError("its certificate names another machine")
    return certificate


def _lifetime(certificate: x509.Certificate) -> Finding:
    ends = certificate.not_valid_after_utc
    left = ends - dt.datetime.now(dt.UTC)
    said = Question("certificate", values={"ends": f"{ends:%Y-%m-%d %H:%M} UTC", "days": f"{left.days}"})
    if left < dt.timedelta(0):
        return said.failed(
            "The certificate ended on {ends}.",
            "Start the agent, which renews it for 180 days more; later: llmenv-agent enroll --replace.",
        )
    if left < SOON:
        return said.warned(
            "The certificate ends on {ends}, in {days} days.",
            "Start the agent, which renews it while the collector can be reached.",
        )
    return said.passed("The certificate is good until {ends}, {days} days.")
