"""Does LoRA train an adapter with PEFT, leave the base weights alone, and save and load it?

Rank 8, alpha 16, dropout 0.05 on GPT-2's c_attn, c_proj and c_fc, 20 AdamW steps on one repeated batch of
token ids. The loss on that batch, without dropout, must end below 0.9 of its start. The number of trainable
parameters must be the sum of r*(in + out) over the modules' own shapes: 1,179,648 of 125,619,456 for GPT-2.
The SHA-256 of all base parameters must be the same before and after, and every adapter's B, which starts at
zero, must have moved from there. The adapter, saved and loaded onto a fresh base, must give the trained
model's outputs to 1e-5 of their largest: same weights, same device.

Memory is the process's or the accelerator's own peak, taken before the fresh base is loaded; it cannot be
below the bytes of the weights, and a figure that is, is no peak and fails.
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 40
SUITES = ("quick", "full")
REQUIRES = ("torch", "transformers", "peft")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 18
PARAMETERS = {
    "model": "openai-community/gpt2",
    "dtype": "auto",
    "target_modules": None,
    "rank": 8,
    "alpha": 16,
    "dropout": 0.05,
    "steps": 20,
    "learning_rate": 1e-3,
    "batch_size": 2,
    "sequence_length": 32,
}
ALLOWED = {
    "model": "text",
    "dtype": "auto | float32 | float16 | bfloat16 | float64",
    "target_modules": "names",
    "rank": "1..256",
    "alpha": "1..128",
    "dropout": "0.0..0.5",
    "steps": "10..1000",
    "learning_rate": "0.0005..0.02",
    "batch_size": "1..64",
    "sequence_length": "8..1024",
}

# The modules of attention and MLP, by the model's type; others are named in the parameters.
TARGETS = {"gpt2": ("c_attn", "c_proj", "c_fc")}
LLAMA_LIKE_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GPT2_TRAINABLE, GPT2_TOTAL = 1_179_648, 125_619_456
SHARE_OF_START = 0.9
SAME_OUTPUT = 1e-5


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    weights = probe.language_model.find(probe.parameters["model"])
    probe.fact("weights_source", weights.source)
    base = probe.language_model.load(weights, dtype=probe.parameters["dtype"])
    targets = _targets(probe, base)
    expected_trainable = _expected_trainable(probe, base, targets)
    digest = _digest(base)

    probe.accelerator.reset_peak()
    model = _with_adapter(probe, base, targets).to(device)
    _count(probe, model, expected_trainable)
    batch = _batch(probe, model).to(device)
    first, last = _train(probe, model, batch)
    _judge_peak(probe, model)
    _judge_adapters(probe, model)
    unchanged = _digest(model) == digest
    probe.expect(
        "base_unchanged", unchanged, "same SHA-256 of all base parameters", "same" if unchanged else "another"
    )
    trained = _save(probe, model, batch)
    del base, model  # two bases would be the most that this check takes
    fresh = probe.language_model.load(weights, dtype=probe.parameters["dtype"])
    _load(probe, fresh.to(device), batch, trained)
    probe.passed(
        "LoRA trains on {device}: loss fell from {first:.3f} to {last:.3f} in {steps} steps, base weights "
        "unchanged, adapter saved and loaded.",
        device=device,
        first=first,
        last=last,
        steps=probe.parameters["steps"],
    )


def _targets(probe: Probe, base: Any) -> "tuple[str, ...]":
    named = probe.parameters["target_modules"]
    return tuple(named or TARGETS.get(base.config.model_type, LLAMA_LIKE_TARGETS))


def _expected_trainable(probe: Probe, base: Any, targets: "tuple[str, ...]") -> int:
    """Sum of r*(in + out) over the modules whose last name is a target, from the shapes of their weights."""
    shapes = [
        module.weight.shape
        for name, module in base.named_modules()
        if name.rpartition(".")[2] in targets and hasattr(module, "weight")
    ]
    if not shapes:
        probe.error(
            "{model} has no module called {targets}; set target_modules to names it has.",
            model=probe.parameters["model"],
            targets=", ".join(targets),
        )
    probe.measure("adapted_modules", len(shapes), "1")
    return int(probe.parameters["rank"]) * sum(sum(shape) for shape in shapes)


def _with_adapter(probe: Probe, base: Any, targets: "tuple[str, ...]") -> Any:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    torch.manual_seed(probe.seed)
    configuration = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=probe.parameters["rank"],
        lora_alpha=probe.parameters["alpha"],
        lora_dropout=probe.parameters["dropout"],
        target_modules=list(targets),
        # GPT-2's Conv1D keeps its weight as (in, out).
        fan_in_fan_out=base.config.model_type == "gpt2",
    )
    return get_peft_model(base, configuration)


def _count(probe: Probe, model: Any, expected_trainable: int) -> None:
    trainable, total = model.get_nb_trainable_parameters()
    probe.measure("trainable_parameters", trainable, "1")
    probe.measure("total_parameters", total, "1")
    probe.measure("trainable_share", 100 * trainable / total, "%")
    probe.expect(
        "trainable_parameters",
        trainable == expected_trainable,
        f"{expected_trainable:,}",
        f"{trainable:,}",
        "sum of r*(in + out) over the adapted modules",
    )
    is_standard = probe.parameters["rank"] == 8 and not probe.parameters["target_modules"]
    if is_standard and probe.parameters["model"] in {"openai-community/gpt2", "gpt2"}:
        expected = f"{GPT2_TRAINABLE:,} of {GPT2_TOTAL:,}"
        probe.expect(
            "gpt2_parameters",
            f"{trainable:,} of {total:,}" == expected,
            expected,
            f"{trainable:,} of {total:,}",
        )


def _batch(probe: Probe, model: Any) -> Any:
    """Token ids (batch, tokens) from the run's seed: any vocabulary has them."""
    import torch

    shape = probe.parameters["batch_size"], probe.parameters["sequence_length"]
    vocabulary = model.config.get_text_config().vocab_size
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(probe.seed))


def _train(probe: Probe, model: Any, batch: Any) -> "tuple[float, float]":
    """Loss of the batch without dropout, before the first step and after the last."""
    import torch

    first = _evaluate(model, batch)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=probe.parameters["learning_rate"])
    model.train()
    rates = []
    for _ in range(probe.parameters["steps"]):
        probe.accelerator.synchronize()
        started = time.perf_counter()
        optimizer.zero_grad()
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        probe.accelerator.synchronize()
        rates.append(batch.numel() / (time.perf_counter() - started))
    last = _evaluate(model, batch)

    probe.measure("tokens_per_second", None, "token/s", better="higher", trials=rates[2:], warmups=rates[:2])
    probe.measure("first_loss", first, "nat")
    probe.measure("last_loss", last, "nat", better="lower")
    bound = SHARE_OF_START * first
    falls = math.isfinite(first) and last < bound
    probe.expect(
        "loss_falls", falls, f"last loss < {bound:.3f}, 0.9 of the first", f"{last:.3f} after {first:.3f}"
    )
    return first, last


def _evaluate(model: Any, batch: Any) -> float:
    import torch

    with torch.no_grad():
        return float(model.eval()(batch, labels=batch).loss.item())


def _judge_peak(probe: Probe, model: Any) -> None:
    weight_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    peak = probe.peak_memory_bytes()
    probe.measure("weight_memory", weight_bytes, "byte")
    probe.measure("peak_memory", peak, "byte", better="lower")
    probe.expect(
        "peak_covers_weights", peak >= weight_bytes, f">= {weight_bytes:,} bytes", f"{peak:,.0f} bytes"
    )


def _judge_adapters(probe: Probe, model: Any) -> None:
    """An adapter whose B is still zero adds nothing: its gradient or its step was lost."""
    moved = [bool(each.any().item()) for name, each in model.named_parameters() if "lora_B" in name]
    probe.expect("all_adapters_learn", all(moved), f"{len(moved)} moved from 0", f"{sum(moved)}")


def _digest(model: Any) -> str:
    """SHA-256 over names and bytes of all parameters but the adapter's, so the same with an adapter."""
    import torch

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    digest = hashlib.sha256()
    parameters = {name.replace(".base_layer", ""): parameter for name, parameter in base.named_parameters()}
    for name in sorted(name for name in parameters if "lora_" not in name):
        digest.update(name.encode())
        digest.update(parameters[name].detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _save(probe: Probe, model: Any, batch: Any) -> Any:
    """The adapter in `adapter` of the scratch folder; gives the model's last logits."""
    folder = probe.scratch / "adapter"
    model.save_pretrained(folder)
    probe.measure("adapter_bytes", sum(path.stat().st_size for path in folder.iterdir()), "byte")
    return _last_logits(model, batch)


def _last_logits(model: Any, batch: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(batch).logits[:, -1].cpu().double()


def _load(probe: Probe, fresh: Any, batch: Any, trained: Any) -> None:
    """Last-position logits of the trained model against those of a fresh base with the saved adapter."""
    from peft import PeftModel

    again = _last_logits(PeftModel.from_pretrained(fresh, probe.scratch / "adapter"), batch)
    error = ((trained - again).abs().max() / trained.abs().max()).item()
    probe.measure("reloaded_error", error, "1", better="lower")
    probe.expect(
        "adapter_reloads",
        error <= SAME_OUTPUT,
        f"same outputs to {SAME_OUTPUT:.0e}",
        f"{error:.1e}",
        "same weights on the same device",
    )
