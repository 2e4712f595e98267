"""Does training in fp16 and bf16 reach the loss that fp32 reaches?

A small Llama takes the same steps on the same tokens three times: in fp32, under autocast to fp16 with a
gradient scaler, and under autocast to bf16, which has fp32's exponents and needs none. Each of the two is a
case, and has to show that

- autocast took effect: every linear layer gives the type asked for. Where PyTorch refuses a type it only
  warns ("target dtype is not supported. Disabling autocast") and computes in fp32: here that warning ends
  the case, with what to do;
- the gradients at the start, unscaled, are fp32's to `gradient_bound`: 6 unit roundoffs (2^-11, 2^-8) for
  each of the 9 products on the longest way through two blocks;
- in fp16, a loss scaled by 2^40 overflows, the scaler skips that step, leaves every weight as it was, and
  halves its scale;
- the loss on unseen tokens ends within a band of fp32's: three standard errors of fp32's own loss over those
  sequences, below which another draw of tokens would decide, plus one unit roundoff of the loss at the start.
  And it ends below half its start: two that learn nothing are also equal.

The speed against fp32 is a measurement, not a claim: a model this small is not what mixed precision is for.
"""

from __future__ import annotations

import math
import re
import statistics
import warnings
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from llmenv_probe.small_models import learnable_tokens, small_model
from llmenv_probe.training import (
    UNIT_ROUNDOFF,
    Trained,
    gradient_bound,
    gradients,
    relative_error,
    sequence_losses,
    train,
    weights,
)

if TYPE_CHECKING:
    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 200
SUITES = ("full",)
REQUIRES = ("torch", "transformers")
TIMEOUT_SECONDS = 900
TYPICAL_SECONDS = 9
CASE_TIMEOUT_SECONDS = 400
PARAMETERS = {"steps": 40, "batch_size": 8, "sequence_length": 64, "learning_rate": 3e-3}
ALLOWED = {
    "steps": "30..1000",
    "batch_size": "4..64",
    "sequence_length": "32..256",
    "learning_rate": "0.002..0.006",
}

DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
LAYERS, VOCABULARY, UNSEEN = 2, 256, 256
STANDARD_ERRORS = 3
SHARE_OF_START = 0.5
# Gradients of the logits are about 2^-9 a token here: scaled by this they leave fp16, whose end is 65504.
OVERFLOWING_SCALE = 2.0**40
# What refuses a type or lacks the scaler's operator, and the known issue that says what to do.
REFUSALS = (
    (re.compile(r"[Ii]n MPS autocast, but the target dtype is not supported"), "KI077"),
    (re.compile(r"[Ii]n \w+ autocast, but the target dtype is not supported"), ""),
    (re.compile(r"BFloat16 is not supported on MPS|MPS BFloat16 is only supported on MacOS 14"), "KI075"),
    (re.compile(r"The operator 'aten::_amp_\w+' is not currently implemented for the MPS device"), "KI069"),
    (re.compile(r"Cannot convert a MPS Tensor to float64"), "KI076"),
    (re.compile(r"Current \w+ Device does not support bfloat16"), ""),
    (re.compile(r"has no attribute 'GradScaler'"), ""),
)


class _Reference(NamedTuple):
    """What training in fp32 gave; `first` and `last` are the losses of the unseen sequences, in nats."""

    tokens: Any
    first: Any
    last: Any
    gradients: Any
    trained: Trained


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    count = UNSEEN + probe.parameters["steps"] * probe.parameters["batch_size"]
    length = probe.parameters["sequence_length"]
    tokens = learnable_tokens(count, length, vocabulary=VOCABULARY, seed=probe.seed).to(device)
    reference = _train_in_fp32(probe, tokens)
    for name, dtype_name in DTYPES.items():
        if not probe.is_completed(name):
            with probe.case(name, dtype=dtype_name, **probe.parameters) as case:
                _examine(probe, case, dtype_name, reference)


def _model(probe: Probe) -> Any:
    model = small_model("llama", seed=probe.seed, layers=LAYERS, vocabulary=VOCABULARY)
    return model.to(probe.accelerator.torch_device())


def _optimizer(probe: Probe, model: Any) -> Any:
    import torch

    return torch.optim.AdamW(model.parameters(), lr=probe.parameters["learning_rate"])


def _batches(probe: Probe, tokens: Any) -> Any:
    return tokens[UNSEEN:].split(probe.parameters["batch_size"])


def _train_in_fp32(probe: Probe, tokens: Any) -> _Reference:
    model = _model(probe)
    first = sequence_losses(model, tokens[:UNSEEN])
    at_start = _gradients(model, _batches(probe, tokens)[0])
    trained = train(model, _batches(probe, tokens), _optimizer(probe, model))
    last = sequence_losses(model, tokens[:UNSEEN])
    probe.measure("first_loss", first.mean().item(), "nat")
    probe.measure("fp32_loss", last.mean().item(), "nat", better="lower")
    falls = last.mean().item() < SHARE_OF_START * first.mean().item()
    bound = f"last loss < {SHARE_OF_START * first.mean().item():.3f}, half of the first"
    probe.expect("loss_falls", falls, bound, f"{last.mean().item():.3f} after {first.mean().item():.3f}")
    return _Reference(tokens, first, last, at_start, trained)


def _gradients(model: Any, batch: Any) -> Any:
    model.train().zero_grad()
    model(input_ids=batch, labels=batch).loss.backward()
    return gradients(model)


def _examine(probe: Probe, case: Case, dtype_name: str, reference: _Reference) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*autocast.*target dtype is not supported")
        try:
            _judge_autocast(probe, case, dtype_name, reference.tokens)
            _judge_gradients(probe, case, dtype_name, reference)
            if dtype_name == "float16":
                _judge_overflow(probe, case, reference.tokens)
            _judge_loss(probe, case, dtype_name, reference)
        except (RuntimeError, TypeError, AttributeError, UserWarning) as refusal:
            if not _say_refusal(probe, case, dtype_name, str(refusal)):
                raise


def _say_refusal(probe: Probe, case: Case, dtype_name: str, message: str) -> bool:
    """Whether the message is a known refusal of the type or of its scaler, which is then said."""
    for pattern, remedy in REFUSALS:
        if pattern.search(message):
            words = {"device": probe.device, "dtype": dtype_name, "message": message.partition("\n")[0][:200]}
            if not remedy:
                case.skip("PyTorch cannot train in {dtype} on {device}: {message}", **words)
            case.warn("PyTorch cannot train in {dtype} on {device}: {message}", remedy=remedy, **words)
            return True
    return False


def _autocast(probe: Probe, dtype_name: str) -> "Callable[[], Any]":
    import torch

    return lambda: torch.autocast(probe.device, dtype=getattr(torch, dtype_name))


def _scaler(probe: Probe, **options: float) -> Any:
    """GradScaler moved to torch.amp, and left CUDA, in torch 2.3."""
    import torch

    if probe.device == "cuda" and not hasattr(torch.amp, "GradScaler"):
        return torch.cuda.amp.GradScaler(**options)
    return torch.amp.GradScaler(probe.device, **options)


def _judge_autocast(probe: Probe, case: Case, dtype_name: str, tokens: Any) -> None:
    """The type that each linear layer gives inside autocast, seen by a hook."""
    import torch

    model, seen = _model(probe), set()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    with torch.no_grad(), _autocast(probe, dtype_name)():
        model(input_ids=_batches(probe, tokens)[0])
    names = ", ".join(sorted(str(dtype).replace("torch.", "") for dtype in seen))
    case.fact("linear_layer_dtype", names)
    if names != dtype_name:
        case.fail(
            "Under autocast to {dtype} the linear layers computed in {observed}.",
            dtype=dtype_name,
            observed=names,
        )


def _judge_gradients(probe: Probe, case: Case, dtype_name: str, reference: _Reference) -> None:
    model = _model(probe).train()
    optimizer = _optimizer(probe, model)
    batch = _batches(probe, reference.tokens)[0]
    with _autocast(probe, dtype_name)():
        loss = model(input_ids=batch, labels=batch).loss
    if dtype_name == "float16":
        scaler = _scaler(probe)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
    else:
        loss.backward()
    error = relative_error(gradients(model), reference.gradients)
    bound = gradient_bound(dtype_name, layers=LAYERS)
    case.measure("gradient_error", error, "1", better="lower")
    if not error <= bound:
        case.fail(
            "The gradients in {dtype} are {error:.1e} away from those in fp32, more than {bound:.1e}.",
            dtype=dtype_name,
            error=error,
            bound=bound,
        )


def _judge_overflow(probe: Probe, case: Case, tokens: Any) -> None:
    """A step whose gradients are not finite has to be skipped, and the scale halved."""
    model = _model(probe)
    before, scaler = weights(model), _scaler(probe, init_scale=OVERFLOWING_SCALE)
    train(
        model,
        _batches(probe, tokens)[:1],
        _optimizer(probe, model),
        autocast=_autocast(probe, "float16"),
        scaler=scaler,
    )
    after, share = weights(model), scaler.get_scale() / OVERFLOWING_SCALE
    moved = sum(not bool((after[name] == old).all()) for name, old in before.items())
    if moved or share != 0.5:
        case.fail(
            "After an overflow {moved} of {total} tensors had moved and the scale was {share:g} of its "
            "start: the scaler has to skip the step and halve its scale.",
            moved=moved,
            total=len(before),
            share=share,
        )


def _judge_loss(probe: Probe, case: Case, dtype_name: str, reference: _Reference) -> None:
    model = _model(probe)
    trained = train(
        model,
        _batches(probe, reference.tokens),
        _optimizer(probe, model),
        autocast=_autocast(probe, dtype_name),
        scaler=_scaler(probe) if dtype_name == "float16" else None,
    )
    loss = sequence_losses(model, reference.tokens[:UNSEEN]).mean().item()
    difference, band = loss - reference.last.mean().item(), _band(dtype_name, reference)
    speed = statistics.median(reference.trained.seconds) / statistics.median(trained.seconds)
    case.measure("last_loss", loss, "nat", better="lower")
    case.measure("loss_difference", difference, "nat")
    case.measure("loss_band", band, "nat")
    case.measure("speed_against_fp32", speed, "1", better="higher")
    values = {"dtype": dtype_name, "loss": loss, "difference": difference, "band": band}
    if not abs(difference) <= band:
        case.fail(
            "Training in {dtype} ended at a loss of {loss:.4f}, {difference:+.1e} from fp32's, "
            "and the band is {band:.4f}.",
            **values,
        )
    case.passed(
        "Training in {dtype} reaches fp32's loss: {loss:.4f}, {difference:+.1e} from it, "
        "and the band is {band:.4f}.",
        **values,
    )


def _band(dtype_name: str, reference: _Reference) -> float:
    """See the module: nats that the two losses may be apart."""
    standard_error = reference.last.std().item() / math.sqrt(len(reference.last))
    roundoff = UNIT_ROUNDOFF[dtype_name] * reference.first.mean().item()
    return float(STANDARD_ERRORS * standard_error + roundoff)
