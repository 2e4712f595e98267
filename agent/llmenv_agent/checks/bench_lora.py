"""How many tokens a second does fine-tuning with LoRA read?

A Llama with random weights and an adapter of rank 8 on every linear layer of attention and MLP, AdamW steps
on one batch, whole and by phase. The logits of the first tokens must be those of the same weights in
float64 on the CPU, the steps must lower the loss of their batch, and they must leave the base alone: the
sum of a base tensor's magnitudes in float64 is the same to the last bit. How trials are taken and judged is
said in `llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe import precision, workloads
from llmenv_probe.timing import Timer
from llmenv_probe.training_step import TrainingStep

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 340
SUITES = ("bench",)
REQUIRES = ("torch", "transformers", "peft")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 11
CASE_TIMEOUT_SECONDS = 240
# Without texts (a batch), they are chosen by the device and its memory.
PARAMETERS = {
    "rank": 8,
    "precision": "float32",
    "texts": None,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "rank": "1..1024",
    "precision": "float32 | float16 | bfloat16",
    "texts": "1..1024",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    shape = workloads.training_shapes(device.type)["llama"]
    texts = probe.parameters["texts"] or workloads.texts_that_fit(probe, shape.training_bytes)
    timer = Timer(probe)
    name = f"llama/{probe.parameters['precision']}"
    if not probe.is_completed(name):
        with timer.case(name, rank=probe.parameters["rank"], texts=texts, **shape._asdict()) as case:
            _measure(probe, timer, case, device, shape=shape, texts=texts)


def _measure(probe: Probe, timer: Timer, case: Findings, device: Any, *, shape: Any, texts: int) -> None:
    precision_name = probe.parameters["precision"]
    precision.torch_dtype(precision_name, device, case)
    probe.require_memory(shape.training_bytes(texts), shape.words(texts), findings=case)
    model = _with_adapter(probe, shape.build(device, seed=probe.seed))
    step = TrainingStep(model, shape.tokens(texts, seed=probe.seed).to(device), precision=precision_name)
    step.refuse_wrong_logits(case)
    step.note_first_loss()
    before = _base_magnitude(model)
    whole = timer.time(step)
    phases = timer.time_laps(step.in_laps)
    step.refuse_unlearned(case)
    if _base_magnitude(model) != before:
        case.fail("Training the adapter changed the base weights.")

    rate = whole.measure_rate(case, "tokens_per_second", "token/s", work=step.tokens.numel())
    for phase in ("forward", "backward", "optimizer"):
        phases[phase].measure_seconds(case, phase + "_seconds")
    case.passed("{rate:.1f} tokens/s.", rate=rate)


def _with_adapter(probe: Probe, base: Any) -> Any:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    torch.manual_seed(probe.seed)
    configuration = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=probe.parameters["rank"],
        lora_alpha=2 * probe.parameters["rank"],
        lora_dropout=0.0,
        target_modules=list(TARGETS),
    )
    return get_peft_model(base, configuration)


def _base_magnitude(model: Any) -> float:
    """Sum of |w| over the first base tensor that carries an adapter, in float64 on the CPU."""
    weight = next(weight for name, weight in model.named_parameters() if ".base_layer." in name)
    return float(weight.detach().cpu().double().abs().sum())
