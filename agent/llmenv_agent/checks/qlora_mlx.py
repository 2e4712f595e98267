"""Does QLoRA work with mlx-lm: quantize a model to 4 bits, train an adapter on it, save and load that?

All by mlx-lm's own code: a small Llama is written to disk, `mlx_lm.convert` quantizes it in groups of 64,
`mlx_lm.lora.train_model` trains LoRA of rank 8 on all seven projections of every layer from text files, and
`mlx_lm.load` loads the result with its adapter. What is not quantized is BF16 on a GPU; on MLX's CPU code it
is FP32, for quantized products in half precision took 9 to 35 times as long there.

The quantized arrays must take bits/8 bytes an element, and a scale and a bias for every 64: 4.5 bits an
element in BF16, 0.28 of FP16, and 5 bits in FP32. Trainable are r*(in + out) for every projection, from the
configuration. Each token of the texts follows from the one before by a fixed permutation, one in ten being
noise: the loss on unseen texts must fall below 0.6 of ln(V), and nothing that takes no notice of the text
gets below ln(V). The quantized base must be the same to the bit afterwards, every adapter's B must have left
zero, and base and adapter loaded from disk must give the trained model's logits to 1e-5 of the largest: same
weights, same device.
"""

from __future__ import annotations

import math
import types
from typing import TYPE_CHECKING, Any

from llmenv_probe import mlx_models
from llmenv_probe.mlx_backend import is_on_gpu, use_mlx_lm
from llmenv_probe.permutation_language import uniform_loss

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.probe.context import Probe

ORDER = 231
SUITES = ("full",)
# mlx and mlx-lm are optional away from Apple Silicon: `run` says what is missing.
REQUIRES = ()
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 5
PARAMETERS = {
    "vocabulary": 32,
    "width": 64,
    "layers": 2,
    "rank": 8,
    "steps": 30,
    "batch_size": 4,
    "sequence_length": 31,
    "learning_rate": 5e-4,
}
ALLOWED = {
    "vocabulary": "8..64",
    "width": "64..1024 by 64",
    "layers": "1..8",
    "rank": "4..64",
    "steps": "20..1000",
    "batch_size": "2..64",
    "sequence_length": "16..256",
    "learning_rate": "0.0002..0.001",
}

BITS, GROUP = 4, 64
HALF_BYTES = 2
SHARE_OF_IGNORANCE = 0.6
SAME_OUTPUT = 1e-5


def run(probe: Probe) -> None:
    device = use_mlx_lm(probe)
    import mlx_lm
    from mlx_lm import lora

    quantized = _quantize(probe)
    model, tokenizer = mlx_lm.load(str(quantized))
    _judge_memory(probe, model)
    arguments = _arguments(probe, quantized)
    rows = _texts(probe)
    train, valid, _ = lora.load_dataset(arguments, tokenizer)
    base = mlx_models.base_arrays(model)
    first = _loss(model, rows)
    lora.train_model(arguments, model, train, valid)
    model.eval()
    last = _loss(model, rows)
    _judge_loss(probe, first, last)
    _judge_adapters(probe, model)
    _judge_base(probe, base, model)
    _judge_reloaded(probe, model, mlx_lm.load(str(quantized), adapter_path=arguments.adapter_path)[0], rows)
    probe.passed(
        "QLoRA in 4 bits trains with mlx-lm on {device}: loss on unseen texts fell from {first:.3f} to "
        "{last:.3f}, base unchanged, adapter saved and loaded.",
        device=device,
        first=first,
        last=last,
    )


def _quantize(probe: Probe) -> Path:
    """The folder of the model in 4 bits."""
    import mlx_lm

    shape = {key: probe.parameters[key] for key in ("vocabulary", "width", "layers")}
    full = mlx_models.write_llama(probe.scratch / "full", seed=probe.seed, dtype=_dtype(), **shape)
    quantized = probe.scratch / "quantized"
    mlx_lm.convert(str(full), mlx_path=str(quantized), quantize=True, q_group_size=GROUP, q_bits=BITS)
    return quantized


def _dtype() -> str:
    return "bfloat16" if is_on_gpu() else "float32"


def _texts(probe: Probe) -> "list[list[int]]":
    """Files for as many sequences as the training takes, and as many rows that it never sees."""
    unseen: "list[list[int]]" = mlx_models.write_texts(
        probe.scratch / "texts",
        count=probe.parameters["steps"] * probe.parameters["batch_size"],
        length=probe.parameters["sequence_length"],
        vocabulary=probe.parameters["vocabulary"],
        seed=probe.seed,
    )
    return unseen[:64]


def _arguments(probe: Probe, quantized: Path) -> types.SimpleNamespace:
    """The arguments of `mlx_lm.lora`, as its command line would leave them."""
    from mlx_lm import lora

    chosen = {
        "model": str(quantized),
        "train": True,
        "data": str(probe.scratch / "texts"),
        "adapter_path": str(probe.scratch / "adapter"),
        "seed": probe.seed % 2**32,
        "num_layers": probe.parameters["layers"],
        "iters": probe.parameters["steps"],
        "batch_size": probe.parameters["batch_size"],
        "learning_rate": probe.parameters["learning_rate"],
        "val_batches": 1,
        "lora_parameters": {
            "rank": probe.parameters["rank"],
            "dropout": 0.0,
            "scale": 20.0,
            "keys": list(mlx_models.PROJECTIONS),
        },
    }
    return types.SimpleNamespace(**{**lora.CONFIG_DEFAULTS, **chosen})


def _judge_memory(probe: Probe, model: Any) -> None:
    """Bytes of the quantized modules' arrays against the formula, and against FP16."""
    modules = [module for _, module in model.named_modules() if hasattr(module, "bits")]
    elements = sum(module.weight.size * 32 // module.bits for module in modules)
    observed = sum(array.nbytes for module in modules for array in module.parameters().values())
    bytes_of_scale = HALF_BYTES if _dtype() == "bfloat16" else 2 * HALF_BYTES
    expected = elements * BITS // 8 + elements // GROUP * 2 * bytes_of_scale
    probe.fact("dtype", _dtype())
    # Seven projections a layer, the embedding and the output layer.
    count = len(mlx_models.PROJECTIONS) * probe.parameters["layers"] + 2
    probe.measure("quantized_modules", len(modules), "1")
    probe.measure("quantized_memory", observed, "byte", better="lower")
    probe.measure("share_of_fp16", observed / (HALF_BYTES * elements) if elements else 0.0, "1")
    probe.expect("quantized_modules", len(modules) == count, f"{count}", f"{len(modules)}")
    probe.expect(
        "quantized_memory",
        observed == expected,
        f"{expected:,} bytes",
        f"{observed:,} bytes",
        "4 bits an element, a scale and a bias for every 64",
    )


def _loss(model: Any, rows: "list[list[int]]") -> float:
    """Mean cross-entropy of each next token, in nats."""
    import mlx.core as mx
    from mlx import nn

    tokens = mx.array(rows)
    logits = model(tokens[:, :-1]).astype(mx.float32)
    return float(nn.losses.cross_entropy(logits, tokens[:, 1:], reduction="mean").item())


def _judge_loss(probe: Probe, first: float, last: float) -> None:
    probe.measure("first_loss", first, "nat")
    probe.measure("last_loss", last, "nat", better="lower")
    if math.isnan(last):
        probe.fail("The loss became NaN.", remedy="KI067")
    bound = SHARE_OF_IGNORANCE * uniform_loss(probe.parameters["vocabulary"] - 2)
    probe.expect(
        "loss_falls",
        last < bound < first,
        f"last loss < {bound:.3f}, 0.6 of knowing nothing",
        f"{last:.3f} after {first:.3f}",
    )


def _judge_adapters(probe: Probe, model: Any) -> None:
    """Trainable elements by the formula, and no B that is still zero."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    trainable = dict(tree_flatten(model.trainable_parameters()))
    count = sum(array.size for array in trainable.values())
    expected = probe.parameters["layers"] * probe.parameters["rank"] * _sides(probe.parameters["width"])
    probe.measure("trainable_parameters", count, "1")
    probe.expect(
        "trainable_parameters",
        count == expected,
        f"{expected:,}",
        f"{count:,}",
        "sum of r*(in + out) over the adapted modules",
    )
    moved = [bool(mx.any(array != 0).item()) for name, array in trainable.items() if "lora_b" in name]
    probe.expect("all_adapters_learn", all(moved), f"{len(moved)} moved from 0", f"{sum(moved)}")


def _sides(width: int) -> int:
    """Sum of in + out over a layer's projections: q and o, k and v of half the heads, and the MLP's three."""
    return 2 * (width + width) + 2 * (width + width // 2) + 3 * (width + 2 * width)


def _judge_base(probe: Probe, before: "dict[str, Any]", model: Any) -> None:
    changed = mlx_models.changed_arrays(before, model)
    probe.expect(
        "base_unchanged",
        not changed,
        f"{len(before)} arrays unchanged",
        f"{len(before) - len(changed)}" + (f", all but {', '.join(changed)}" if changed else ""),
    )


def _judge_reloaded(probe: Probe, trained: Any, loaded: Any, rows: "list[list[int]]") -> None:
    import mlx.core as mx

    logits, again = (model(mx.array(rows)).astype(mx.float32) for model in (trained, loaded))
    error = (mx.max(mx.abs(logits - again)) / mx.max(mx.abs(logits))).item()
    probe.measure("reloaded_error", error, "1", better="lower")
    probe.expect(
        "adapter_reloads",
        error <= SAME_OUTPUT,
        f"same outputs to {SAME_OUTPUT:.0e}",
        f"{error:.1e}",
        "same weights on the same device",
    )
