"""What of a process's environment is recorded with its result, and that no secret is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv.catalog import known_issues
from llmenv_agent.definitions import read_definition
from llmenv_agent.environment_variables import MOST_CHARACTERS, NAMES, PREFIXES, allowed, is_allowed, replaced
from llmenv_agent.runner import run_check
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from llmenv.fleet.v1 import result_pb2

SURROUNDINGS = read_definition(Path(__file__).parent / "fault_checks" / "surroundings.py")
SECRETS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "PYTORCH_TOKEN",
    "MLX_API_KEY",
    "TORCH_APIKEY",
    "TRANSFORMERS_SECRET",
    "ACCELERATE_DB_PASSWORD",
    "CUDA_CREDENTIALS",
    "OMP_KEY_FILE",
    "AWS_SECRET_ACCESS_KEY",
    "WANDB_API_KEY",
)


def observed(
    names: str, *, variables: dict[str, str], instead: dict[str, str] | None = None
) -> result_pb2.Result:
    target = target_from(sys.executable, variables=variables)
    return run_check(
        SURROUNDINGS, target=target, device="cpu", parameters={"names": names}, variables=instead
    )


def test_a_result_carries_what_its_process_had() -> None:
    """Variables on the list, from the target and from the check itself; nothing else."""
    given_ = {"PYTORCH_ENABLE_MPS_FALLBACK": "1", "HF_TOKEN": "hf_secret", "TRAINERS_OWN": "x"}
    result = observed("", variables=given_)
    assert result.environment_variables["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"
    assert {"HF_TOKEN", "TRAINERS_OWN", "CHECK_VARIABLE"}.isdisjoint(result.environment_variables)
    assert b"hf_secret" not in result.SerializeToString()


def test_a_process_gets_exactly_the_recorded_variables_again() -> None:
    """Those that were not there then are taken away; those off the list stay as they are."""
    here = {"MLX_ENABLE_TF32": "0", "OMP_NUM_THREADS": "7", "TRAINERS_OWN": "x"}
    names = "MLX_ENABLE_TF32 OMP_NUM_THREADS TRAINERS_OWN SOMEBODYS"
    result = observed(names, variables=here, instead={"OMP_NUM_THREADS": "2", "SOMEBODYS": "file"})
    seen = {fact.name: fact.text for fact in result.facts}
    assert (seen["MLX_ENABLE_TF32"], seen["OMP_NUM_THREADS"]) == ("(absent)", "2")
    assert (seen["TRAINERS_OWN"], seen["SOMEBODYS"]) == ("x", "(absent)")
    assert dict(result.environment_variables) == {"OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_named_like_a_secret_is_never_recorded(name: str) -> None:
    """Whatever list it would be on."""
    assert not is_allowed(name)


@given(
    st.sampled_from([*PREFIXES, *NAMES]),
    st.sampled_from(["TOKEN", "KEY", "SECRET", "PASSWORD", "api_key", "token"]),
)
def test_no_family_lets_a_secret_through(prefix: str, secret: str) -> None:
    """A prefix opens a family of names, never the secrets in it."""
    assert not is_allowed(f"{prefix.rstrip('_')}_{secret}")


def test_names_that_only_sound_like_secrets_are_kept() -> None:
    """TOKENIZERS_PARALLELISM has a TOKEN in it and says how many threads there are."""
    assert is_allowed("TOKENIZERS_PARALLELISM")
    assert is_allowed("CUDA_VISIBLE_DEVICES")
    assert is_allowed("VECLIB_MAXIMUM_THREADS")


def test_a_long_value_is_left_out_whole() -> None:
    """Half of a list of paths would be another list."""
    assert allowed({"LD_LIBRARY_PATH": "x" * (MOST_CHARACTERS + 1), "OMP_NUM_THREADS": "2"}) == {
        "OMP_NUM_THREADS": "2"
    }
    assert "LD_LIBRARY_PATH" in replaced({"LD_LIBRARY_PATH": "x" * (MOST_CHARACTERS + 1)}, {})


def test_every_remedy_that_is_applied_can_be_recorded() -> None:
    """Otherwise a result could not say what it ran with."""
    issues = known_issues.catalogue().values()
    names = {name for issue in issues if issue.apply for name in issue.apply.environment}
    assert names
    assert [name for name in names if not is_allowed(name)] == []
