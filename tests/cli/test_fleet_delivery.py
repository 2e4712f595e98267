"""The ledger at the terminal: four formats, two languages, and an exit code that scripts may rely on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as messages

if TYPE_CHECKING:
    from collections.abc import Callable

UNEXPLAINED = 8


def ledger() -> messages.GetDeliveryResponse:
    """A machine whose spool was full once, and one that never delivered anything."""
    full = messages.SpoolDelivery(
        machine_id="019c6120-0000-7000-8000-000000000001",
        hostname="studio-3",
        spool_id="019c6120-0000-7000-8000-0000000000b1",
        minted=12_345,
        stored=12_000,
        rejected=1,
        waiting=4,
        dropped=340,
        reasons=[
            "340 dropped: the spool reached 268,435,456 bytes",
            "1 refused: The record is of machine x.",
        ],
    )
    full.said_at.FromJsonString("2026-02-15T16:20:00Z")
    silent = messages.SpoolDelivery(machine_id="m2", hostname="air-7", spool_id="s2", minted=3, waiting=3)
    day = messages.DayDelivery(
        machine_id="m1",
        hostname="studio-3",
        day="2026-02-15",
        stored=480,
        dropped=340,
        median_delay_seconds=0.4,
        highest_delay_seconds=86_400,
    )
    return messages.GetDeliveryResponse(spools=[silent, full], days=[day])


@pytest.fixture
def accounted(logged_in: Any) -> list[messages.GetDeliveryRequest]:
    """A collector that answers with `ledger()`; the requests that it got."""
    return answer(logged_in, ledger())


def answer(collector: Any, response: messages.GetDeliveryResponse) -> list[messages.GetDeliveryRequest]:
    collector.servicer.ledger = response
    requests: list[messages.GetDeliveryRequest] = collector.servicer.requests
    return requests


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
@pytest.mark.parametrize("options", [[], ["--days"]], ids=["spools", "days"])
def test_the_ledger_for_people(
    llmenv: Callable[..., Any],
    golden: Any,
    accounted: Any,
    *,
    options: list[str],
    output_format: str,
    language: str,
) -> None:
    """Counts with separators, and why, in both languages."""
    listed = llmenv("fleet", "delivery", *options, "--format", output_format, "--lang", language)
    assert listed.code == 0, listed.err
    assert listed.out == golden(name=f"{'-'.join(['delivery', *options])}-{output_format}-{language}")


@pytest.mark.parametrize("output_format", ["json", "csv"])
@pytest.mark.parametrize("options", [[], ["--days"]], ids=["spools", "days"])
def test_the_ledger_for_programs(
    llmenv: Callable[..., Any], golden: Any, accounted: Any, options: list[str], output_format: str
) -> None:
    """Whole ids and plain numbers, whatever the language."""
    listed = llmenv("fleet", "delivery", *options, "--format", output_format)
    assert listed.out == golden(name=f"{'-'.join(['delivery', *options])}-{output_format}")
    assert listed.out == llmenv("fleet", "delivery", *options, "--format", output_format, "--lang", "zh").out


def test_the_columns_add_up(llmenv: Callable[..., Any], accounted: Any) -> None:
    """What a script would compute from the JSON."""
    for row in json.loads(llmenv("fleet", "delivery", "--format", "json").out):
        parts = ("stored", "rejected", "waiting", "dropped", "lost_by_restore")
        assert row["minted"] == sum(row[name] for name in parts)


def test_one_machine_may_be_asked_for(llmenv: Callable[..., Any], accounted: Any) -> None:
    """The collector chooses, by hostname or id."""
    assert llmenv("fleet", "delivery", "--machine", "studio-3").code == 0
    assert accounted[-1].machine == "studio-3"


@pytest.mark.parametrize(
    ("language", "words"), [("en", "2 records are unexplained"), ("zh", "有 2 条记录无法解释")]
)
def test_an_unexplained_record_is_an_exit_code(
    llmenv: Callable[..., Any], logged_in: Any, language: str, words: str
) -> None:
    """The listing is printed all the same, and one sentence says what to do."""
    spool = messages.SpoolDelivery(hostname="studio-3", minted=5, stored=5, unexplained=2)
    answer(logged_in, messages.GetDeliveryResponse(spools=[spool]))
    listed = llmenv("fleet", "delivery", "--lang", language)
    assert (listed.code, "studio-3" in listed.out, words in listed.err) == (UNEXPLAINED, True, True)
