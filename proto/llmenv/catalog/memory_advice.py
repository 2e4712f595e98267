"""Whether a plan fits, and what to change where it does not; and the plans that people ask about first.

The bound is memory that somebody may use: of a machine, the working set that its system recommends for the
GPU, where it was read.  It is never computed from the machine's memory, because the share differs by macOS
release.  Without it a plan can only be ruled out, by the memory itself.
"""

from __future__ import annotations

import dataclasses
import math
from enum import Enum
from typing import TYPE_CHECKING

from llmenv.catalog import models
from llmenv.catalog.memory import DataType, Method, Recipe
from llmenv.catalog.memory_plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv.catalog.architecture import Architecture
    from llmenv.catalog.memory import Device
    from llmenv.catalog.memory_plan import Plan

LARGEST_BATCH = 4096
LORA_BASE = DataType.FLOAT16
REFERENCE_RECIPES = (
    ("1.1B", Recipe(method=Method.LORA, dtype=LORA_BASE)),
    ("3B", Recipe(method=Method.LORA, dtype=LORA_BASE)),
    ("7B", Recipe(method=Method.QLORA, dtype=LORA_BASE)),
    ("13B", Recipe(method=Method.QLORA, dtype=LORA_BASE, checkpointing=True)),
    ("30B", Recipe(method=Method.QLORA, dtype=LORA_BASE, checkpointing=True)),
    ("30B", Recipe(method=Method.INFERENCE, dtype=LORA_BASE, in_4bit=True)),
    ("30B", Recipe(method=Method.LORA, dtype=LORA_BASE, checkpointing=True)),
    ("70B", Recipe(method=Method.QLORA, dtype=LORA_BASE, checkpointing=True)),
    ("70B", Recipe(method=Method.INFERENCE, dtype=LORA_BASE, in_4bit=True)),
)


class Fit(Enum):
    """Whether a plan leaves room."""

    FITS = "fits"
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """Bytes that a plan is compared with: what may be used, and the memory there is; None where unknown."""

    usable: float | None = None
    memory: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """`room` is what remains, `machines` how many such limits hold the need together; None where unknown."""

    fit: Fit
    room: float | None = None
    machines: int | None = None


def judge(needed: float, limit: Limit) -> Verdict:
    """A need in bytes against a limit."""
    if limit.usable is not None:
        if needed <= limit.usable:
            return Verdict(fit=Fit.FITS, room=limit.usable - needed, machines=1)
        return Verdict(fit=Fit.TOO_LARGE, machines=math.ceil(needed / limit.usable))
    if limit.memory is not None and needed > limit.memory:
        return Verdict(fit=Fit.TOO_LARGE)
    return Verdict(fit=Fit.UNKNOWN)


def reference_plans(device: Device) -> tuple[Plan, ...]:
    """From 1B to 70B, smallest first: one sequence of 1,024 tokens."""
    return tuple(
        plan(_sized(size), dataclasses.replace(recipe, device=device)) for size, recipe in REFERENCE_RECIPES
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """Something to change about a recipe so that it fits: `key` names it in the texts."""

    key: str
    value: int
    plan: Plan


def changes(asked: Plan, usable: float) -> tuple[Change, ...]:
    """For a plan that fits, how far batch and sequence may grow; for one that does not, what would do.

    Each is computed, none tried: the largest batch and sequence, checkpointing, the methods that need less.
    """
    found = (
        _largest_batch(asked, usable),
        _longest_sequence(asked, usable),
        *(() if asked.total <= usable else _cheaper(asked, usable)),
    )
    return tuple(change for change in found if change is not None)


def _sized(size: str) -> Architecture:
    known = models.find(size)
    if known is None:
        raise LookupError(f"the catalogue has no model of the size {size}")
    return known.architecture


def _largest_batch(asked: Plan, usable: float) -> Change | None:
    """None where not even one sequence fits, or no limit was found."""

    def at(batch: int) -> Plan:
        return plan(asked.architecture, dataclasses.replace(asked.recipe, batch=batch))

    batch = _largest(lambda value: at(value).total <= usable, LARGEST_BATCH)
    return Change(key="batch", value=batch, plan=at(batch)) if batch else None


def _longest_sequence(asked: Plan, usable: float) -> Change | None:
    """At the batch asked for, and no longer than the model was made for."""

    def at(sequence: int) -> Plan:
        return plan(asked.architecture, dataclasses.replace(asked.recipe, sequence=sequence))

    sequence = _largest(lambda value: at(value).total <= usable, asked.architecture.positions)
    return Change(key="sequence", value=sequence, plan=at(sequence)) if sequence else None


def _cheaper(asked: Plan, usable: float) -> tuple[Change, ...]:
    """Recipes with the batch and sequence asked for that fit, the smallest change first."""
    recipe = asked.recipe
    candidates = []
    if not recipe.trains and not recipe.in_4bit:
        candidates.append(("in_4bit", dataclasses.replace(recipe, in_4bit=True)))
    if recipe.trains and not recipe.checkpointing:
        candidates.append(("checkpointing", dataclasses.replace(recipe, checkpointing=True)))
    order = (Method.FULL, Method.LORA, Method.QLORA)
    for method in order[order.index(recipe.method) + 1 :] if recipe.trains else ():
        dtype = DataType.BFLOAT16 if recipe.dtype is DataType.FLOAT32 else recipe.dtype
        cheaper = dataclasses.replace(recipe, method=method, dtype=dtype)
        candidates.append((method.value, cheaper))
        if not recipe.checkpointing:
            candidates.append(
                (f"{method.value}_checkpointing", dataclasses.replace(cheaper, checkpointing=True))
            )
    plans = ((key, plan(asked.architecture, candidate)) for key, candidate in candidates)
    return tuple(
        Change(key=key, value=0, plan=candidate) for key, candidate in plans if candidate.total <= usable
    )


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, where larger ones need more; 0 when 1 does not fit."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
