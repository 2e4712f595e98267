"""The archive for support: what helps is in it, and nothing secret, wherever secrets were planted."""

from __future__ import annotations

import contextlib
import json
import stat
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import record_pb2, result_pb2
from llmenv_agent.doctor.redaction import REMOVED, Redaction, harmless_configuration
from llmenv_agent.identity import load_identity
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import AgentFolder

# By the place where it is planted.
CANARIES = {
    "variable": "canary-of-a-variable",
    "variable_with_a_plain_name": "canary-with-a-plain-name",
    "env_file": "canary-of-the-env-file",
    "environment": "hf_canaryOfTheEnvironment",
    "parameter": "canary-of-a-parameter",
    "bearer": "canary-of-a-bearer",
    "url": "canary-of-a-url",
    "key_in_the_log": "canaryOfAKeyInTheLog",
    "named_in_the_log": "canary-named-in-the-log",
    "reason": "canary-of-a-reason",
    "check_output": "canary-of-what-a-check-printed",
}
CONFIGURATION = """
[agent]
log_file = "{folder}/agent.log"
[[target]]
name = "plain"
python = "{python}"
env_file = "{folder}/secrets.env"
[target.variables]
WANDB_API_KEY = "{variable}"
PLAIN = "{variable_with_a_plain_name}"
PYTORCH_ENABLE_MPS_FALLBACK = "1"
[checks.transformers_generate]
model = "HuggingFaceTB/SmolLM2-135M"
[suite.nightly]
checks = ["torch_basics"]
"""
LOG = """
downloading with HF_TOKEN={environment} and {env_file}
Authorization: Bearer {bearer}
GET https://ana:{url}@collector.lab/path
-----BEGIN EC PRIVATE KEY-----
{key_in_the_log}
-----END EC PRIVATE KEY-----
{{"password": "{named_in_the_log}", "run_id": "r1"}}
an ordinary line about training
"""


@pytest.fixture
def unpacked(enrolled: AgentFolder, tmp_path: Path) -> dict[str, str]:
    """The files of a bundle, made where a secret lies in every place."""
    words = {**CANARIES, "folder": str(tmp_path), "python": sys.executable}
    enrolled.configure(CONFIGURATION.format(**words))
    (tmp_path / "secrets.env").write_text(f"export ANYTHING='{CANARIES['env_file']}'\n")
    (tmp_path / "agent.log").write_text(LOG.format(**words))
    plant_result(enrolled)
    archive = tmp_path / "bundle.tar.gz"
    done = enrolled.call("doctor", "--bundle", str(archive), HF_TOKEN=CANARIES["environment"])
    assert "look into it before you send it" in done.stderr, done.stderr
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as opened:
        names = [member.name for member in opened.getmembers()]
        texts = {name: (opened.extractfile(name) or sys.stdin.buffer).read().decode() for name in names}
    return {name.removeprefix("llmenv-support/"): text for name, text in texts.items()}


def plant_result(enrolled: AgentFolder) -> None:
    result = result_pb2.Result(
        check_name="torch_basics",
        reason=result_pb2.Sentence(text=f"401 with api_key={CANARIES['reason']}"),
        log_tail=CANARIES["check_output"],
    )
    state = enrolled.path / "state"
    with contextlib.closing(Spool(state / "spool.db", machine_id=load_identity(state).machine_id)) as spool:
        spool.append(record_pb2.Record(check_finished=record_pb2.CheckFinished(result=result)))


def test_no_secret_is_in_a_bundle(unpacked: dict[str, str], enrolled: AgentFolder) -> None:
    """Neither a planted one nor the machine's own key, whole or by its lines."""
    key = load_identity(enrolled.path / "state").key_pem
    secrets = [*CANARIES.values(), *(line for line in key.splitlines() if "-----" not in line)]
    secrets.remove(CANARIES["parameter"])  # of a check of the lab's own; see the next test
    found = {(name, secret) for name, text in unpacked.items() for secret in secrets if secret in text}
    assert found == set()


def test_what_helps_is_in_a_bundle(unpacked: dict[str, str]) -> None:
    """Verdicts, configuration, versions, facts, ledger, results and the log's ordinary lines."""
    assert {
        "configuration.json",
        "doctor.json",
        "doctor.md",
        "facts.json",
        "log/agent.log",
        "quarantine.json",
        "results.json",
        "schedules.json",
        "spool.json",
        "versions.json",
    } == set(unpacked)
    configuration = json.loads(unpacked["configuration.json"])
    assert configuration["target"][0]["variables"] == {
        "WANDB_API_KEY": REMOVED,
        "PLAIN": REMOVED,
        "PYTORCH_ENABLE_MPS_FALLBACK": "1",
    }
    assert configuration["checks"]["transformers_generate"]["model"] == "HuggingFaceTB/SmolLM2-135M"
    assert json.loads(unpacked["spool.json"])["ledger"]["minted"] == "1"
    assert json.loads(unpacked["results.json"])[0]["result"]["check_name"] == "torch_basics"
    assert "grpcio" in json.loads(unpacked["versions.json"])["packages"]
    assert "an ordinary line about training" in unpacked["log/agent.log"]
    assert '"run_id": "r1"' in unpacked["log/agent.log"]


def test_a_parameter_that_is_named_like_a_secret_is_removed() -> None:
    """A lab's own check may take one."""
    kept = harmless_configuration({"checks": {"upload": {"api_token": CANARIES["parameter"], "path": "/x"}}})
    assert kept["checks"] == {"upload": {"api_token": REMOVED, "path": "/x"}}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("HF_TOKEN=abc", "HF_TOKEN=" + REMOVED),
        ('"client_secret": "a b\\" c", "x": 1', f'"client_secret": "{REMOVED}", "x": 1'),
        ("Authorization: Basic Zm9v", f"Authorization: {REMOVED}"),
        ("key eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig_1", f"key {REMOVED}"),
        ("-----BEGIN PRIVATE KEY-----\ncut off here", REMOVED),
        ("loss 0.52 at 480 tokens/s", "loss 0.52 at 480 tokens/s"),
        ("tokenizers 0.23.3", "tokenizers 0.23.3"),
    ],
)
def test_what_looks_like_a_secret_is_removed(text: str, kept: str) -> None:
    """By its form or its name; ordinary words stay."""
    assert Redaction([]).text(text).startswith(kept)


def test_an_archive_that_is_there_is_not_overwritten(agent: AgentFolder, tmp_path: Path) -> None:
    """It may be somebody's only copy."""
    (tmp_path / "old.tar.gz").write_text("old")
    done = agent.call("doctor", "--bundle", str(tmp_path / "old.tar.gz"))
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (tmp_path / "old.tar.gz").read_text() == "old"


def test_a_bundle_of_a_machine_that_is_not_enrolled(agent: AgentFolder, tmp_path: Path) -> None:
    """Help is needed most where nothing works."""
    agent.configure("[agent\n")
    done = agent.call("doctor", "--bundle", str(tmp_path / "new.tar.gz"))
    assert done.returncode == 1
    with tarfile.open(tmp_path / "new.tar.gz") as opened:
        assert "llmenv-support/doctor.md" in opened.getnames()
