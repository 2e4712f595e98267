"""Enrolment with a real collector: what a token is worth, and who is told it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from llmenv_agent.errors import IdentityError
from llmenv_agent.exit_codes import ExitCode
from llmenv_agent.identity import load_identity

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import AgentFolder, RealCollector


def printed(content: object) -> str:
    return "llmenv1." + base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_a_machine_enrols_once_and_keeps_its_key_to_itself(
    agent: AgentFolder, real_collector: RealCollector
) -> None:
    """The certificate carries the issued id, the file is private, and a second enrolment needs --replace."""
    token = real_collector.token()
    assert agent.call("enroll", LLMENV_TOKEN=token).returncode == 0
    state = agent.path / "state"
    identity = load_identity(state)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [f"llmenv://machine/{identity.machine_id}"] == names.get_values_for_type(
        x509.UniformResourceIdentifier
    )
    assert (state / "identity.json").stat().st_mode & 0o777 == 0o600
    again = agent.call("enroll", LLMENV_TOKEN=token)
    assert again.returncode == 2
    assert "--replace" in again.stderr


def test_a_used_token_is_not_taken_again(agent: AgentFolder, real_collector: RealCollector) -> None:
    """The collector's own reason reaches the person; nothing is written."""
    token = real_collector.token()
    agent.call("enroll", LLMENV_TOKEN=token)
    before = load_identity(agent.path / "state")
    again = agent.call("enroll", "--replace", LLMENV_TOKEN=token)
    assert again.returncode == 4
    assert "does not take the token" in again.stderr
    assert before == load_identity(agent.path / "state")


def test_a_state_folder_that_cannot_be_written_spends_no_token(
    agent: AgentFolder, real_collector: RealCollector, tmp_path: Path
) -> None:
    """What stands in the way is said before the collector is asked, so the token is good for another try."""
    token = real_collector.token()
    (tmp_path / "file").write_text("")
    refused = agent.call("enroll", "--state-dir", str(tmp_path / "file" / "state"), LLMENV_TOKEN=token)
    assert refused.returncode == ExitCode.NOT_ENROLLED
    assert refused.stderr.endswith("identity.json cannot be written: Not a directory.\n")
    assert agent.call("enroll", LLMENV_TOKEN=token).returncode == 0


def test_a_server_with_another_key_is_not_told_the_token(
    agent: AgentFolder, real_collector: RealCollector
) -> None:
    """A token whose pin is another CA's stays unused, so it still works afterwards."""
    token = real_collector.token()
    content = json.loads(base64.urlsafe_b64decode(token.removeprefix("llmenv1.") + "=="))
    refused = agent.call("enroll", LLMENV_TOKEN=printed({**content, "p": "A" * 43}))
    assert refused.returncode == 4
    assert "the token was not sent" in refused.stderr
    assert agent.call("enroll", LLMENV_TOKEN=token).returncode == 0


def test_a_collector_that_is_not_there_is_named(agent: AgentFolder) -> None:
    """The address stands in the sentence."""
    token = printed({"a": "127.0.0.1:1", "p": "A" * 43, "t": "secret"})
    done = agent.call("enroll", LLMENV_TOKEN=token)
    assert done.returncode == 4
    assert "No collector answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_without_identity_is_told_how_to_get_one(tmp_path: Path) -> None:
    """The sentence names the command."""
    with pytest.raises(IdentityError, match="llmenv-agent enroll"):
        load_identity(tmp_path)


def test_a_damaged_identity_is_said_to_be(tmp_path: Path) -> None:
    """Half a file is not half an identity."""
    (tmp_path / "identity.json").write_text('{"machine_id": "x"')
    with pytest.raises(IdentityError, match=r"identity\.json is damaged"):
        load_identity(tmp_path)
