"""How much higher the peak of memory rises in a stretch of work, for a process begun to tell that.

A process that asks this is a second process, begun with `ENVIRONMENT`, since malloc reads it when it starts.
The peak is the accelerator's where one is used, else the process's, which only rises: of two stretches in one
process the lower one has to come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from .context import Probe

# With a fixed threshold glibc maps larger blocks apart and unmaps them when freed, instead of keeping them
# for later, so that the process's peak is that of what lives. Other systems ignore the variable.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536"}
# One heap of the small and one of the large kind of MPSAllocator.h.
MPS_HEAP_BYTES = 40e6


class PeakGrowth:
    """Begins where it is made; a figure is taken by the same name before and after."""

    def __init__(self, probe: Probe) -> None:
        probe.accelerator.reset_peak()
        self._probe = probe
        self._before = probe.peak_memory()

    def bytes(self) -> float:
        """Bytes by which the peak since then is above what was there."""
        after = self._probe.peak_memory()
        key = _key(after)
        return float(after[key]) - float(self._before.get(key) or 0)

    def source(self) -> str:
        """The name of the figure: VmHWM, phys_footprint, torch.cuda.max_memory_allocated, ..."""
        peak = self._probe.peak_memory()
        return str(peak["process_source" if _key(peak) == "process_bytes" else "accelerator_source"])


def granularity_bytes(source: str) -> float:
    """What the figure may be too high by: torch before 2.9 gives for MPS only what its allocator holds."""
    return MPS_HEAP_BYTES if "driver" in source else 0.0


def _key(peak: Dict[str, Any]) -> str:
    keys = ("accelerator_allocated_bytes", "accelerator_driver_bytes", "process_bytes")
    return next(key for key in keys if peak.get(key))
