"""Identifiers of virtual time: UUID version 7 whose random bits come from the seed."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    import random


def seeded_id(random: random.Random, moment: dt.datetime) -> str:
    """As `llmenv.ids.new_id`, for that moment and by that generator."""
    value = int(moment.timestamp() * 1000) << 80 | random.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
