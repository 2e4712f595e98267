"""The fleet report as one HTML file, over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from llmenv.fleet.v1.fleet_report_pb2 import RenderFleetReportRequest
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub

if TYPE_CHECKING:
    from .conftest import RunningCollector


def rendered(collector: RunningCollector, **request: str) -> str:
    metadata = [("authorization", f"Bearer {collector.admin_secret}")]
    with collector.people_channel() as channel:
        answer = FleetServiceStub(channel).RenderFleetReport(
            RenderFleetReportRequest(**request), metadata=metadata
        )
        return b"".join(part.html for part in answer).decode()


@pytest.mark.parametrize(
    ("language", "title"), [("", "Fleet report"), ("en", "Fleet report"), ("zh", "机群报告")]
)
def test_the_report_comes_as_a_page(collector: RunningCollector, language: str, title: str) -> None:
    """In the language that was asked for, English when none was; whole, from doctype to the end."""
    page = rendered(collector, language=language)
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    assert f"<title>{title}</title>" in page


def test_a_language_without_texts_is_refused(collector: RunningCollector) -> None:
    """One sentence that names those there are."""
    with pytest.raises(grpc.RpcError) as refused:
        rendered(collector, language="fr")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "There is no page in 'fr', only in en and zh."
