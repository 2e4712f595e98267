"""A real difference counts once for each cause, whatever was measured."""

from __future__ import annotations

from typing import Any

import pytest
from llmenv.catalog.texts import LANGUAGES
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.pages.real_differences import causes_of
from llmenv_collector.pages.sections import coverage
from llmenv_collector.pages.wording import Wording

WORSE = messages.JUDGEMENT_WORSE
TORCH: dict[str, Any] = {"package": "torch", "baseline": "2.10.0", "candidate": "2.11.0", "judgement": WORSE}
MACOS: dict[str, Any] = {"package": "macos", "baseline": "25C56", "candidate": "25D10", "judgement": WORSE}


def series(check: str, measurement: str = "steps_per_second") -> dict[str, str]:
    return {"check_name": check, "measurement": measurement, "device": "mps"}


def change(machine: str, check: str, *causes: dict[str, str], **other: Any) -> dict[str, Any]:
    return {
        "machine_id": machine,
        "series": series(check),
        "judgement": WORSE,
        "causes": causes,
        "changed_at": {"seconds": 1},
        **other,
    }


def planted() -> messages.GetFleetReportResponse:
    by_torch = {"kind": "package", "name": "torch", "before": "2.10.0", "after": "2.11.0"}
    by_macos = {"kind": "macos", "before": "25C56", "after": "25D10"}
    return messages.GetFleetReportResponse(
        effects=[
            {**TORCH, "series": series("bench_lora")},
            {**TORCH, "series": series("bench_lora", "tokens_per_second")},
            {**TORCH, "series": series("peft_lora")},
            {**TORCH, "series": series("mlx_native"), "judgement": messages.JUDGEMENT_BETTER},
            {**MACOS, "series": series("bench_lora")},
        ],
        verdict_effects=[{**TORCH, "check_name": "bench_lora", "device": "mps"}],
        changes=[
            change("a", "bench_lora", by_torch),
            change("b", "bench_lora", by_torch),
            change("b", "bench_lora", by_macos),
            change("a", "bench_lora"),
            change("a", "bench_lora", is_suspected=True),
            change("b", "bench_lora"),
        ],
    )


def test_one_cause_is_counted_once() -> None:
    """Torch on two checks, macOS, and two machines on which nothing that is watched changed."""
    found = causes_of(planted(), WORSE)
    assert sorted(found.values()) == [1, 1, 1, 2, 5]
    assert found["package", "torch", "2.10.0", "2.11.0", "bench_lora", "mps"] == 5
    assert found["macos", "", "25C56", "25D10", "bench_lora", "mps"] == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_figure_that_a_reader_takes_in_first_is_of_causes(language: str) -> None:
    """What was measured stands beside it, where it is more."""
    tile = coverage.regressions(planted(), Wording(language))
    assert (tile.figure, "10" in tile.note, tile.tone) == ("5", True, "bad")
    alone = coverage.regressions(messages.GetFleetReportResponse(effects=[TORCH]), Wording(language))
    assert (alone.figure, alone.note) == ("1", "")
