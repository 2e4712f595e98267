"""The result file: JSON with the keys of `llmenv.fleet.v1.Result`, whole or absent."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Dict, Mapping, Union

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, result: Dict[str, Any]) -> None:
    """Write beside `path`, then rename: a reader sees all of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(encoded(result))
    part.replace(path)


def encoded(content: Mapping[str, Any]) -> bytes:
    """One line of JSON in UTF-8.  Half a character, as in a file's name that is no UTF-8, becomes "?":
    protobuf takes none, and would refuse everything else with it.
    """
    return json.dumps(content, allow_nan=False, ensure_ascii=False).encode("utf-8", errors="replace")


def number(value: float) -> Union[float, str]:
    """A float as protobuf's JSON writes it: NaN and the infinities are words."""
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
