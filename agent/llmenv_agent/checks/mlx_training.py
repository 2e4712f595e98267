"""Does MLX train a transformer with each of its common optimizers, and is every step of it right?

A transformer of one block learns a language in which each token follows from the one before by a fixed
permutation, one token in ten being noise. One case for each optimizer:

- its *first step* is compared, for every parameter, with the formula in float64 from the same weights and
  gradients. MLX's Adam has no bias correction unless asked, so its first step is lr*(1-b1)*g divided by
  (sqrt((1-b2)*g^2) + eps). Bound: 16 * 2^-24 * (|w| + |step|), eight roundings, twice that for the GPU's
  approximate division and root;
- it *learns*: the loss on unseen sequences must fall below 0.6 of ln(V), the loss of knowing nothing;
- it *resumes*: parameters and optimizer state, saved as safetensors in the middle and loaded into a new
  network and optimizer, go on to the same weights: bit for bit on the CPU, to 1e-4 of the largest on a GPU,
  where the sums of an embedding's gradient have no fixed order.

One more case compares loss and gradients with float64. The reference is a transformer in Python's double
precision; of every parameter tensor's gradient it takes the derivative along three random directions,
(f(w+hd) - f(w-hd))/2h with h = 1e-4, whose own error is h^2. Bound relative to the gradient's norm: 1e-4, and
2e-2 where FP32 products are TF32's (M5, KI065); of the loss 1e-5, and 1e-3.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from llmenv_probe import mlx_transformer
from llmenv_probe.directional_derivative import gradient_error
from llmenv_probe.mlx_backend import is_on_gpu, product_roundoff, use_mlx
from llmenv_probe.mlx_optimizers import METHODS
from llmenv_probe.permutation_language import permutation_tokens, uniform_loss
from llmenv_probe.roundoff import TF32_ROUNDOFF

if TYPE_CHECKING:
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.mlx_optimizers import Method

ORDER = 232
SUITES = ("full",)
# mlx.core is imported by `run`: away from Apple Silicon its absence is no error.
REQUIRES = ()
TIMEOUT_SECONDS = 400
CASE_TIMEOUT_SECONDS = 120
TYPICAL_SECONDS = 2
PARAMETERS = {"vocabulary": 16, "length": 17, "batch_size": 16, "steps": 120, "resumed_steps": 5}
ALLOWED = {
    "vocabulary": "8..32",
    "length": "8..128",
    "batch_size": "8..128",
    "steps": "80..2000",
    "resumed_steps": "1..50",
}

SHARE_OF_IGNORANCE = 0.6
UNSEEN = 64
STEP_BOUND = 16 * 2.0**-24
SAME_ON_GPU = 1e-4


def run(probe: Probe) -> None:
    use_mlx(probe)
    vocabulary, length = probe.parameters["vocabulary"], probe.parameters["length"]
    count = probe.parameters["steps"] * probe.parameters["batch_size"] + UNSEEN
    rows = permutation_tokens(count, length, vocabulary=vocabulary, seed=probe.seed)
    if not probe.is_completed("gradients"):
        _gradients_case(probe, rows[:4])
    for method in METHODS:
        if not probe.is_completed(method.kind):
            _optimizer_case(probe, method, rows)


def _gradients_case(probe: Probe, rows: "list[list[int]]") -> None:
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten

    with probe.case("gradients") as case:
        network = mlx_transformer.transformer(probe.parameters["vocabulary"], seed=probe.seed)
        loss, gradients = nn.value_and_grad(network, mlx_transformer.loss)(network, mx.array(rows))
        parameters = {name: array.tolist() for name, array in tree_flatten(network.parameters())}
        is_rounded = product_roundoff("float32") >= TF32_ROUNDOFF
        loss_of = functools.partial(mlx_transformer.exact_loss, tokens=rows)
        exact = loss_of(parameters)
        loss_error = abs(loss.item() - exact) / exact
        errors = {
            name: gradient_error(loss_of, parameters, name, gradient.tolist(), seed=probe.seed)
            for name, gradient in tree_flatten(gradients)
        }
        worst = max(errors, key=lambda name: errors[name])
        case.measure("loss_error", loss_error, "1", better="lower")
        case.measure("gradient_error", errors[worst], "1", better="lower")
        _refuse_loss(case, loss_error, 1e-3 if is_rounded else 1e-5)
        _refuse_gradient(case, worst, errors[worst], 2e-2 if is_rounded else 1e-4)
        case.passed("Loss and gradients of {count} tensors match float64.", count=len(errors))


def _refuse_loss(case: Any, error: float, bound: float) -> None:
    if not error <= bound:
        case.fail(
            "The loss differs from float64 by {error:.1e}, more than {bound:.0e}.", error=error, bound=bound
        )


def _refuse_gradient(case: Any, name: str, error: float, bound: float) -> None:
    if not error <= bound:
        case.fail(
            "The gradient of {tensor} differs from float64 by {error:.1e}, more than {bound:.0e}.",
            tensor=name,
            error=error,
            bound=bound,
        )


def _optimizer_case(probe: Probe, method: Method, rows: "list[list[int]]") -> None:
    with probe.case(method.kind, **method.arguments) as case:
        unseen, batches = _batches(probe, rows)
        network = mlx_transformer.transformer(probe.parameters["vocabulary"], seed=probe.seed)
        optimizer = method.optimizer()
        _judge_first_step(case, method, network, optimizer, batches[0])
        resumed = min(probe.parameters["resumed_steps"], len(batches) - 1)
        _train(network, optimizer, batches[1 : len(batches) - resumed])
        _save(probe, method, network, optimizer)
        _train(network, optimizer, batches[len(batches) - resumed :])
        _judge_learning(case, network, unseen, probe.parameters["vocabulary"])
        _judge_resumption(probe, case, method, network, batches[len(batches) - resumed :])
        case.passed("{optimizer} steps right, learns and resumes.", optimizer=method.kind)


def _batches(probe: Probe, rows: "list[list[int]]") -> "tuple[Any, list[Any]]":
    """Unseen sequences (UNSEEN, length), and one batch (batch_size, length) a step."""
    import mlx.core as mx

    size = probe.parameters["batch_size"]
    starts = range(UNSEEN, len(rows), size)
    return mx.array(rows[:UNSEEN]), [mx.array(rows[start : start + size]) for start in starts]


def _train(network: Any, optimizer: Any, batches: "list[Any]") -> None:
    import mlx.core as mx
    from mlx import nn

    gradients_of = nn.value_and_grad(network, mlx_transformer.loss)
    for batch in batches:
        optimizer.update(network, gradients_of(network, batch)[1])
        mx.eval(network.parameters(), optimizer.state)


def _weights(network: Any) -> "dict[str, list[float]]":
    from mlx.utils import tree_flatten

    return {name: array.flatten().tolist() for name, array in tree_flatten(network.parameters())}


def _judge_first_step(case: Any, method: Method, network: Any, optimizer: Any, batch: Any) -> None:
    """The error of every new weight, as a multiple of what rounding allows."""
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_flatten

    before = _weights(network)
    _, gradients = nn.value_and_grad(network, mlx_transformer.loss)(network, batch)
    drawn = {name: array.flatten().tolist() for name, array in tree_flatten(gradients)}
    optimizer.update(network, gradients)
    mx.eval(network.parameters(), optimizer.state)
    error = max(
        method.step_error(before[name], drawn[name], after) for name, after in _weights(network).items()
    )
    case.measure("step_error", error, "1", better="lower")
    if not error <= STEP_BOUND:
        case.fail(
            "The first step differs from its formula in float64 by {error:.1e}, more than {bound:.1e}.",
            error=error,
            bound=STEP_BOUND,
        )


def _judge_learning(case: Any, network: Any, unseen: Any, vocabulary: int) -> None:
    last = mlx_transformer.loss(network, unseen).item()
    bound = SHARE_OF_IGNORANCE * uniform_loss(vocabulary)
    case.measure("last_loss", last, "nat", better="lower")
    if not last < bound:
        case.fail(
            "The loss on unseen sequences ended at {last:.3f}, not below {bound:.3f}.", last=last, bound=bound
        )


def _save(probe: Probe, method: Method, network: Any, optimizer: Any) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten

    for part, tree in (("network", network.parameters()), ("optimizer", optimizer.state)):
        mx.save_safetensors(
            str(probe.scratch / f"{method.kind}-{part}.safetensors"), dict(tree_flatten(tree))
        )


def _judge_resumption(probe: Probe, case: Any, method: Method, network: Any, batches: "list[Any]") -> None:
    """A new network and optimizer, from another seed, take the same steps from what was saved."""
    import mlx.core as mx
    from mlx.utils import tree_unflatten

    resumed = mlx_transformer.transformer(probe.parameters["vocabulary"], seed=probe.seed + 1)
    optimizer = method.optimizer()
    resumed.load_weights(str(probe.scratch / f"{method.kind}-network.safetensors"))
    state = mx.load(str(probe.scratch / f"{method.kind}-optimizer.safetensors"))
    optimizer.state = tree_unflatten(list(state.items()))
    _train(resumed, optimizer, batches)
    through, again = _weights(network), _weights(resumed)
    error = max(
        max(abs(one - other) for one, other in zip(weights, again[name])) / max(map(abs, weights))
        for name, weights in through.items()
    )
    case.measure("resumed_error", error, "1", better="lower")
    bound = SAME_ON_GPU if is_on_gpu() else 0.0
    if not error <= bound:
        case.fail(
            "Saved and resumed, training went on to other weights: relative difference {error:.1e}, "
            "more than {bound:.0e}.",
            error=error,
            bound=bound,
        )
