"""How long until the first token, and how many tokens a second after it?

`generate` of transformers with its key-value cache, greedily, on a Llama with grouped heads and random
weights, one text. The time to the first token ends when its id has come to the CPU; the prompt's tokens
over that time is the prefill rate, and the tokens after the first over the rest is the decode rate. Both
are of the same calls, as a user sees them, with the overhead of `generate`.

Decoding reads every weight and the cached keys and values once a token, so it is bound by bandwidth (Pope
et al., 2022): its share is that number of bytes a second over the chip's bandwidth, where the catalogue
knows it, and over the bandwidth of a copy measured here.

Each new token must be the one that the model's logits for the whole text, computed at once and without a
cache, put first, to the bound of the type; a wrong cache shows there and nowhere else. How trials are taken
and judged is said in `llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from llmenv_probe import precision, roofline, workloads
from llmenv_probe.timing import Timer
from llmenv_probe.training_step import LOGITS_BOUNDS

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 350
SUITES = ("bench",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 11
CASE_TIMEOUT_SECONDS = 400
# Without dtype, tokens and copy_megabytes, they are chosen by the device.
PARAMETERS = {
    "dtype": None,
    "prompt_tokens": None,
    "new_tokens": None,
    "copy_megabytes": None,
    "trials": 10,
    "trial_seconds": 0.1,
    "cooldown_seconds": 2.0,
}
ALLOWED = {
    "dtype": "float32 | float16 | bfloat16",
    "prompt_tokens": "1..16384",
    "new_tokens": "2..4096",
    "copy_megabytes": "1..65536",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

DTYPE_ON_CPU, DTYPE_ON_ACCELERATOR = "float32", "float16"
NEW_TOKENS_ON_CPU, NEW_TOKENS_ON_ACCELERATOR = 16, 64
COPY_ON_CPU, COPY_ON_ACCELERATOR = 128, 512


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    is_cpu = device.type == "cpu"
    dtype = probe.parameters["dtype"] or (DTYPE_ON_CPU if is_cpu else DTYPE_ON_ACCELERATOR)
    shape = workloads.generation_shape(probe, probe.device)
    tokens = {
        "prompt_tokens": probe.parameters["prompt_tokens"] or shape.length,
        "new_tokens": probe.parameters["new_tokens"]
        or (NEW_TOKENS_ON_CPU if is_cpu else NEW_TOKENS_ON_ACCELERATOR),
    }
    shape = shape._replace(length=max(shape.length, sum(tokens.values())))
    name = f"{shape.family}/{dtype}"
    if not probe.is_completed(name):
        timer = Timer(probe)
        with timer.case(name, dtype=dtype, **tokens, **shape._asdict()) as case:
            _measure(probe, timer, case, device, shape=shape, dtype_name=dtype, **tokens)


def _measure(
    probe: Probe,
    timer: Timer,
    case: Findings,
    device: Any,
    *,
    shape: Any,
    dtype_name: str,
    prompt_tokens: int,
    new_tokens: int,
) -> None:
    dtype = precision.torch_dtype(dtype_name, device, case)
    needed = (4 + dtype.itemsize) * shape.about_parameters
    arithmetic = f"(4 + {dtype.itemsize}) bytes x {shape.about_parameters:,} parameters"
    probe.require_memory(needed, arithmetic, findings=case)
    model = shape.build(device, seed=probe.seed).to(dtype).eval()
    prompt = shape.tokens(1, seed=probe.seed)[:, :prompt_tokens].to(device)
    output = _generate(model, prompt, new_tokens, lap=lambda _: None)
    _refuse_wrong_tokens(case, model, prompt, output, bound=LOGITS_BOUNDS[dtype_name])

    laps = timer.time_laps(lambda lap: _generate(model, prompt, new_tokens, lap))
    seconds = laps["first"].measure_seconds(case, "first_token_seconds")
    laps["first"].measure_rate(case, "prefill_rate", "token/s", work=prompt_tokens)
    rate = laps["others"].measure_rate(case, "decode_rate", "token/s", work=new_tokens - 1)
    _measure_shares(probe, timer, case, model, rate=rate, cached_tokens=prompt_tokens + new_tokens / 2)
    case.passed("First token after {seconds:.3f} s, then {rate:.1f} tokens/s.", seconds=seconds, rate=rate)


class _FirstToken:
    """A streamer of `generate` that calls `lap` when the first new token has come, after the prompt."""

    def __init__(self, lap: Callable[[str], None]) -> None:
        self._lap = lap
        self._pieces = 0

    def put(self, _: Any) -> None:
        self._pieces += 1
        if self._pieces == 2:
            self._lap("first")

    def end(self) -> None:
        self._lap("others")


def _generate(model: Any, prompt: Any, new_tokens: int, lap: Callable[[str], None]) -> Any:
    """Token ids (1, prompt and new tokens)."""
    import torch

    with torch.no_grad():
        return model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            streamer=_FirstToken(lap),
        )


def _refuse_wrong_tokens(case: Findings, model: Any, prompt: Any, output: Any, *, bound: float) -> None:
    """Each new token's logit may lack twice the bound of the largest: two computations are compared."""
    import torch

    start = prompt.shape[1]
    with torch.no_grad():
        logits = model(output[:, :-1], use_cache=False).logits[0, start - 1 :].float()
    chosen = logits.gather(1, output[0, start:, None])[:, 0]
    missing = (logits.max(1).values - chosen) / logits.abs().max(1).values
    strays = int((~(missing <= 2 * bound)).sum())
    if strays or not bool((output[:, :start] == prompt).all()):
        case.fail(
            "{strays} of {count} tokens are not those that the logits put first.",
            strays=strays,
            count=len(missing),
        )


def _measure_shares(
    probe: Probe, timer: Timer, case: Findings, model: Any, *, rate: float, cached_tokens: float
) -> None:
    read = rate * roofline.decode_bytes(model, cached_tokens=cached_tokens)
    case.measure("decode_bandwidth", read / 1e9, "GB/s", better="higher")
    roofline.measure_share(case, "decode_share_of_bandwidth", read / 1e9, probe.machine.bandwidth_gb_per_s)
    device = model.device
    megabytes = probe.parameters["copy_megabytes"] or (
        COPY_ON_CPU if device.type == "cpu" else COPY_ON_ACCELERATOR
    )
    copied = roofline.measured_bandwidth(timer, device, array_bytes=megabytes * 2**20)
    roofline.measure_share(case, "decode_share_of_measured_bandwidth", read, copied)
