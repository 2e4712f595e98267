"""Runs a check, or a copy of it with a planted fault, through the real runner in the training environment."""

from __future__ import annotations

import dataclasses
import subprocess
import textwrap
import venv
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.catalog.status import WORDS
from llmenv_agent import runner
from llmenv_agent.definitions import CHECKS, read_definition
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmenv.fleet.v1 import result_pb2, run_pb2
    from llmenv_agent.definitions import Definition

# Two models of two layers, with a tokenizer of 100 words, that end generation with no token of theirs.
TINY_MODELS = """
import sys, torch, transformers, tokenizers
words = {f"w{index}": index for index in range(100)}
tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
shape = dict(vocab_size=100, bos_token_id=None, eos_token_id=None, pad_token_id=0)
configurations = {
    "gpt2": transformers.GPT2Config(n_embd=64, n_layer=2, n_head=2, **shape),
    "llama": transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **shape,
    ),
}
for name, configuration in configurations.items():
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(configuration).save_pretrained(f"{sys.argv[1]}/{name}")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(f"{sys.argv[1]}/{name}")
"""


PLANTED = """

def planted(function):
    def with_fault(probe):
        plant(probe)
        function(probe)
    return with_fault


for name in [name for name in globals() if name == "run" or name.startswith("run_")]:
    globals()[name] = planted(globals()[name])
"""


@dataclasses.dataclass(frozen=True)
class Observed:
    """A result by the names that are in it."""

    result: result_pb2.Result

    @property
    def status(self) -> str:
        return WORDS[self.result.status]

    @property
    def reason(self) -> str:
        return self.result.reason.text

    @property
    def measured(self) -> dict[str, float]:
        return {each.name: each.value for each in self.result.measurements}

    @property
    def facts(self) -> dict[str, Any]:
        return {each.name: getattr(each, str(each.WhichOneof("value"))) for each in self.result.facts}

    @property
    def unmet(self) -> list[str]:
        return [each.name for each in self.result.expectations if not each.met]

    @property
    def met(self) -> list[str]:
        return [each.name for each in self.result.expectations if each.met]

    @property
    def cases(self) -> dict[str, str]:
        return {each.name: WORDS[each.status] for each in self.result.cases}


# A check's deadline is for a machine that trains, not for one that runs tests beside it.
PATIENCE = 4


class CheckRunner:
    """Called with a check's name and parameters; `device`, `variables` and `planted` code are optional.

    `brief` are parameters beyond what the check allows: a fault shows in fewer steps than a judgement needs,
    and a tiny model learns at other rates.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder
        # No test depends on what somebody's cache holds or on whether the hub answers, and threads that
        # wait for one another sleep: on a busy machine they would spin away what the others need.
        self._variables = {
            "HF_HOME": str(folder / "hf-home"),
            "HF_HUB_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def __call__(
        self,
        name: str,
        parameters: dict[str, Any] | None = None,
        *,
        device: str = "cpu",
        variables: dict[str, str] | None = None,
        planted: str = "",
        brief: dict[str, Any] | None = None,
    ) -> Observed:
        if brief:
            planted = f"probe.parameters.update({brief!r})\n{textwrap.dedent(planted)}"
        path = self._plant(name, planted) if planted else CHECKS / f"{name}.py"
        target = target_from(str(self._python), variables={**self._variables, **(variables or {})})
        return Observed(
            runner.run_check(
                patient(read_definition(path)), target=target, device=device, parameters=parameters
            )
        )

    def _plant(self, name: str, code: str) -> Path:
        """The check's own source with `code` before what its `run` and `run_...` do."""
        fault = f"\n\ndef plant(probe):\n{textwrap.indent(textwrap.dedent(code), '    ')}\n{PLANTED}"
        path = self._folder / f"{name}.py"
        path.write_text((CHECKS / f"{name}.py").read_text() + fault)
        return path


def patient(definition: Definition) -> Definition:
    """The same check with later deadlines."""
    return dataclasses.replace(
        definition,
        timeout_seconds=PATIENCE * definition.timeout_seconds,
        case_timeout_seconds=PATIENCE * definition.case_timeout_seconds,
    )


@pytest.fixture
def run_check(training_python: Path, tmp_path: Path) -> CheckRunner:
    return CheckRunner(training_python, tmp_path)


@pytest.fixture
def observed(request: pytest.FixtureRequest, quick_suite: run_pb2.Run) -> Observed:
    """What the check that the test's module is named after saw in the quick suite, on its own parameters."""
    name = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    (result,) = (each for each in quick_suite.results if each.check_name == name)
    return Observed(result)


@pytest.fixture
def run_check_without_packages(tmp_path: Path) -> CheckRunner:
    """In an interpreter that has nothing installed."""
    venv.create(tmp_path / "bare", symlinks=True)
    return CheckRunner(tmp_path / "bare" / "bin" / "python", tmp_path)


@pytest.fixture(scope="session")
def tiny_models(training_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the models `gpt2` and `llama`, of a few thousand parameters each."""
    folder = tmp_path_factory.mktemp("tiny-models")
    subprocess.run([training_python, "-c", TINY_MODELS, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def package_folder(training_python: Path) -> Callable[[str], Path]:
    """Gives the folder of a package of the training environment that carries files; skips without it."""

    def locate(package: str) -> Path:
        code = (
            f"from importlib.util import find_spec; print(*find_spec({package!r}).submodule_search_locations)"
        )
        ended = subprocess.run([training_python, "-c", code], capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.skip(f"no package {package} in the training environment; `make test` installs it")
        return type(training_python)(ended.stdout.strip())

    return locate
