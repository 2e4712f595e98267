"""Outages of the network between virtual Macs and their collector: when, how long, and for whom."""

from __future__ import annotations

import random
from dataclasses import dataclass

from llmenv_agent.toml_document import parse_duration

FORM = "write it like 10m:30s, after which time and for how long, or 10m:30s:50%, for half of the machines"


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Seconds of real time since the machines began to connect; `share` of them is cut off, by the seed."""

    begins_after: float
    lasts: float
    share: float = 1.0

    def cut_off(self, machines: int, *, seed: int) -> frozenset[int]:
        """Indices of the machines that it is for, of so many."""
        draw = random.Random(f"{seed}/outage/{self.begins_after}")  # noqa: S311 # plays, protects nothing
        return frozenset(draw.sample(range(machines), k=max(1, round(self.share * machines))))


def parse_outage(text: str) -> Outage:
    """Of "10m:30s" or "10m:30s:50%". Raises ValueError."""
    begins, _, rest = text.partition(":")
    lasts, _, share = rest.partition(":")
    try:
        outage = Outage(
            begins_after=parse_duration(begins), lasts=parse_duration(lasts), share=_share(share or "100%")
        )
    except ValueError:
        raise ValueError(f"{text!r} is no outage; {FORM}") from None
    if not 0 < outage.share <= 1 or outage.lasts == 0:
        raise ValueError(f"{text!r} is an outage of nothing or of more than all; {FORM}")
    return outage


def _share(text: str) -> float:
    if not text.endswith("%"):
        raise ValueError(text)
    return float(text.removesuffix("%")) / 100
