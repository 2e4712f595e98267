"""A language that a small network can learn, in plain Python for checks that need no torch.

The same as `small_models.learnable_tokens`: each token follows from the one before by one fixed permutation,
but for a share that is noise.
"""

from __future__ import annotations

import math
import random
from typing import List


def permutation_tokens(
    count: int, length: int, *, vocabulary: int, seed: int, noise: float = 0.1
) -> List[List[int]]:
    """`count` rows of `length` token ids below `vocabulary`, the same for the same seed."""
    generator = random.Random(seed)  # noqa: S311 # a language, no secret
    follows = generator.sample(range(vocabulary), vocabulary)
    rows = []
    for _ in range(count):
        row = [generator.randrange(vocabulary)]
        while len(row) < length:
            is_noise = generator.random() < noise
            row.append(generator.randrange(vocabulary) if is_noise else follows[row[-1]])
        rows.append(row)
    return rows


def uniform_loss(vocabulary: int) -> float:
    """Cross-entropy in nats of a model that knows nothing: ln V."""
    return math.log(vocabulary)
