"""How long certificates are good for, and when the next one is due: after two thirds, as on the machines.

The CA's is fixed: ten years, and no certificate of it is good for longer than it is itself.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmenv_collector.settings import Settings

CA_LIFETIME = dt.timedelta(days=3_650)
WARN_OF_CA = dt.timedelta(days=365)
CLOCK_TOLERANCE = dt.timedelta(hours=1)
"""Clocks differ: a certificate is valid from this long before it is made, and a signature is fresh for it."""


@dataclass(frozen=True)
class Lifetimes:
    """What a collector can be told."""

    machine: dt.timedelta = dt.timedelta(days=30)
    server: dt.timedelta = dt.timedelta(days=397)
    late_renewal: dt.timedelta = dt.timedelta(days=180)
    """After its end a machine's certificate can still be renewed for this long."""

    @classmethod
    def of(cls, settings: Settings) -> Lifetimes:
        return cls(
            machine=dt.timedelta(seconds=settings.certificate_seconds),
            server=dt.timedelta(seconds=settings.server_certificate_seconds),
            late_renewal=dt.timedelta(seconds=settings.late_renewal_seconds),
        )


def renewal_due(*, issued: dt.datetime, ends: dt.datetime) -> dt.datetime:
    return issued + (ends - issued) * 2 / 3
