"""How fast does MLX train a Llama, fine-tune it with LoRA, and generate with it?

The Llama of mlx_lm with random weights in the shapes of `bench_training_step`, `bench_lora` and
`bench_generation`. A training step is AdamW in float32; MLX computes loss and gradient in one graph, so
forward and backward are one phase. Adapters are mlx_lm's, on every linear layer of the blocks. Generation is
`generate_step` of mlx_lm, greedy, with its key-value cache, in float16 on an accelerator: time to the first
token, prefill and decode rates, and decode's share of bandwidth as in `bench_generation`.

The timed steps must lower the loss of their own batch from near ln(vocabulary), which the first loss must
be, and adapters must leave the base as it was, bit for bit. Each generated token must be one that the logits
of the whole text, computed at once and without a cache, put first, to the bound of the type. How trials are
taken and judged is said in `llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Callable

from llmenv_probe import mlx_device, mlx_models, mlx_workloads, roofline, workloads
from llmenv_probe.mlx_backend import is_on_gpu, use_mlx
from llmenv_probe.mlx_training_step import MlxTrainingStep
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 395
SUITES = ("bench",)
# Optional everywhere: what is not installed is skipped by `run`.
REQUIRES = ()
TIMEOUT_SECONDS = 900
TYPICAL_SECONDS = 52
CASE_TIMEOUT_SECONDS = 400
# Without texts (a batch) and new_tokens, they are chosen by the device and its memory.
PARAMETERS = {
    "rank": 8,
    "texts": None,
    "new_tokens": None,
    "copy_megabytes": 512,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "rank": "1..1024",
    "texts": "1..1024",
    "new_tokens": "2..4096",
    "copy_megabytes": "1..65536",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

NEW_TOKENS_ON_CPU, NEW_TOKENS_ON_ACCELERATOR = 16, 64
LOGITS_BOUNDS = {"float32": 1e-4, "float16": 1e-2}


def run(probe: Probe) -> None:
    use_mlx(probe)
    if importlib.util.find_spec("mlx_lm") is None:
        probe.skip("mlx_lm is not installed, and it is its Llama that is timed.")
    # MLX may compute on the CPU beside an accelerator that it cannot use.
    is_cpu = not is_on_gpu()
    device_type = "cpu" if is_cpu else probe.device
    timer = Timer(probe, mlx_device.synchronize)
    shape = workloads.training_shapes(device_type)["llama"]
    texts = probe.parameters["texts"] or (
        1 if is_cpu else workloads.texts_that_fit(probe, shape.training_bytes)
    )
    for name, adapter in (("training/float32", {}), ("lora/float32", {"rank": probe.parameters["rank"]})):
        if not probe.is_completed(name):
            with timer.case(name, texts=texts, **adapter, **shape._asdict()) as case:
                _measure_training(probe, timer, case, shape=shape, texts=texts, **adapter)

    shape = workloads.generation_shape(probe, device_type)
    dtype = "float32" if is_cpu else "float16"
    new_tokens = probe.parameters["new_tokens"] or (
        NEW_TOKENS_ON_CPU if is_cpu else NEW_TOKENS_ON_ACCELERATOR
    )
    if not probe.is_completed(f"generation/{dtype}"):
        with timer.case(f"generation/{dtype}", new_tokens=new_tokens, **shape._asdict()) as case:
            _measure_generation(probe, timer, case, shape=shape, dtype=dtype, new_tokens=new_tokens)


def _measure_training(
    probe: Probe, timer: Timer, case: Findings, *, shape: Any, texts: int, rank: int = 0
) -> None:
    """Of all weights, or with a rank of adapters alone."""
    probe.require_memory(shape.training_bytes(texts), shape.words(texts), findings=case)
    model = mlx_workloads.llama(shape, seed=probe.seed, key_value_heads=shape.heads)
    # Of weights that are trained nothing is kept: it would be a copy.
    frozen: "dict[str, Any]" = {}
    if rank:
        mlx_workloads.adapt(model, layers=shape.layers, rank=rank)
        frozen = mlx_models.base_arrays(model)
    tokens = mlx_workloads.random_tokens(shape, texts, seed=probe.seed)
    step = MlxTrainingStep(model, tokens, vocabulary=shape.vocabulary)
    laps = timer.time_laps(step.in_laps)
    step.refuse_unlearned(case)
    if mlx_models.changed_arrays(frozen, model):
        case.fail("Training the adapter changed the base weights.")
    rate = laps["whole"].measure_rate(case, "tokens_per_second", "token/s", work=tokens.size)
    laps["gradient"].measure_seconds(case, "gradient_seconds")
    laps["optimizer"].measure_seconds(case, "optimizer_seconds")
    case.passed("{rate:.1f} tokens/s.", rate=rate)


def _measure_generation(
    probe: Probe, timer: Timer, case: Findings, *, shape: Any, dtype: str, new_tokens: int
) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten

    needed = 6 * shape.about_parameters
    probe.require_memory(needed, f"(4 + 2) bytes x {shape.about_parameters:,} parameters", findings=case)
    key_value_heads = max(1, shape.heads // 4)
    model = mlx_workloads.llama(shape, seed=probe.seed, key_value_heads=key_value_heads)
    model.set_dtype(getattr(mx, dtype))
    mx.eval(model.parameters())
    prompt = mlx_workloads.random_tokens(shape, 1, seed=probe.seed)[0]
    _refuse_wrong_tokens(case, model, prompt, new_tokens=new_tokens, bound=LOGITS_BOUNDS[dtype])

    laps = timer.time_laps(lambda lap: _generate(model, prompt, new_tokens, lap))
    seconds = laps["first"].measure_seconds(case, "first_token_seconds")
    laps["first"].measure_rate(case, "prefill_rate", "token/s", work=prompt.size)
    rate = laps["others"].measure_rate(case, "decode_rate", "token/s", work=new_tokens - 1)
    weights = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    cached = (
        2 * shape.layers * key_value_heads * (shape.width // shape.heads) * (shape.length + new_tokens / 2)
    )
    _measure_shares(probe, timer, case, read=rate * (weights + cached * getattr(mx, dtype).size))
    case.passed("First token after {seconds:.3f} s, then {rate:.1f} tokens/s.", seconds=seconds, rate=rate)


def _generate(model: Any, prompt: Any, new_tokens: int, lap: Callable[[str], None]) -> "list[int]":
    from mlx_lm.generate import generate_step

    tokens: "list[int]" = []
    for token, _ in generate_step(prompt, model, max_tokens=new_tokens):
        tokens.append(int(token))
        if len(tokens) == 1:
            lap("first")
    lap("others")
    return tokens


def _refuse_wrong_tokens(case: Findings, model: Any, prompt: Any, *, new_tokens: int, bound: float) -> None:
    """Each new token's logit may lack twice the bound of the largest: two computations are compared."""
    import mlx.core as mx

    tokens = _generate(model, prompt, new_tokens, lap=lambda _: None)
    text = mx.concatenate([prompt, mx.array(tokens[:-1], dtype=prompt.dtype)])
    logits = model(text[None])[0, prompt.size - 1 :].astype(mx.float32)
    chosen = mx.take_along_axis(logits, mx.array(tokens)[:, None], axis=1)[:, 0]
    missing = ((logits.max(axis=1) - chosen) / mx.abs(logits).max(axis=1)).tolist()
    strays = sum(not each <= 2 * bound for each in missing)
    if strays or len(tokens) != new_tokens:
        case.fail(
            "{strays} of {count} tokens are not those that the logits put first.",
            strays=strays,
            count=len(tokens),
        )


def _measure_shares(probe: Probe, timer: Timer, case: Findings, *, read: float) -> None:
    """`read` is in bytes a second."""
    import mlx.core as mx

    case.measure("decode_bandwidth", read / 1e9, "GB/s", better="higher")
    roofline.measure_share(case, "decode_share_of_bandwidth", read / 1e9, probe.machine.bandwidth_gb_per_s)
    if not is_on_gpu():
        return  # MLX computes on one core there, which does not reach the memory's bandwidth
    megabytes = probe.parameters["copy_megabytes"]
    source = mx.zeros(megabytes * 2**20 // 4)
    mx.eval(source)
    series = timer.time(lambda: mx.eval(roofline.TRIAD_FACTOR * source))
    moved = roofline.ARRAYS["scale"] * megabytes * 2**20 / series.median
    roofline.measure_share(case, "decode_share_of_measured_bandwidth", read, moved)
