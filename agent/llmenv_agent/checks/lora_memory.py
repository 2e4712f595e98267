"""How much memory does LoRA save against full fine-tuning, at the peak and not on paper?

AdamW in FP32 keeps 12 bytes for each trainable parameter: its gradient and two moments, of 4 bytes each.
Full fine-tuning trains all N parameters, LoRA the n of its adapters, so that LoRA needs 12 (N - n) bytes
less. The weights themselves it needs all the same, and activations as well. That is why both are said here:
"about 99 % of memory saved", as reports have it, is 1 - n/N, true of gradients and optimizer alone; what the
peak falls by is far less.

The same GPT-2 of 25 million parameters takes two steps on 16 tokens, each way in a process of its own. The
second step has gradients, moments and activations at once. What the peaks rise by, over what interpreter and
libraries had taken before, must differ by 12 (N - n) bytes to a tenth: the activations of so few tokens and
AdamW's temporaries (of one tensor at a time, since `foreach` is off) are below a twentieth. Torch before 2.9
gives for MPS only what its allocator holds, in heaps of 8 and 32 MB: then it is 40 MB more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe.peak_growth import ENVIRONMENT, PeakGrowth, granularity_bytes
from llmenv_probe.small_models import learnable_tokens, small_model
from llmenv_probe.training import train

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.second_process import SecondOutcome

ORDER = 220
SUITES = ("full",)
REQUIRES = ("torch", "transformers", "peft")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 18
PARAMETERS = {"layers": 8, "width": 512, "rank": 8, "sequence_length": 16}
ALLOWED = {"layers": "4..48", "width": "256..4096 by 8", "rank": "1..64", "sequence_length": "2..256"}

VOCABULARY, STEPS, HEADS = 256, 2, 8
# A gradient and AdamW's two moments, in FP32.
TRAINING_BYTES = 12
TOLERANCE = 0.1


def run(probe: Probe) -> None:
    probe.fact("device", str(probe.accelerator.torch_device()))
    weight_bytes = 4 * 12 * probe.parameters["layers"] * probe.parameters["width"] ** 2
    needed = f"weights of {weight_bytes / 1e6:.0f} MB, gradients and two moments as large"
    probe.require_memory(4 * weight_bytes, needed)
    lora, full = (_measure(probe, method) for method in ("lora", "full"))

    peaks = [each.measurements["training_peak"] for each in (lora, full)]
    trainable, total = (each.measurements["trainable_parameters"] for each in (lora, full))
    formula = TRAINING_BYTES * (total - trainable)
    _record(probe, lora, full, formula)
    _judge(probe, peaks[1] - peaks[0], formula, source=full.facts["peak_source"])
    probe.passed(
        "LoRA's training takes {lora:.0f} MB at the peak where full fine-tuning takes {full:.0f} MB, "
        "{share:.0f} % less. The {formula_share:.1f} % that reports call memory saved are those of "
        "gradients and optimizer alone.",
        lora=peaks[0] / 1e6,
        full=peaks[1] / 1e6,
        share=100 * (1 - peaks[0] / peaks[1]),
        formula_share=100 * (1 - trainable / total),
    )


def _measure(probe: Probe, method: str) -> SecondOutcome:
    second = probe.run_in_second_process("training", environment=ENVIRONMENT, parameters={"method": method})
    if second.status != "pass":
        probe.error(
            "The peak of {method} fine-tuning was not measured, the second process: {reason}",
            method=method,
            reason=second.reason,
        )
    return second


def _record(probe: Probe, lora: SecondOutcome, full: SecondOutcome, formula: float) -> None:
    trainable, total = (each.measurements["trainable_parameters"] for each in (lora, full))
    probe.measure("trainable_parameters", trainable, "1")
    probe.measure("total_parameters", total, "1")
    peaks = [each.measurements["training_peak"] for each in (lora, full)]
    probe.measure("lora_training_peak", peaks[0], "byte", better="lower")
    probe.measure("full_training_peak", peaks[1], "byte", better="lower")
    probe.measure("training_peak_ratio", peaks[0] / peaks[1], "1", better="lower")
    probe.measure("saved_by_formula", formula, "byte")
    probe.measure("gradients_and_optimizer_saved", 100 * (1 - trainable / total), "%")
    probe.fact("peak_source", full.facts["peak_source"])


def _judge(probe: Probe, saved: float, formula: float, *, source: str) -> None:
    allowed = TOLERANCE * formula + granularity_bytes(source)
    probe.expect(
        "peak_falls_by_formula",
        abs(saved - formula) <= allowed,
        f"{formula / 1e6:.0f} MB less, to {allowed / 1e6:.0f} MB",
        f"{saved / 1e6:.0f} MB less",
        "12 bytes for each parameter that is not trained: gradient and AdamW's two moments in FP32",
    )


def run_training(probe: Probe) -> None:
    """In a process of its own: the peak of training by the method that the parameters name."""
    import torch

    device = probe.accelerator.torch_device()
    growth = PeakGrowth(probe)
    model = _model(probe).to(device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-3, foreach=False)
    tokens = learnable_tokens(
        STEPS, probe.parameters["sequence_length"], vocabulary=VOCABULARY, seed=probe.seed
    )
    train(model, tokens.to(device).split(1), optimizer)
    probe.accelerator.synchronize()
    probe.measure("training_peak", growth.bytes(), "byte", better="lower")
    probe.measure("trainable_parameters", sum(parameter.numel() for parameter in trainable), "1")
    probe.fact("peak_source", growth.source())
    probe.passed("The peak was measured.")


def _model(probe: Probe) -> Any:
    shape = {"width": probe.parameters["width"], "layers": probe.parameters["layers"], "heads": HEADS}
    model = small_model("gpt2", seed=probe.seed, vocabulary=VOCABULARY, **shape)
    if probe.parameters["method"] == "full":
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    adapter = LoraConfig(task_type=TaskType.CAUSAL_LM, r=probe.parameters["rank"], fan_in_fan_out=True)
    return get_peft_model(model, adapter)
