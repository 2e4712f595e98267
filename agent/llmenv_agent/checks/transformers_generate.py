"""Does a causal language model load through `from_pretrained`, generate, and give the right logits?

The model (GPT-2 unless told otherwise: a hub name, a local folder or a .gguf file) is loaded, moved to the
device and generates greedily. How many tokens came is counted, since a model may stop early. The output
must begin with the prompt, and each new token must be the one that the model's own logits put first when
they are computed again for the whole text at once, without a cache: to twice the bound below, since two
figures are compared. A wrong key-value cache shows there and nowhere else. The same prompt's last logits
are then compared with the same weights in float64 on the CPU, or in float32 where a float64 copy has no
room: a relative error max|y - reference| / max|reference| of at most 1e-4 in FP32, 5e-2 in BF16 and 1e-2 in
FP16, which is the bound of a single product, for the halves about twice that, since rounding adds up over
layers.

`weights_source` says where the weights came from. With random weights (no hub, nothing in the cache)
everything here is executed with the published shape, and whether the hub can be loaded from and how good
the text is stay unknown. The peak is the process's own where it runs on the CPU, and then includes making
those weights.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.language_model import Weights

ORDER = 30
SUITES = ("quick", "full")
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 12
PARAMETERS = {
    "model": "openai-community/gpt2",
    "dtype": "auto",
    "prompt": "Hello, I am",
    "new_tokens": 20,
    "trials": 3,
}
ALLOWED = {
    "model": "text",
    "dtype": "auto | float32 | float16 | bfloat16 | float64",
    "prompt": "text",
    "new_tokens": "1..512",
    "trials": "1..100",
}

GPT2_PARAMETERS = 124_439_808
BOUNDS = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
# A float64 copy of more does not fit beside the model on small machines.
FLOAT64_REFERENCE_UP_TO = 1_000_000_000


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    weights = probe.language_model.find(probe.parameters["model"])
    tokenizer = probe.language_model.tokenizer(weights)
    prompt_ids = probe.language_model.prompt_ids(tokenizer, probe.parameters["prompt"])

    probe.accelerator.reset_peak()
    model, load_seconds = _load(probe, weights, device)
    tokens, rate = _generate(probe, model, prompt_ids.to(device))
    if tokenizer is not None:
        probe.fact("text", tokenizer.decode(tokens, skip_special_tokens=True))
    probe.measure("peak_memory", probe.peak_memory_bytes(), "byte", better="lower")
    _follow_logits(probe, model, prompt_ids[0].tolist(), tokens)
    _compare_logits(probe, model, prompt_ids)

    values = {"model": weights.title, "seconds": load_seconds, "rate": rate, "device": device}
    if weights.are_trained:
        probe.passed(
            "{model} loaded from {source} in {seconds:.2f} s and generates on {device} "
            "at {rate:.1f} tokens/s.",
            source=weights.source,
            **values,
        )
    else:
        probe.passed(
            "{model} in its published shape with random weights loaded in {seconds:.2f} s and generates "
            "on {device} at {rate:.1f} tokens/s; hub loading and text quality are unknown.",
            **values,
        )


def _load(probe: Probe, weights: Weights, device: Any) -> "tuple[Any, float]":
    """The model on the device, and the seconds until every parameter had been read there.

    `from_pretrained` alone only maps the file: 0.06 s for GPT-2.  The file may be in the system's page cache.
    """
    import torch

    probe.language_model.import_code(weights)
    started = time.perf_counter()
    model = probe.language_model.load(weights, dtype=probe.parameters["dtype"]).to(device)
    strays = sum(not torch.isfinite(parameter).all().item() for parameter in model.parameters())
    seconds = time.perf_counter() - started

    _state_source(probe, weights)
    parameters = model.num_parameters()
    _describe(probe, model, parameters)
    probe.expect("weights_finite", strays == 0, "0 tensors with weights not finite", f"{strays}")
    probe.measure("load_seconds", seconds, "s", better="lower")
    probe.measure("parameters_per_millisecond", parameters / (seconds * 1000), "1/ms", better="higher")
    return model, seconds


def _state_source(probe: Probe, weights: Weights) -> None:
    """What was not executed is unknown: the hub if nothing came from it, the text if nothing is trained."""
    probe.fact("weights_source", weights.source)
    probe.fact("hub_state", weights.hub_state)
    probe.fact("hub_loading", "worked" if weights.source == "hub" else "unknown")
    if not weights.are_trained:
        probe.fact("text_quality", "unknown")


def _describe(probe: Probe, model: Any, parameters: int) -> None:
    shape = model.config.get_text_config()
    probe.fact("architecture", type(model).__name__)
    probe.fact("dtype", str(model.dtype).replace("torch.", ""))
    probe.fact("layers", shape.num_hidden_layers)
    probe.fact("width", shape.hidden_size)
    probe.fact("attention_heads", shape.num_attention_heads)
    probe.fact("vocabulary", shape.vocab_size)
    probe.measure("parameters", parameters, "1")
    if probe.parameters["model"] in {"openai-community/gpt2", "gpt2"}:
        probe.expect("parameters", parameters == GPT2_PARAMETERS, f"{GPT2_PARAMETERS:,}", f"{parameters:,}")


def _generate(probe: Probe, model: Any, prompt_ids: Any) -> "tuple[list[int], float]":
    """Token ids of prompt and continuation, and new tokens per second, reading the prompt included."""
    import torch

    rates, outputs = [], []
    for _ in range(1 + probe.parameters["trials"]):
        probe.accelerator.synchronize()
        started = time.perf_counter()
        with torch.no_grad():
            output = model.generate(
                prompt_ids,
                attention_mask=torch.ones_like(prompt_ids),
                max_new_tokens=probe.parameters["new_tokens"],
                do_sample=False,
                repetition_penalty=1.0,  # some checkpoints bring one, and greedy is the largest logit
            )
        probe.accelerator.synchronize()
        seconds = time.perf_counter() - started
        outputs.append(output[0].tolist())
        rates.append((len(outputs[-1]) - prompt_ids.shape[1]) / seconds)
    generated = len(outputs[-1]) - prompt_ids.shape[1]
    repeats = sum(output == outputs[0] for output in outputs)
    probe.measure("generated_tokens", generated, "1")
    probe.expect("tokens_generated", generated > 0, "at least 1 new token", f"{generated}")
    probe.expect(
        "greedy_repeats", repeats == len(outputs), f"{len(outputs)} equal outputs", f"{repeats} equal"
    )
    rate = probe.measure(
        "tokens_per_second", None, "token/s", better="higher", trials=rates[1:], warmups=rates[:1]
    )
    return outputs[-1], rate


def _follow_logits(probe: Probe, model: Any, prompt: "list[int]", tokens: "list[int]") -> None:
    """Each new token against the logits of one pass over the whole text, which uses no cache."""
    import torch

    kept = sum(ours == theirs for ours, theirs in zip(prompt, tokens))
    probe.expect("prompt_kept", kept == len(prompt), f"{len(prompt)} tokens of the prompt kept", f"{kept}")
    new = torch.tensor(tokens[len(prompt) :], dtype=torch.long)
    with torch.no_grad():
        logits = model(torch.tensor([tokens], device=model.device), use_cache=False).logits[0].cpu().double()
    before_each = logits[len(prompt) - 1 : len(tokens) - 1]
    gaps = before_each.max(1).values - before_each.gather(1, new[:, None])[:, 0]
    bound = 2 * _bound(model) * before_each.abs().max().item() if len(new) else 0.0
    following = int((gaps <= bound).sum().item())
    probe.expect(
        "greedy_follows_logits",
        following == len(new),
        f"{len(new)} new tokens have the largest logit",
        f"{following}",
        "the same model over the whole text at once, without a cache",
    )


def _bound(model: Any) -> float:
    return BOUNDS.get(str(model.dtype).replace("torch.", ""), BOUNDS["bfloat16"])


def _fits_in_float64(probe: Probe, model: Any) -> bool:
    """Whether a copy with 8 bytes a parameter has room beside the model, of what was there before it."""
    count, held = model.num_parameters(), _held_bytes(model)
    available = probe.machine.available_bytes
    return count <= FLOAT64_REFERENCE_UP_TO and (available is None or held + 8 * count <= available)


def _held_bytes(model: Any) -> int:
    return sum(each.numel() * each.element_size() for each in model.parameters())


def _compare_logits(probe: Probe, model: Any, prompt_ids: Any) -> None:
    """Last-position logits on the device against the same weights on the CPU, where it leaves the model."""
    import torch

    with torch.no_grad():
        observed = model(prompt_ids.to(model.device)).logits[0, -1].cpu()
    strays = int((~torch.isfinite(observed)).sum().item())
    probe.expect(
        "logits_finite", strays == 0, "0 logits not finite", f"{strays} of {observed.numel()} not finite"
    )

    own_dtype, bound = str(model.dtype).replace("torch.", ""), _bound(model)
    reference_dtype = torch.float64 if _fits_in_float64(probe, model) else torch.float32
    if probe.device == "cpu" and model.dtype == reference_dtype:
        probe.fact(
            "logits_reference", "none: the model is too large for a float64 copy, and already on the CPU"
        )
        return
    with torch.no_grad():
        reference = model.cpu().to(reference_dtype)(prompt_ids).logits[0, -1].double()
    error = ((observed.double() - reference).abs().max() / reference.abs().max()).item()
    error = math.inf if math.isnan(error) else error
    probe.fact("logits_reference", f"{str(reference_dtype).replace('torch.', '')} on the CPU")
    probe.measure("logits_error", error, "1", better="lower")
    probe.expect(
        "logits_match",
        error <= bound,
        f"relative error <= {bound:.0e} in {own_dtype}",
        f"{error:.2e}",
        "same weights on the CPU; bounds of a single product, twice that for the half precisions",
    )
