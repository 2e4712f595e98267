"""A transformer of one block in MLX, and its loss in Python's double precision for the same parameters.

The reference is written out from the formulas, with none of MLX's code in it: layer norm, causal attention
with two heads, GELU, cross-entropy.  MLX's own float64 is none: some of its operations round to FP32 inside.
"""

from __future__ import annotations

import math
import operator
from typing import Any, Dict, Iterable, List, Sequence

WIDTH, HEADS, HIDDEN = 16, 2, 32
LAYER_NORM_EPSILON = 1e-5
_BLOCK = "encoder.layers.0."

Vector = Sequence[float]
Matrix = List[List[float]]
# Parameters by their name in the network: a list of rows, or a list of numbers.
Parameters = Dict[str, List[Any]]


def transformer(vocabulary: int, *, seed: int) -> Any:
    """An mlx.nn.Module from token ids (rows, length) to logits (rows, length, vocabulary)."""
    import mlx.core as mx
    from mlx import nn

    class Transformer(nn.Module):  # type: ignore[misc] # mlx has no types here
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, WIDTH)
            self.encoder = nn.TransformerEncoder(
                1, WIDTH, HEADS, mlp_dims=HIDDEN, activation=nn.gelu, norm_first=True
            )
            self.head = nn.Linear(WIDTH, vocabulary)

        def __call__(self, tokens: Any) -> Any:
            mask = nn.MultiHeadAttention.create_additive_causal_mask(tokens.shape[1])
            return self.head(self.encoder(self.embedding(tokens), mask))

    mx.random.seed(seed)
    network = Transformer()
    mx.eval(network.parameters())
    return network


def loss(network: Any, tokens: Any) -> Any:
    """Mean cross-entropy in nats of each next token in `tokens` (rows, length), an mx.array."""
    from mlx import nn

    return nn.losses.cross_entropy(network(tokens[:, :-1]), tokens[:, 1:], reduction="mean")


def exact_loss(parameters: Parameters, tokens: List[List[int]]) -> float:
    """What `loss` would be without rounding, from parameters as nested lists."""
    losses = [each for row in tokens for each in _losses_of_row(parameters, row)]
    return math.fsum(losses) / len(losses)


def _losses_of_row(parameters: Parameters, row: List[int]) -> List[float]:
    states: Matrix = [list(parameters["embedding.weight"][token]) for token in row[:-1]]
    attended = _attention(parameters, [_layer_norm(parameters, _BLOCK + "ln1", state) for state in states])
    states = list(map(_add, states, attended))
    states = [_add(state, _feed_forward(parameters, state)) for state in states]
    logits = [_linear(parameters, "head", _layer_norm(parameters, "encoder.ln", state)) for state in states]
    return list(map(_cross_entropy, logits, row[1:]))


def _attention(parameters: Parameters, states: Matrix) -> Matrix:
    queries, keys, values = (
        [_linear(parameters, f"{_BLOCK}attention.{name}_proj", state) for state in states]
        for name in ("query", "key", "value")
    )
    width = WIDTH // HEADS
    heads = [slice(head * width, (head + 1) * width) for head in range(HEADS)]
    mixed = [
        [
            number
            for head in heads
            for number in _mix(queries[place][head], keys[: place + 1], values[: place + 1], head)
        ]
        for place in range(len(states))
    ]
    return [_linear(parameters, f"{_BLOCK}attention.out_proj", row) for row in mixed]


def _mix(query: Vector, keys: Matrix, values: Matrix, head: slice) -> List[float]:
    """The values that a query of one head attends to, weighted by the softmax of its scaled products."""
    scores = [_dot(query, key[head]) / math.sqrt(len(query)) for key in keys]
    total = _log_sum_exp(scores)
    weights = [math.exp(score - total) for score in scores]
    return [_dot(weights, column) for column in zip(*(value[head] for value in values))]  # noqa: B905 # Python 3.9


def _feed_forward(parameters: Parameters, state: Vector) -> List[float]:
    hidden = _linear(parameters, _BLOCK + "linear1", _layer_norm(parameters, _BLOCK + "ln2", state))
    return _linear(parameters, _BLOCK + "linear2", [_gelu(number) for number in hidden])


def _layer_norm(parameters: Parameters, name: str, state: Vector) -> List[float]:
    mean = math.fsum(state) / len(state)
    variance = math.fsum((number - mean) ** 2 for number in state) / len(state)
    scale = 1 / math.sqrt(variance + LAYER_NORM_EPSILON)
    normal = [(number - mean) * scale for number in state]
    return _add(map(operator.mul, normal, parameters[name + ".weight"]), parameters[name + ".bias"])


def _linear(parameters: Parameters, name: str, state: Vector) -> List[float]:
    products = [_dot(state, row) for row in parameters[name + ".weight"]]
    return _add(products, parameters.get(name + ".bias") or [0.0] * len(products))


def _gelu(number: float) -> float:
    return number * (1 + math.erf(number / math.sqrt(2))) / 2


def _cross_entropy(logits: Vector, label: int) -> float:
    return _log_sum_exp(logits) - logits[label]


def _log_sum_exp(numbers: Vector) -> float:
    largest = max(numbers)
    return largest + math.log(math.fsum(math.exp(number - largest) for number in numbers))


def _dot(left: Vector, right: Vector) -> float:
    return float(sum(map(operator.mul, left, right)))


def _add(left: Iterable[float], right: Iterable[float]) -> List[float]:
    return list(map(operator.add, left, right))
