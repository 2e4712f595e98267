"""Chip variants: what a chip's name and core counts say about its memory and its peak rate.

A name alone does not make chips comparable: an M1 Pro comes with 14 or 16 GPU cores, with
8 or 10 CPU cores.  The rows lie in chips.csv and are read at the first question.  A figure
without a second source stays marked in `unverified`; one that nobody states is None.
Virtual machines have no row: their core counts depend on the guest.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
from importlib import resources

FP32_OPERATIONS_PER_CORE_AND_CYCLE = 256
"""128 lanes, a multiply and an add each (github.com/philipturner/metal-benchmarks)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChipVariant:
    """One row of the catalogue.

    `cpu_tiers` pairs a tier's name with its physical cores, fastest first.  `unverified`
    names the fields that rest on one source or on an assumption.
    """

    chip: str
    cpu_cores: int
    cpu_tiers: tuple[tuple[str, int], ...]
    gpu_cores: int
    bandwidth_gb_per_s: float
    memory_options_gb: tuple[int, ...]
    gpu_clock_mhz: int | None
    unverified: frozenset[str]
    source: str

    @property
    def fp32_tflops_computed(self) -> float | None:
        """Peak of the GPU's lanes, from cores and clock; quoted figures are often higher."""
        if self.gpu_clock_mhz is None:
            return None
        return self.gpu_cores * FP32_OPERATIONS_PER_CORE_AND_CYCLE * self.gpu_clock_mhz / 1e6


def variants(chip: str) -> tuple[ChipVariant, ...]:
    """Every variant sold under a name such as "Apple M2 Max"; empty for an unknown one."""
    return tuple(variant for variant in catalogue() if variant.chip == chip)


def find(chip: str, gpu_cores: int, *, cpu_cores: int | None = None) -> ChipVariant | None:
    """The one variant with these core counts; None when there is none or more than one."""
    matching = [
        variant
        for variant in variants(chip)
        if variant.gpu_cores == gpu_cores and cpu_cores in (None, variant.cpu_cores)
    ]
    return matching[0] if len(matching) == 1 else None


def tier_names(chip: str) -> tuple[str, ...]:
    """Names of a chip's CPU tiers, fastest first; empty unless all variants agree for certain."""
    known = variants(chip)
    names = {tuple(name for name, _ in variant.cpu_tiers) for variant in known}
    certain = not any("cpu_tiers" in variant.unverified for variant in known)
    return names.pop() if certain and len(names) == 1 else ()


@functools.cache
def catalogue() -> tuple[ChipVariant, ...]:
    """Every variant, in the order of the file."""
    text = resources.files(__package__).joinpath("chips.csv").read_text("utf-8")
    return tuple(_variant(row) for row in csv.DictReader(text.splitlines()))


def _variant(row: dict[str, str]) -> ChipVariant:
    return ChipVariant(
        chip=row["chip"],
        cpu_cores=int(row["cpu_cores"]),
        cpu_tiers=tuple(_tier(word) for word in row["cpu_tiers"].split()),
        gpu_cores=int(row["gpu_cores"]),
        bandwidth_gb_per_s=float(row["bandwidth_gb_per_s"]),
        memory_options_gb=tuple(int(word) for word in row["memory_options_gb"].split()),
        gpu_clock_mhz=int(row["gpu_clock_mhz"]) if row["gpu_clock_mhz"] else None,
        unverified=frozenset(row["unverified"].split()),
        source=row["source"],
    )


def _tier(word: str) -> tuple[str, int]:
    name, cores = word.split(":")
    return name, int(cores)
