"""The agent's side of renewal: a next pair as a whole, by a process of its own, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from llmenv_agent import renewal
from llmenv_agent.errors import IdentityError
from llmenv_agent.identity import (
    FILE_NAME,
    Identity,
    load_identity,
    renewal_due,
    replace_identity,
    save_identity,
)
from llmenv_agent.renewal import Renewal

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import AgentFolder, RealCollector

DAY = dt.timedelta(days=1)


def state_of(agent: AgentFolder) -> Path:
    return agent.path / "state"


def start_process(state_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "llmenv_agent.renewal_process", str(state_dir)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def is_a_pair(identity: Identity) -> bool:
    key = load_pem_private_key(identity.key_pem.encode(), password=None)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    return key.public_key() == certificate.public_key()


def test_another_host_of_the_collector_renews(enrolled: AgentFolder) -> None:
    """Where the address that the machine enrolled at does not answer, its other names are tried."""
    before = load_identity(state_of(enrolled))
    _, port = before.enrollment_address.rsplit(":", 1)
    moved = dataclasses.replace(
        before,
        enrollment_address=f"127.0.0.9:{port}",
        agent_addresses=("localhost:1", *before.agent_addresses),
    )
    save_identity(state_of(enrolled), moved)
    renewal = Renewal(state_of(enrolled), moved)
    assert asyncio.run(renewal.renew())
    assert load_identity(state_of(enrolled)).certificate_pem != before.certificate_pem


def test_a_configured_host_renews_where_something_else_answers_before(
    enrolled: AgentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What accepts a connection and is not the collector holds nothing up."""
    before = load_identity(state_of(enrolled))
    _, port = before.enrollment_address.rsplit(":", 1)
    elsewhere = f"127.0.0.9:{port}"
    moved = dataclasses.replace(before, enrollment_address=elsewhere, agent_addresses=(elsewhere,))
    save_identity(state_of(enrolled), moved)
    asked: list[str] = []

    async def accepts(address: str) -> bool:
        asked.append(address)
        return True

    monkeypatch.setattr(renewal, "answers", accepts)
    without = Renewal(state_of(enrolled), moved)
    assert asyncio.run(without.renew()) is False
    configured = Renewal(state_of(enrolled), moved, collectors=before.agent_addresses)
    assert asyncio.run(configured.renew())
    assert asked[:2] == [elsewhere, elsewhere]
    assert load_identity(state_of(enrolled)).certificate_pem != before.certificate_pem


def test_a_renewed_identity_has_a_new_key_and_stays_private(enrolled: AgentFolder) -> None:
    """Machine, authority and addresses are as before; the file is its owner's alone."""
    before = load_identity(state_of(enrolled))
    process = start_process(state_of(enrolled))
    assert process.communicate(timeout=180) == (None, "")
    assert process.returncode == 0
    after = load_identity(state_of(enrolled))
    changed = {"key_pem", "certificate_pem", "not_after", "renew_at"}
    assert changed >= {
        field.name
        for field in dataclasses.fields(Identity)
        if getattr(before, field.name) != getattr(after, field.name)
    }
    assert before.key_pem != after.key_pem
    assert is_a_pair(after)
    assert (state_of(enrolled) / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_crash_at_any_moment_leaves_a_usable_pair(enrolled: AgentFolder) -> None:
    """Killed after any time, also between the answer and the file: the pair at hand still renews."""
    state_dir = state_of(enrolled)
    began = time.monotonic()
    start_process(state_dir).communicate(timeout=180)
    whole_seconds = time.monotonic() - began
    for part in range(12):
        process = start_process(state_dir)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(whole_seconds * (0.5 + part / 20))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=180)
        assert is_a_pair(load_identity(state_dir))
    last = start_process(state_dir)
    last.communicate(timeout=180)
    assert last.returncode == 0


def test_a_revoked_machine_is_told_so_and_keeps_what_it_has(
    enrolled: AgentFolder, real_collector: RealCollector, caplog: pytest.LogCaptureFixture
) -> None:
    """The collector's sentence reaches the log; nothing on the disk changes."""
    before = load_identity(state_of(enrolled))
    real_collector.call("machine", "revoke", before.machine_id)
    renewal = Renewal(state_of(enrolled), before)
    assert asyncio.run(renewal.renew()) is False
    assert before is renewal.identity
    assert before == load_identity(state_of(enrolled))
    assert f"Machine {before.machine_id} was revoked" in caplog.text


def test_a_collector_that_is_away_starts_no_process(
    enrolled: AgentFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """In an outage of weeks a connection that fails is all that renewing costs; it is said once."""
    identity = dataclasses.replace(load_identity(state_of(enrolled)), enrollment_address="127.0.0.1:1")
    save_identity(state_of(enrolled), identity)

    async def scenario() -> list[bool]:
        renewal = Renewal(state_of(enrolled), identity)
        return [await renewal.renew(), await renewal.renew()]

    began = time.monotonic()
    assert asyncio.run(scenario()) == [False, False]
    assert time.monotonic() - began < 5
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "127.0.0.1:1 cannot be reached" in warnings[0]


def test_several_who_ask_at_once_get_one_certificate(enrolled: AgentFolder) -> None:
    """The timer and a refused connection do not renew twice."""

    async def scenario() -> list[bool]:
        renewal = Renewal(state_of(enrolled), load_identity(state_of(enrolled)))
        answers = await asyncio.gather(renewal.renew(), renewal.renew())
        assert renewal.identity == load_identity(state_of(enrolled))
        return answers

    assert asyncio.run(scenario()) == [True, True]


def test_a_machine_enrolled_anew_meanwhile_stays_so(enrolled: AgentFolder) -> None:
    """A renewal that began before never overwrites the identity of a person's `enroll --replace`."""
    former = load_identity(state_of(enrolled))
    anew = dataclasses.replace(former, machine_id="another")
    save_identity(state_of(enrolled), anew)
    with pytest.raises(IdentityError, match="enrolled anew meanwhile"):
        replace_identity(state_of(enrolled), former, dataclasses.replace(former, not_after="later"))
    assert anew == load_identity(state_of(enrolled))
    assert asyncio.run(Renewal(state_of(enrolled), former).renew()) is False


def test_machines_enrolled_together_renew_apart() -> None:
    """Each at about two thirds of the lifetime: a thousand over four days of thirty."""
    began = dt.datetime.now(dt.UTC)
    due = [dt.datetime.fromisoformat(renewal_due(began + 30 * DAY)) - began for _ in range(1_000)]
    assert min(due) >= 18 * DAY
    assert max(due) < 22 * DAY
    assert max(due) - min(due) > 3 * DAY


def test_status_says_when_the_certificate_ends(enrolled: AgentFolder) -> None:
    """And when it is renewed, for people and for programs."""
    identity = load_identity(state_of(enrolled))
    text = enrolled.call("status").stdout
    assert f"until {identity.not_after}, renewed from {identity.renew_at}" in text
    status = json.loads(enrolled.call("status", "--format", "json").stdout)
    assert identity.not_after == status["identity"]["not_after"]
    assert identity.renew_at == status["identity"]["renew_at"]
