"""The machine as the agent knows it: what a check needs to size itself and to judge a speed."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional


class Machine(NamedTuple):
    """None where it could not be read: nothing is computed in its place.

    `working_set_bytes` is the GPU memory that the system recommends at most.  `bandwidth_gb_per_s` and
    `fp32_tflops` are those of the chip's variant in the catalogue, in 10^9 bytes and 10^12 operations.
    """

    chip: str = ""
    gpu_cores: Optional[int] = None
    memory_bytes: Optional[int] = None
    available_bytes: Optional[int] = None
    working_set_bytes: Optional[int] = None
    bandwidth_gb_per_s: Optional[float] = None
    fp32_tflops: Optional[float] = None
    is_virtual: bool = False
    is_apple_silicon: bool = False


def from_request(values: Mapping[str, Any]) -> Machine:
    """What stands in the request; keys of a newer agent are left out."""
    return Machine(**{key: value for key, value in values.items() if key in Machine._fields})
