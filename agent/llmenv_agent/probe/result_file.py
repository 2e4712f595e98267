"""The result file: JSON with the keys of `llmenv.fleet.v1.Result`, whole or absent."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Dict, Union

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, result: Dict[str, Any]) -> None:
    """Write beside `path`, then rename: a reader sees all of it or nothing."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as stream:
        json.dump(result, stream, allow_nan=False)
    part.replace(path)


def number(value: float) -> Union[float, str]:
    """A float as protobuf's JSON writes it: NaN and the infinities are words."""
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
