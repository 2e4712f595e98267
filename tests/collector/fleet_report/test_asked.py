"""The report over the wire: what is wrong with a question is its status code and one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv_collector.errors import AnalysisLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_collector.storage.store import Store


@pytest.fixture(scope="module")
def ask(collector: Any) -> Iterator[Any]:
    metadata = (("authorization", f"Bearer {collector.admin_secret}"),)
    with collector.people_channel() as channel:
        stub = FleetServiceStub(channel)
        yield lambda **fields: stub.GetFleetReport(
            messages.GetFleetReportRequest(**fields), metadata=metadata, timeout=200
        )


def test_an_empty_fleet_answers(ask: Any) -> None:
    """With its limits and the statement behind each section."""
    report = ask(explain=True, where="chip LIKE 'Apple%' -- all of them")
    assert (report.coverage.machines, len(report.health)) == (0, 0)
    assert [limit.template.partition(" {")[0] for limit in report.method.limits] == ["Only runs of the"]
    assert "chip LIKE 'Apple%' -- all of them\n" in report.explanations[0].sql


@pytest.mark.parametrize(
    ("question", "code", "sentence"),
    [
        ({"where": "chipp = 'x'"}, "INVALID_ARGUMENT", "The condition cannot be used: "),
        ({"where": "chip = 'x' AND"}, "INVALID_ARGUMENT", "The condition cannot be used: "),
        ({"checks": ["nope"]}, "NOT_FOUND", "No machine has ever run a check 'nope'"),
        ({"by": 77}, "INVALID_ARGUMENT", "A report is by machine, chip, package, macos or check"),
        ({"pins": [{"package": "torch", "specifier": "2"}]}, "INVALID_ARGUMENT", "The pin of torch"),
        ({"as_of": {"seconds": 5}, "since": {"seconds": 6}}, "INVALID_ARGUMENT", "The period begins after"),
    ],
)
def test_what_cannot_be_answered_is_said(ask: Any, question: Any, code: str, sentence: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(**question)
    assert (refused.value.code().name, refused.value.details().startswith(sentence)) == (code, True)


def test_what_needs_too_much_memory_is_refused_with_advice(store: Store) -> None:
    """It is no failure of the store."""
    with pytest.raises(AnalysisLimitError, match="512MiB of memory that reading may take: ask for a shorter"):  # noqa: SIM117
        with store.reader() as connection:
            connection.execute(
                "SELECT list(repeat('x', 1000) || i) FROM range(5_000_000) AS made(i)"
            ).fetchall()
