"""Known failures at an admin's terminal: what is asked, said and listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as report_messages
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv_cli import fleet_verdict

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2


def known(number: int, check_name: str, state: int, **more: Any) -> messages.KnownFailure:
    made = messages.KnownFailure(
        acknowledgement_id=f"019c6120-0000-7000-8000-00000000030{number}",
        check_name=check_name,
        statuses=[result_pb2.STATUS_FAIL],
        finding={"text": "mlx is missing.", "template": "mlx is missing."},
        state=state,  # type: ignore[arg-type]
        **more,
    )
    made.acknowledgement.reason = "It comes with the next image."
    made.acknowledgement.acknowledged_by = "laptop"
    made.acknowledgement.acknowledged_at.FromJsonString("2026-02-15T16:20:00Z")
    made.acknowledgement.expires_at.FromJsonString("2026-03-01T16:20:00Z")
    return made


IN_FORCE = known(1, "packages", messages.KnownFailure.STATE_IN_FORCE, cause="mlx is missing.")
EXPIRED = known(2, "torch_basics", messages.KnownFailure.STATE_EXPIRED, remedy_id="KI-014")
WITHDRAWN = known(
    3,
    "packages",
    messages.KnownFailure.STATE_WITHDRAWN,
    cause="mlx is missing.",
    hostnames=["air-7", "studio-3"],
    withdrawn_by="desk",
    withdrawn_at={"seconds": 1_771_260_000},
)


@pytest.fixture
def servicer(logged_in: Any) -> Any:
    """A collector with a note in force, one expired and one withdrawn."""
    logged_in.servicer.known_failures = [IN_FORCE, EXPIRED, WITHDRAWN]
    return logged_in.servicer


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
def test_the_list_for_people(
    llmenv: Callable[..., Any], golden: Any, servicer: Any, output_format: str, language: str
) -> None:
    """Titles and states in both languages."""
    listed = llmenv("fleet", "acknowledge", "--list", "--format", output_format, "--lang", language)
    assert listed.out == golden(name=f"list-{output_format}-{language}")


@pytest.mark.parametrize("output_format", ["json", "csv"])
def test_the_list_for_programs(
    llmenv: Callable[..., Any], golden: Any, servicer: Any, output_format: str
) -> None:
    """Whole ids, causes and words of the contract."""
    listed = llmenv("fleet", "acknowledge", "--list", "--format", output_format)
    assert listed.out == golden(name=f"list-{output_format}")


def test_what_is_asked(llmenv: Callable[..., Any], servicer: Any) -> None:
    """Everything that was given reaches the collector, and the machines concerned are said."""
    asked = ("packages", "--cause", "mlx", "--remedy", "KI-014", "--reason", "known", "--for", "14d")
    noted = llmenv("fleet", "acknowledge", *asked, "--machine", "air-7", "--machine", "studio-3")
    expected = messages.AcknowledgeFindingRequest(
        check_name="packages",
        cause="mlx",
        remedy_id="KI-014",
        reason="known",
        machines=["air-7", "studio-3"],
        expires_in_seconds=14 * 86_400,
    )
    assert servicer.requests[-1] == expected
    assert (noted.code, noted.err) == (
        0,
        "Shown apart from now on. Machines that have it now: air-7, studio-3.\n",
    )


def test_a_note_is_taken_back(llmenv: Callable[..., Any], servicer: Any) -> None:
    """It is printed as it is then."""
    taken = llmenv("fleet", "acknowledge", "--withdraw", "019c6120", "--format", "json")
    assert servicer.requests[-1].acknowledgement_id == "019c6120"
    assert (taken.code, '"withdrawn_by": "desk"' in taken.out) == (0, True)


def test_a_list_that_was_cut_says_so(llmenv: Callable[..., Any], servicer: Any) -> None:
    """On stderr."""
    assert llmenv("fleet", "acknowledge", "--list", "--limit", "2").err == "The newest 2 of 3 notes.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Name a check, or give --list or --withdraw, and one of them alone."),
        (
            ["packages", "--list"],
            "Name a check, or give --list or --withdraw, and one of them alone.",
        ),
        (["--reason", "known", "--for", "1d"], "Name the check whose failure is known."),
        (["packages", "--reason", "known"], "give --reason and --for"),
        (["packages", "--reason", " ", "--for", "1d"], "give --reason and --for"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    llmenv: Callable[..., Any], servicer: Any, arguments: list[str], sentence: str
) -> None:
    """Before anything is asked of a collector."""
    asked_before = list(servicer.requests)
    refused = llmenv("fleet", "acknowledge", *arguments)
    assert (refused.code, servicer.requests) == (USAGE, asked_before)
    assert sentence in refused.err


def test_a_report_of_the_past_judges_notes_by_its_own_time() -> None:
    """One that has expired since counted then."""
    noted = report_messages.FindingRow(acknowledgement=IN_FORCE.acknowledgement)
    report = report_messages.GetFleetReportResponse(findings=[noted])
    report.generated_at.FromJsonString("2026-04-01T00:00:00Z")
    assert fleet_verdict.acknowledged_findings(report) == []
    report.coverage.as_of.FromJsonString("2026-02-20T00:00:00Z")
    assert fleet_verdict.acknowledged_findings(report) == [noted]
