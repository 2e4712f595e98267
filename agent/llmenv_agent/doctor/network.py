"""The way to the collector, step by step for each address: its name, a connection, TLS."""

from __future__ import annotations

import dataclasses
import socket
import time
from typing import TYPE_CHECKING

from llmenv.addresses import split_address

from llmenv_agent.connection import DIAGNOSE_SECONDS, Handshake, Trouble, shake_hands
from llmenv_agent.doctor.finding import Finding, Question, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_agent.identity import Identity

STEPS = ("name", "connection", "tls")


def ask(identity: Identity) -> Iterator[Finding]:
    """What fails at one address is a warning while another leads to the collector."""
    ways = [list(_way(address, identity)) for address in identity.agent_addresses]
    one_leads = any(
        finding.question == "tls" and finding.verdict is Verdict.PASS for way in ways for finding in way
    )
    for finding in (finding for way in ways for finding in way):
        is_spare = one_leads and finding.verdict is Verdict.FAIL
        yield dataclasses.replace(finding, verdict=Verdict.WARN) if is_spare else finding


def leading_address(findings: list[Finding]) -> str:
    """The first address that leads to the collector; "" where none does."""
    led = (each.subject for each in findings if each.question == "tls" and each.verdict is Verdict.PASS)
    return next(led, "")


def handshake(address: str, identity: Identity) -> Handshake:
    """As the agent makes it. Raises OSError where there is no connection."""
    host, port = split_address(address)
    with socket.create_connection((host, port), timeout=DIAGNOSE_SECONDS) as connection:
        return shake_hands(connection, identity, host=host)


def _way(address: str, identity: Identity) -> Iterator[Finding]:
    """Findings up to the first step that fails, then that the others were not tried."""
    host, port = split_address(address)
    for number, step in enumerate((_name, _connection, _tls)):
        finding = step(
            Question(STEPS[number], address, {"address": address, "host": host}), host, port, identity
        )
        yield finding
        if finding.verdict is not Verdict.PASS:
            for later in STEPS[number + 1 :]:
                yield Question(later, address).unclear("Not tried: the step before it failed.")
            return


def _name(said: Question, host: str, port: int, identity: Identity) -> Finding:  # noqa: ARG001 # as all steps
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return said.failed(
            "The name {host} cannot be resolved: {why}.",
            "Ask for the name in DNS, or add it to /etc/hosts: `llmenv-collector init --host` chose it.",
            why=error.strerror or error,
        )
    return said.passed(
        "{host} is {addresses}.", addresses=", ".join(sorted({str(each[4][0]) for each in found}))
    )


def _connection(said: Question, host: str, port: int, identity: Identity) -> Finding:  # noqa: ARG001 # as all steps
    start = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=DIAGNOSE_SECONDS):
            took = f"{(time.monotonic() - start) * 1_000:.1f} ms"
    except OSError as error:
        return said.failed(
            "No connection to {address}: {why}.",
            "See whether the collector serves (llmenv-collector serve), and whether a firewall is between.",
            why=error.strerror or error,
        )
    return said.passed("Connected to {address} in {took}.", took=took)


def _tls(said: Question, host: str, port: int, identity: Identity) -> Finding:  # noqa: ARG001 # as all steps
    """Whether the collector is the enrolled one; whether it takes this machine is asked apart."""
    shaken = handshake(said.subject, identity)
    said.values["detail"] = shaken.detail
    if shaken.trouble is Trouble.NOT_TLS:
        return said.failed(
            "What answers at {address} does not speak TLS as a collector does: {detail}.",
            "See what listens at {address}: it may be another program.",
        )
    if shaken.trouble is Trouble.COLLECTOR_NOT_TRUSTED:
        return said.failed(
            "The certificate of {address} is not one of the enrolled collector: {detail}.",
            "Compare this machine's clock with the collector's; if it was set up anew, enrol anew: "
            "llmenv-agent enroll --replace.",
        )
    if shaken.trouble is Trouble.OTHER_NAME:
        return said.failed(
            "The collector's certificate is not for {host}: {detail}.",
            "Start the collector with --advertise {host}, which has it certified for that name.",
        )
    return said.passed("{address} shows a certificate of the enrolled collector, for that name.")
