"""`nvidia-smi pmon`: how busy each process keeps an NVIDIA GPU, over the driver's last sample period."""

from __future__ import annotations

COMMAND = ("nvidia-smi", "pmon", "-c", "1", "-s", "u")
_COLUMNS = ("gpu", "pid", "type", "sm")


def parse_nvidia_pmon(text: str) -> dict[int, float] | None:
    """Share of its GPU from 0 to 1 by process id, its highest of several GPUs; None for another text.

    An idle process has a dash, which counts as 0.
    """
    header, *lines = text.splitlines() or [""]
    if tuple(header.lstrip("# ").split()[: len(_COLUMNS)]) != _COLUMNS:
        return None
    shares: dict[int, float] = {}
    for line in lines:
        _, pid, _, share, *_ = [*line.split(), *_COLUMNS]
        if pid.isdecimal():
            busy = int(share) / 100 if share.isdecimal() else 0.0
            shares[int(pid)] = max(busy, shares.get(int(pid), 0.0))
    return shares
