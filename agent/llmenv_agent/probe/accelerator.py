"""The device a check runs on: present or a clear verdict, synchronised, its memory at its highest.

Only what the check has imported is asked: nothing here imports torch or mlx by
itself before `torch_device` is called.  Everything happens on the caller's
thread, since two threads on MPS end the process (pytorch #197805).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Dict

if TYPE_CHECKING:
    from .findings import Findings


class Accelerator:
    """`device` is "mps", "cuda" or "cpu"; verdicts are spoken through `findings`."""

    def __init__(self, device: str, findings: Findings) -> None:
        self._device = device
        self._findings = findings
        self._in_use = False
        self._highest_driver_bytes = 0.0

    def torch_device(self) -> Any:
        """The torch.device, after one operation on it has given the right answer.

        A flag is not enough: in a virtual machine MPS says it is available and
        every allocation fails.  Ends the check as `fail` where the device
        cannot be used; it never falls back to the CPU.
        """
        import torch

        if not self._in_use and self._device != "cpu":
            self._require(torch)
        self._in_use = self._device != "cpu"
        return torch.device(self._device)

    def _require(self, torch: Any) -> None:
        try:
            observed = float((torch.ones(2, device=self._device) + 1).sum().item())
        except Exception as error:
            message = _first_sentence(str(error))
            self._findings.fail(
                "{device} cannot be used by torch {version}: {message}.",
                device=self._device.upper(),
                version=torch.__version__,
                message=message,
            )
        if observed != 4.0:
            self._findings.fail(
                "{device} computes wrong: (1 + 1) + (1 + 1) is {observed} there.",
                device=self._device.upper(),
                observed=observed,
            )

    def synchronize(self) -> None:
        """Wait until the device has done all work given to it, so that a time means something."""
        if not self._in_use:
            return
        getattr(sys.modules["torch"], self._device).synchronize()
        self._note_driver_memory()

    def reset_peak(self) -> None:
        """Begin the peak figures anew, where the library can."""
        self._highest_driver_bytes = 0.0
        torch = sys.modules.get("torch")
        if self._in_use and torch is not None:
            if self._device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            elif hasattr(getattr(torch, "accelerator", None), "reset_peak_memory_stats"):
                torch.accelerator.reset_peak_memory_stats()
        mlx = sys.modules.get("mlx.core")
        if mlx is not None and hasattr(mlx, "reset_peak_memory"):
            mlx.reset_peak_memory()

    def peak(self) -> Dict[str, Any]:
        """The accelerator's keys of `llmenv.fleet.v1.PeakMemory`; empty where none was used."""
        if self._in_use and self._device == "cuda":
            return _cuda_peak(sys.modules["torch"])
        if self._in_use:
            self._note_driver_memory()
            return _mps_peak(sys.modules["torch"], self._highest_driver_bytes)
        return _mlx_peak()

    def memory_room(self) -> Dict[str, Any]:
        """Bytes that the device still has, by the name of the figure; empty where the library cannot say."""
        torch = sys.modules.get("torch")
        if torch is None:
            return {}
        if self._device == "cuda" and torch.cuda.is_available():
            return {"torch.cuda.mem_get_info": torch.cuda.mem_get_info()[0]}
        if self._device == "mps" and self._in_use and hasattr(torch.mps, "recommended_max_memory"):
            return {"recommended working set": torch.mps.recommended_max_memory()}
        return {}

    def _note_driver_memory(self) -> None:
        if self._device == "mps":
            now = float(sys.modules["torch"].mps.driver_allocated_memory())
            self._highest_driver_bytes = max(self._highest_driver_bytes, now)


def _first_sentence(message: str) -> str:
    """PyTorch goes on with a page of backends; the whole message stays in the result's error."""
    return (message.strip() + "\n").partition("\n")[0].partition(". ")[0].rstrip(".")[:200]


def _cuda_peak(torch: Any) -> Dict[str, Any]:
    return {
        "accelerator_allocated_bytes": float(torch.cuda.max_memory_allocated()),
        "accelerator_driver_bytes": float(torch.cuda.max_memory_reserved()),
        "accelerator_source": "torch.cuda.max_memory_allocated",
    }


def _mps_peak(torch: Any, driver_bytes: float) -> Dict[str, Any]:
    """torch.mps keeps no peak: the driver's figure is the highest of those seen at `synchronize`."""
    peak = {
        "accelerator_driver_bytes": driver_bytes,
        "accelerator_source": "torch.mps.driver_allocated_memory",
    }
    reader = getattr(getattr(torch, "accelerator", None), "max_memory_allocated", None)
    allocated = float(reader()) if reader is not None else 0.0
    if allocated > 0:
        peak["accelerator_allocated_bytes"] = allocated
        peak["accelerator_source"] = "torch.accelerator.max_memory_allocated"
    return peak


def _mlx_peak() -> Dict[str, Any]:
    mlx = sys.modules.get("mlx.core")
    if mlx is None or "gpu" not in str(mlx.default_device()):
        return {}
    if hasattr(mlx, "get_peak_memory"):
        allocated, source = mlx.get_peak_memory(), "mlx.core.get_peak_memory"
    else:
        allocated, source = mlx.metal.get_peak_memory(), "mlx.core.metal.get_peak_memory"
    return {"accelerator_allocated_bytes": float(allocated), "accelerator_source": source}
