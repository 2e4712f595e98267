"""What a process sees of Metal, and why torch cannot use it where it cannot."""

from __future__ import annotations

import platform
import re
from typing import NamedTuple, Tuple

from .process_state import read_sandboxed

# First macOS on which MPS is there: read from the wheels and from pytorch #139425 and #164943.
NEEDED_MACOS = (((2, 9), (14, 0)), ((2, 5), (13, 0)), ((0, 0), (12, 3)))


class MetalView(NamedTuple):
    """What this process sees of Metal.

    `macos` is a version such as "14.5", `refusal` what an operation said where MPS calls itself available.
    """

    torch_version: str
    is_built: bool
    is_available: bool
    machine: str
    macos: str
    is_sandboxed: bool = False
    is_virtual: bool = False
    refusal: str = ""


def cause(view: MetalView) -> str:
    """Why MPS cannot be used, in a word; empty where it can."""
    if view.is_available:
        return "refusal" if view.refusal else ""
    if view.machine != "arm64":
        return "rosetta"
    if not view.is_built:
        return "not built"
    if _version(view.macos) < needed_macos(view.torch_version):
        return "macos"
    if view.is_sandboxed:
        return "sandbox"
    return "session"


def needed_macos(torch_version: str) -> Tuple[int, ...]:
    """The first macOS on which this torch has MPS, such as (14, 0)."""
    return next(macos for torch, macos in NEEDED_MACOS if _version(torch_version) >= torch)


def _version(text: str) -> Tuple[int, ...]:
    """The first two numbers, (0, 0) where there are none."""
    numbers = re.findall(r"\d+", text.partition("+")[0])[:2]
    return tuple(int(number) for number in [*numbers, "0", "0"][:2])


def read_metal(*, is_virtual: bool) -> MetalView:
    import torch

    return MetalView(
        torch_version=torch.__version__,
        is_built=torch.backends.mps.is_built(),
        is_available=torch.backends.mps.is_available(),
        machine=platform.machine(),
        macos=platform.mac_ver()[0],
        is_sandboxed=read_sandboxed(),
        is_virtual=is_virtual,
        refusal=_refusal() if torch.backends.mps.is_available() else "",
    )


def _refusal() -> str:
    """What torch says to an addition on MPS; empty where it does it."""
    import torch

    try:
        (torch.ones(2, device="mps") + 1).sum().item()
    except RuntimeError as refusal:
        return str(refusal).partition("\n")[0][:200]
    return ""
