"""Does QLoRA in 4 bits by bitsandbytes work on this device: quantized right, small, and does it learn?

A small Llama is saved and loaded again by `from_pretrained` with a `BitsAndBytesConfig` of NF4 and double
quantization, prepared by `prepare_model_for_kbit_training`, and trained with LoRA of rank 8 on its seven
projections a layer. What is judged:

- every projection is a `Linear4bit`, and their storage takes n/2 bytes of codes, a byte for every 64 elements
  and 4 bytes for every 64 * 256: 4.127 bits an element (Dettmers et al., 2023), 0.26 of FP16;
- every element restored lies within NF4's bound of the original: half the widest gap of its levels, 0.152,
  of the largest element a of its block; and a itself, in 8 bits of a signed dynamic map whose steps are at
  most 0.9/64, is restored to 0.9/128 of the largest in its 256. Both together, and a thousandth for FP32;
- forward and gradient of a layer are the products with the restored weights in float64, to 1e-4;
- trainable are r*(in + out) for every projection; the loss on unseen sequences falls below 0.6 of ln(V), the
  loss of knowing nothing; the quantized base is the same to the bit afterwards.

Two things that bitsandbytes 0.50.2 gets wrong on the CPU without an error are tried apart, and are warnings:
rows that are no multiple of 64, which share blocks with the next row (KI110); and training after evaluation,
where a layer evaluated on a CPU with AVX512-BF16 stays packed for inference and passes no gradient (KI111).
"""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

from llmenv_probe import linear_4bit, nf4
from llmenv_probe.small_models import learnable_tokens, small_model

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 230
SUITES = ("full",)
# bitsandbytes is optional: `run` says that it is missing.
REQUIRES = ("torch", "transformers", "peft", "accelerate")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 7
PARAMETERS = {
    "vocabulary": 32,
    "width": 256,
    "layers": 2,
    "rank": 8,
    "steps": 40,
    "batch_size": 8,
    "sequence_length": 32,
    "learning_rate": 4e-3,
}
ALLOWED = {
    "vocabulary": "8..64",
    "width": "256..1024 by 256",
    "layers": "1..8",
    "rank": "1..64",
    "steps": "20..1000",
    "batch_size": "4..64",
    "sequence_length": "16..256",
    "learning_rate": "0.001..0.008",
}

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ROUNDING = 1.001
FP32_BOUND = 1e-4
SHARE_OF_IGNORANCE = 0.6
HALF_BYTES = 2


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    if importlib.util.find_spec("bitsandbytes") is None:
        probe.skip("bitsandbytes is not installed, so there is no QLoRA with PyTorch here.")
    if not _is_supported(probe, str(device)):
        return
    full = _full_model(probe)
    model = _load_in_4_bits(probe, full, device)
    layers = nf4.layers_of(model)
    _judge_memory(probe, layers)
    _judge_restored(probe, full, layers)
    _judge_product(probe, next(iter(layers.values())))
    _try_ragged_rows(probe, device)
    _try_training_after_evaluation(probe, device)
    before = nf4.digest(layers)
    first, last = _train(probe, _with_adapter(probe, model), device)
    _judge_base(probe, before, nf4.digest(layers))
    probe.passed(
        "QLoRA in 4 bits trains with bitsandbytes on {device}: loss on unseen sequences fell from "
        "{first:.3f} to {last:.3f}, quantized base unchanged.",
        device=device,
        first=first,
        last=last,
    )


def _is_supported(probe: Probe, device: str) -> bool:
    """Whether bitsandbytes says that it supports the device; versions that do not say know CUDA alone."""
    import bitsandbytes

    supported = sorted(getattr(bitsandbytes, "supported_torch_devices", {"cuda"}))
    probe.fact("bitsandbytes_version", bitsandbytes.__version__)
    probe.fact("bitsandbytes_devices", ", ".join(supported))
    if device in supported:
        return True
    probe.warn(
        "bitsandbytes {version} has no code for {device}, so there is no QLoRA with PyTorch here.",
        remedy="KI082",
        version=bitsandbytes.__version__,
        device=device,
    )
    return False


def _full_model(probe: Probe) -> Any:
    shape = {name: probe.parameters[name] for name in ("width", "layers", "vocabulary")}
    return small_model("llama", seed=probe.seed, **shape)


def _load_in_4_bits(probe: Probe, full: Any, device: Any) -> Any:
    """The saved model through the real loading code, its layers computing in FP32."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = probe.scratch / "model"
    full.save_pretrained(folder)
    configuration = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=configuration, device_map={"": str(device)}
    )


def _judge_memory(probe: Probe, layers: "dict[str, Any]") -> None:
    count = len(TARGETS) * probe.parameters["layers"]
    probe.measure("quantized_modules", len(layers), "1")
    probe.expect("quantized_modules", len(layers) == count, f"{count}", f"{len(layers)}")
    elements = sum(layer.in_features * layer.out_features for layer in layers.values())
    observed = sum(
        part.numel() * part.element_size() for layer in layers.values() for part in nf4.storage(layer)
    )
    expected = nf4.storage_bytes(elements)
    probe.measure("quantized_memory", observed, "byte", better="lower")
    probe.measure("bits_per_parameter", 8 * observed / elements if elements else 0.0, "bit", better="lower")
    probe.measure("share_of_fp16", observed / (HALF_BYTES * elements) if elements else 0.0, "1")
    probe.expect(
        "quantized_memory",
        observed == expected,
        f"{expected:,} bytes",
        f"{observed:,} bytes",
        "NF4 with double quantization: 4.127 bits a parameter",
    )


def _judge_restored(probe: Probe, full: Any, layers: "dict[str, Any]") -> None:
    """The largest error of an element as a share of what NF4 allows it."""
    originals = dict(full.named_parameters())
    shares = {
        name: nf4.share_of_bound(originals[name + ".weight"].detach().double(), nf4.restored(layer))
        for name, layer in layers.items()
    }
    worst = max(shares, key=lambda name: shares[name])
    probe.measure("share_of_nf4_bound", shares[worst], "1", better="lower")
    probe.expect(
        "within_nf4_bound",
        shares[worst] <= ROUNDING,
        "every element within NF4's bound",
        f"{shares[worst]:.3f} of the bound in {worst}",
        "half the widest gap of NF4's levels, and the second quantization",
    )


def _judge_product(probe: Probe, layer: Any) -> None:
    """Forward and gradient of one layer against float64 with the restored weights."""
    for name, error in linear_4bit.product_errors(layer, seed=probe.seed).items():
        probe.measure(name + "_error", error, "1", better="lower")
        probe.expect(
            name,
            error <= FP32_BOUND,
            f"relative error <= {FP32_BOUND:.0e}",
            f"{error:.2e}",
            "float64 with the restored weights",
        )


def _try_ragged_rows(probe: Probe, device: Any) -> None:
    import bitsandbytes

    share = linear_4bit.share_of_bound_in_ragged_rows(device, seed=probe.seed)
    probe.measure("ragged_share_of_nf4_bound", share, "1", better="lower")
    if not share <= ROUNDING:
        probe.warn(
            "QLoRA in 4 bits works on {device}, but bitsandbytes {version} restores rows that are no "
            "multiple of {block} elements wrong there, {share:.1f} times NF4's bound.",
            remedy="KI110",
            device=device,
            version=bitsandbytes.__version__,
            block=nf4.BLOCK,
            share=share,
        )


def _try_training_after_evaluation(probe: Probe, device: Any) -> None:
    import bitsandbytes

    error = linear_4bit.gradient_change_by_evaluation(device, seed=probe.seed)
    probe.measure("gradient_change_by_evaluation", error, "1", better="lower")
    if not error <= FP32_BOUND:
        probe.warn(
            "QLoRA in 4 bits works on {device}, but with bitsandbytes {version} a layer that was evaluated "
            "once passes on wrong gradients there afterwards, off by {error:.1e}.",
            remedy="KI111",
            device=device,
            version=bitsandbytes.__version__,
            error=error,
        )


def _with_adapter(probe: Probe, model: Any) -> Any:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

    torch.manual_seed(probe.seed)
    prepared = prepare_model_for_kbit_training(model, gradient_checkpointing_kwargs={"use_reentrant": False})
    adapted = get_peft_model(
        prepared,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=probe.parameters["rank"],
            lora_alpha=2 * probe.parameters["rank"],
            target_modules=list(TARGETS),
        ),
    )
    trainable, _ = adapted.get_nb_trainable_parameters()
    sides = sum(layer.in_features + layer.out_features for layer in nf4.layers_of(adapted).values())
    expected = probe.parameters["rank"] * sides
    probe.measure("trainable_parameters", trainable, "1")
    probe.expect(
        "trainable_parameters",
        trainable == expected,
        f"{expected:,}",
        f"{trainable:,}",
        "sum of r*(in + out) over the adapted modules",
    )
    return adapted


def _train(probe: Probe, model: Any, device: Any) -> "tuple[float, float]":
    """Loss on 16 unseen sequences before the first step and after the last, in nats."""
    import torch

    steps, size = probe.parameters["steps"], probe.parameters["batch_size"]
    tokens = learnable_tokens(
        steps * size + 16,
        probe.parameters["sequence_length"],
        vocabulary=probe.parameters["vocabulary"],
        seed=probe.seed,
    ).to(device)
    unseen, batches = tokens[:16], tokens[16:].split(size)
    first = _loss(model, unseen)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=probe.parameters["learning_rate"])
    for batch in batches:
        optimizer.zero_grad()
        model(batch, labels=batch).loss.backward()
        optimizer.step()
    last = _loss(model, unseen)
    bound = SHARE_OF_IGNORANCE * math.log(probe.parameters["vocabulary"])
    probe.measure("first_loss", first, "nat")
    probe.measure("last_loss", last, "nat", better="lower")
    probe.expect(
        "loss_falls",
        last < bound < first,
        f"last loss < {bound:.3f}, 0.6 of knowing nothing",
        f"{last:.3f} after {first:.3f}",
    )
    return first, last


def _loss(model: Any, tokens: Any) -> float:
    """In training mode: nothing here drops out, and an evaluated layer may be lost to training (KI111)."""
    import torch

    with torch.no_grad():
        return float(model.train()(tokens, labels=tokens).loss.item())


def _judge_base(probe: Probe, before: str, after: str) -> None:
    probe.expect(
        "base_unchanged",
        before == after,
        "same SHA-256 of the quantized base",
        "same" if before == after else "another",
    )
