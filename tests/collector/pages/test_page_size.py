"""The page of a fleet in which everything happens stays small, and says what it leaves out."""

from __future__ import annotations

import pytest
from llmenv.catalog import known_issues
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.pages import fleet_page

LARGEST = 750_000
"""Beside what the other sections have, which other tests bound."""
MACHINES = [f"studio-{number:04}.lab.example" for number in range(200)]


def eventful() -> messages.GetFleetReportResponse:
    """200 machines over all of history: every table is long, and every cell that unfolds is full."""
    series = {"check_name": "bench_lora", "case_name": "llama/float16", "measurement": "steps_per_second"}
    causes = [
        {"kind": "package", "name": f"package-{number}", "before": "1.10.0", "after": "1.11.0"}
        for number in range(30)
    ]
    versions = {f"package-{number}": "1.10.0" for number in range(40)}
    return messages.GetFleetReportResponse(
        coverage={"machines": len(MACHINES), "reporting": len(MACHINES)},
        changes=[{"hostname": name, "series": series, "causes": causes} for name in MACHINES * 2],
        verdict_changes=[{"hostname": name, "check_name": "ops", "causes": causes} for name in MACHINES * 2],
        outliers=[{"hostname": name, "series": series, "versions": versions} for name in MACHINES],
        findings=[{"check_name": f"check-{number}", "hostnames": MACHINES} for number in range(20)],
        exposures=[
            {
                "issue_id": issue,
                "exposed": MACHINES,
                "reproduced": MACHINES[:100],
                "not_reproduced": MACHINES[100:],
            }
            for issue in list(known_issues.catalogue())[:20]
        ],
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_of_any_fleet_stays_small(language: str) -> None:
    """Names, causes and versions unfold as far as somebody reads; how many more there are is said."""
    page = fleet_page.render(eventful(), language=language)
    assert len(page.encode()) < LARGEST
    more = {"en": ("and 175 more", "and 25 with less evidence"), "zh": ("另有 25 项证据较弱",)}[language]
    assert all(said in page for said in more)
