"""Does mlx-lm generate with its key-value cache what the model says without one?

A small Llama is written to disk, or SmolLM2 read from a GGUF file (`model`, a path), and generates greedily
with `generate_step`. The number of tokens must be the number asked for. Every token is then checked again:
in one pass of the model over prompt and new tokens, without a cache, its logit must be the largest, or less
than twice the bound below it, where two tokens are as good as equal. The bound on max|logit - reference| is
1e-4 of the largest logit for FP32, 2e-2 where its products are TF32's (M5, KI065), and 5e-2 for a GGUF's
weights on a GPU, which compute in FP16.

Log-probabilities that `generate_step` gives for its first token must be those of that pass, to the same
bound. A prompt cache kept from half the prompt and continued with the rest must give the same logits as the
whole prompt at once, and the cache must then hold exactly as many tokens as it was given.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv_probe import mlx_models
from llmenv_probe.mlx_backend import is_on_gpu, product_roundoff, use_mlx_lm
from llmenv_probe.permutation_language import permutation_tokens
from llmenv_probe.roundoff import TF32_ROUNDOFF

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe

ORDER = 234
SUITES = ("full",)
# mlx and mlx-lm are optional away from Apple Silicon: `run` says what is missing.
REQUIRES = ()
TIMEOUT_SECONDS = 400
TYPICAL_SECONDS = 4
PARAMETERS = {
    "model": None,
    "vocabulary": 256,
    "width": 128,
    "layers": 2,
    "prompt_tokens": 24,
    "new_tokens": 32,
}
ALLOWED = {
    "model": "text",
    "vocabulary": "8..4096",
    "width": "32..1024 by 8",
    "layers": "1..8",
    "prompt_tokens": "2..512",
    "new_tokens": "1..512",
}

FP32_BOUND, TF32_BOUND, HALF_BOUND = 1e-4, 2e-2, 5e-2


def run(probe: Probe) -> None:
    device = use_mlx_lm(probe)
    model, bound = _model(probe)
    vocabulary = model.args.vocab_size
    prompt = permutation_tokens(
        1, probe.parameters["prompt_tokens"], vocabulary=vocabulary, seed=probe.seed, noise=1.0
    )[0]
    tokens, first = _generate(probe, model, prompt)
    asked = probe.parameters["new_tokens"]
    probe.measure("generated_tokens", len(tokens), "token")
    probe.expect("tokens_generated", len(tokens) == asked, f"{asked} new tokens", f"{len(tokens)}")
    logits = _logits(model, prompt + tokens)
    _judge_choices(probe, logits, len(prompt), tokens, bound)
    _judge_first(probe, logits[len(prompt) - 1], first, bound)
    _judge_prompt_cache(probe, model, prompt, logits[len(prompt) - 1], bound)
    probe.passed(
        "mlx-lm generated {count} tokens on {device}, each the one that the model puts first "
        "without a cache.",
        count=len(tokens),
        device=device,
    )


def _model(probe: Probe) -> "tuple[Any, float]":
    """The model, and the bound of its logits."""
    import mlx_lm

    fp32_bound = TF32_BOUND if product_roundoff("float32") >= TF32_ROUNDOFF else FP32_BOUND
    named = probe.parameters["model"]
    if named is None:
        shape = {key: probe.parameters[key] for key in ("vocabulary", "width", "layers")}
        folder = mlx_models.write_llama(probe.scratch / "model", seed=probe.seed, dtype="float32", **shape)
        return mlx_lm.load(str(folder))[0], fp32_bound
    path = Path(named).expanduser()
    if path.suffix != ".gguf" or not path.is_file():
        probe.error("There is no GGUF file {path}; give the path of one, a folder or a hub name.", path=path)
    probe.fact("weights_source", "gguf")
    if is_on_gpu():
        return mlx_models.read_gguf(path, dtype="float16"), HALF_BOUND
    return mlx_models.read_gguf(path, dtype="float32"), FP32_BOUND


def _generate(probe: Probe, model: Any, prompt: "list[int]") -> "tuple[list[int], list[float]]":
    """New tokens, and the log-probabilities that the first was chosen from."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    tokens: "list[int]" = []
    first: "list[float]" = []
    started = time.perf_counter()
    for token, probabilities in generate_step(
        mx.array(prompt), model, max_tokens=probe.parameters["new_tokens"]
    ):
        first = first or probabilities.astype(mx.float32).tolist()
        tokens.append(int(token))
    seconds = time.perf_counter() - started
    probe.measure("tokens_per_second", len(tokens) / seconds, "token/s", better="higher")
    return tokens, first


def _logits(model: Any, tokens: "list[int]") -> "list[list[float]]":
    """Logits (tokens, vocabulary) of one pass, without a cache."""
    import mlx.core as mx

    logits: "list[list[float]]" = model(mx.array([tokens]))[0].astype(mx.float32).tolist()
    return logits


def _judge_choices(
    probe: Probe, logits: "list[list[float]]", start: int, tokens: "list[int]", bound: float
) -> None:
    """The logits at position i - 1 choose token i."""
    strays = [
        place
        for place, token in enumerate(tokens)
        if not _is_first(logits[start + place - 1], token, 2 * bound)
    ]
    probe.expect(
        "greedy_follows_logits",
        not strays,
        f"{len(tokens)} new tokens have the largest logit",
        f"{len(tokens) - len(strays)}",
        "the same model over the whole text at once, without a cache",
    )


def _is_first(logits: "list[float]", token: int, bound: float) -> bool:
    scale = max(map(abs, logits))
    return math.isfinite(math.fsum(logits)) and logits[token] >= max(logits) - bound * scale


def _judge_first(probe: Probe, logits: "list[float]", observed: "list[float]", bound: float) -> None:
    largest = max(logits)
    total = largest + math.log(math.fsum(math.exp(number - largest) for number in logits))
    error = _relative_error(observed, [number - total for number in logits])
    probe.measure("probabilities_error", error, "1", better="lower")
    probe.expect(
        "probabilities",
        error <= bound,
        f"relative error <= {bound:.0e}",
        f"{error:.1e}",
        "the same model over the whole text at once, without a cache",
    )


def _judge_prompt_cache(
    probe: Probe, model: Any, prompt: "list[int]", logits: "list[float]", bound: float
) -> None:
    """Half the prompt through a cache, then the rest: the last logits, and what the cache holds."""
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    half = len(prompt) // 2
    mx.eval(model(mx.array([prompt[:half]]), cache=cache))
    continued = model(mx.array([prompt[half:]]), cache=cache)[0, -1].astype(mx.float32).tolist()
    error = _relative_error(continued, logits)
    probe.measure("cached_error", error, "1", better="lower")
    probe.expect(
        "prompt_cache",
        error <= bound,
        f"relative error <= {bound:.0e}",
        f"{error:.1e}",
        "the same model over the whole text at once, without a cache",
    )
    held = sorted({int(layer.offset) for layer in cache})
    probe.expect("cache_holds_prompt", held == [len(prompt)], f"{len(prompt)} tokens", f"{held[-1]} tokens")


def _relative_error(observed: "list[float]", reference: "list[float]") -> float:
    """max|y - reference| / max|reference|; infinite where a value is not finite."""
    errors = [abs(one - other) for one, other in zip(observed, reference)]
    worst = max(errors) if all(map(math.isfinite, errors)) else math.inf
    return worst / max(map(abs, reference))
