"""What a machine's memory is enough for: the plans people ask about, by formula, against what was read.

The bound is the working set that the system recommends for the GPU, where it was read.  It is never
computed from the machine's memory, because the share differs by macOS release.  Without it a plan can
only be ruled out, by the memory itself.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import TYPE_CHECKING

from llmenv.catalog import memory

if TYPE_CHECKING:
    from llmenv.catalog.memory import Architecture, Footprint

RANK = 16


class Fit(Enum):
    """Whether a plan's lower bound leaves room."""

    FITS = "fits"
    TOO_LARGE = "too_large"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A way to train or run a model. `method` names it in the texts."""

    architecture: Architecture
    method: str
    footprint: Footprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advice:
    """A plan judged for one machine; `room_bytes` is what remains for activations, None when unknown."""

    plan: Plan
    fit: Fit
    room_bytes: float | None


def plans() -> tuple[Plan, ...]:
    """From 1B to 30B, smallest first."""
    return (
        *(_lora(architecture) for architecture in (memory.TINYLLAMA_1B, memory.OPENLLAMA_3B)),
        _qlora(memory.LLAMA_7B, method="qlora"),
        _qlora(memory.LLAMA_13B, method="qlora_checkpointing"),
        _qlora(memory.LLAMA_30B, method="qlora_checkpointing"),
        Plan(
            architecture=memory.LLAMA_30B,
            method="inference_4bit",
            footprint=memory.qlora(memory.LLAMA_30B.linear_parameters, memory.LLAMA_30B.other_parameters, 0),
        ),
    )


def advise(*, memory_bytes: int | None, working_set_bytes: int | None) -> tuple[Advice, ...]:
    """Every plan judged against the recommended working set, or ruled out by the memory alone."""
    return tuple(
        _judge(plan, memory_bytes=memory_bytes, working_set_bytes=working_set_bytes) for plan in plans()
    )


def _judge(plan: Plan, *, memory_bytes: int | None, working_set_bytes: int | None) -> Advice:
    needed = plan.footprint.total
    if working_set_bytes is not None:
        fit = Fit.FITS if needed < working_set_bytes else Fit.TOO_LARGE
        return Advice(plan=plan, fit=fit, room_bytes=max(0.0, working_set_bytes - needed))
    if memory_bytes is not None and needed >= memory_bytes:
        return Advice(plan=plan, fit=Fit.TOO_LARGE, room_bytes=0.0)
    return Advice(plan=plan, fit=Fit.UNKNOWN, room_bytes=None)


def _lora(architecture: Architecture) -> Plan:
    footprint = memory.lora(architecture.parameters, architecture.lora_parameters(RANK))
    return Plan(architecture=architecture, method="lora", footprint=footprint)


def _qlora(architecture: Architecture, *, method: str) -> Plan:
    footprint = memory.qlora(
        architecture.linear_parameters, architecture.other_parameters, architecture.lora_parameters(RANK)
    )
    return Plan(architecture=architecture, method=method, footprint=footprint)
