"""The fleet report as bytes of a file, as a person's `llmenv fleet report --format` would save it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1.fleet_report_pb2 import RenderFleetReportRequest
from llmenv.message_json import text_of

if TYPE_CHECKING:
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportRequest

    from llmenv_collector.fleet_report.servicer import ReportServicer


class ReportMaker:
    """Asks the servicer within this process, where nobody waits at the other end of a call."""

    def __init__(self, servicer: ReportServicer) -> None:
        self._servicer = servicer

    async def make(self, request: GetFleetReportRequest, output_format: str, language: str) -> bytes:
        """`output_format` is html or json.  Raises CollectorError."""
        nobody: Any = None
        if output_format == "json":
            return text_of(await self._servicer.GetFleetReport(request, nobody)).encode()
        asked = RenderFleetReportRequest(report=request, language=language)
        return b"".join([part.html async for part in self._servicer.RenderFleetReport(asked, nobody)])
