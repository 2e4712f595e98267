"""How many tokens a second does training read, and where does a step spend its time?

One AdamW step of a GPT-2 and of a Llama with random weights, in float32 and on an accelerator also under
autocast to BF16.  Tokens a second are those of whole steps; forward, backward and optimizer are timed apart
in steps of their own, since waiting for the device between the phases costs time.  The share of the peak is
6N + 12 L d T operations a token (N without the input embedding) over the rate of a square matrix product
measured here in the same type.

The logits of the first 32 tokens must be those of the same weights in float64 on the CPU, to the bound of
`transformers_generate`, and the timed steps must lower the loss of their own batch: what does not compute or
does not learn has no speed.  How trials are taken and judged is said in `llmenv_probe.timing` and
`llmenv_probe.trials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe import precision, roofline, workloads
from llmenv_probe.timing import Timer
from llmenv_probe.training_step import TrainingStep

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 330
SUITES = ("bench",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 900
TYPICAL_SECONDS = 24
CASE_TIMEOUT_SECONDS = 240
# Without precisions, texts (a batch) or matmul_size, they are chosen by the device and its memory.
PARAMETERS = {
    "families": ["gpt2", "llama"],
    "precisions": None,
    "texts": None,
    "matmul_size": None,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "families": "list of gpt2 | llama",
    "precisions": "list of float32 | float16 | bfloat16",
    "texts": "1..1024",
    "matmul_size": "1..65536",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

PRECISIONS_ON_CPU, PRECISIONS_ON_ACCELERATOR = ("float32",), ("float32", "bfloat16")
MATMUL_ON_CPU, MATMUL_ON_ACCELERATOR = 1024, 4096


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    is_cpu = device.type == "cpu"
    shapes = workloads.training_shapes(device.type)
    timer = Timer(probe)
    for precision_name in probe.parameters["precisions"] or (
        PRECISIONS_ON_CPU if is_cpu else PRECISIONS_ON_ACCELERATOR
    ):
        for family in probe.parameters["families"]:
            shape = shapes[family]
            texts = probe.parameters["texts"] or workloads.texts_that_fit(probe, shape.training_bytes)
            name = f"{family}/{precision_name}"
            if not probe.is_completed(name):
                with timer.case(name, precision=precision_name, texts=texts, **shape._asdict()) as case:
                    _measure(probe, timer, case, device, shape=shape, texts=texts, precision=precision_name)


def _measure(
    probe: Probe, timer: Timer, case: Findings, device: Any, *, shape: Any, texts: int, precision: str
) -> None:
    dtype = _dtype(precision, device, case)
    probe.require_memory(shape.training_bytes(texts), shape.words(texts), findings=case)
    tokens = shape.tokens(texts, seed=probe.seed).to(device)
    step = TrainingStep(shape.build(device, seed=probe.seed), tokens, precision=precision)
    step.refuse_wrong_logits(case)
    step.note_first_loss()
    whole = timer.time(step)
    phases = timer.time_laps(step.in_laps)
    step.refuse_unlearned(case)

    rate = whole.measure_rate(case, "tokens_per_second", "token/s", work=tokens.numel())
    for phase in ("forward", "backward", "optimizer"):
        phases[phase].measure_seconds(case, phase + "_seconds")
    _measure_share(probe, timer, case, step, shape=shape, rate=rate, dtype=dtype)
    case.passed("{rate:.1f} tokens/s.", rate=rate)


def _dtype(precision_name: str, device: Any, case: Findings) -> Any:
    return precision.torch_dtype(precision_name, device, case)


def _measure_share(
    probe: Probe, timer: Timer, case: Findings, step: Any, *, shape: Any, rate: float, dtype: Any
) -> None:
    device = step.tokens.device
    size = probe.parameters["matmul_size"] or (
        MATMUL_ON_CPU if device.type == "cpu" else MATMUL_ON_ACCELERATOR
    )
    multiplied = step.model.num_parameters() - step.model.get_input_embeddings().weight.numel()
    if step.model.config.tie_word_embeddings:
        # The output layer multiplies with the same tensor.
        multiplied += step.model.get_input_embeddings().weight.numel()
    operations = roofline.training_operations(
        multiplied, layers=shape.layers, width=shape.width, length=shape.length
    )
    peak = roofline.measured_matmul_rate(timer, device, dtype=dtype, size=size)
    roofline.measure_share(case, "share_of_measured_peak", rate * operations, peak)
