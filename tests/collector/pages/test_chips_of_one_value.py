"""Chips of which there is one value alone: drawn where it lies, with no interval, and with their source."""

from __future__ import annotations

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.pages.sections import chips
from llmenv_collector.pages.wording import Wording


def row(chip: str, value: float, *, high: float = float("inf")) -> messages.ChipRow:
    """As the collector judges it: one value says nothing of how far others would lie from it."""
    low = 0.0 if high == float("inf") else value
    return messages.ChipRow(
        variant={"chip": chip},
        series={
            "check_name": "memory_speed",
            "measurement": "rate",
            "unit": "GB/s",
            "direction": 1,
            "device": "mps",
            "definition_hash": "import:llama.cpp",
        },
        median={"value": value, "low": low, "high": high},
        machines=1,
        results=1,
    )


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("high", [float("inf"), 900.0])
def test_one_value_is_drawn_without_an_interval(language: str, high: float) -> None:
    """Alone, and beside a chip that has one."""
    rows = [row("Apple M1", 68.25), row("Apple M2 Ultra", 800.0, high=high)]
    rows[0].ratio.CopyFrom(messages.Estimate(value=0.0853, low=0.0, high=float("inf")))
    page = str(chips.section(rows, messages.Method(confidence=0.95), Wording(language)))
    assert ("inf" in page.replace("info", ""), "nan" in page) == (False, False)
    assert page.count("llama.cpp") >= len(rows)
