"""The part of FleetService that compares machines, chips and versions."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceServicer

from llmenv_collector.acknowledgements import store as acknowledgement_store
from llmenv_collector.fleet_report import compare, report, self_test, upgrade
from llmenv_collector.fleet_report.question import period_of, question_of
from llmenv_collector.pages import comparison_page, fleet_page, upgrade_page
from llmenv_collector.pages.html import known_language, parts
from llmenv_collector.serving.gate import PERSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    import grpc.aio

    from llmenv_collector.fleet.machine_selection import Selector
    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.answers import Answers
    from llmenv_collector.fleet_report.period import Period
    from llmenv_collector.fleet_report.question import Question
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.pages.report_file import Frame, LiveReport
    from llmenv_collector.storage.store import Store

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"

SCHEDULED = "the scheduled reports"
"""Whose turns the conditions of those take that the collector makes by itself."""


class ReportServicer(FleetServiceServicer):
    """Each answer is computed off the event loop."""

    _store: Store
    _identity: Identity
    _selector: Selector
    _analysis: Analysis
    _answers: Answers

    async def GetFleetReport(
        self, request: messages.GetFleetReportRequest, context: Context
    ) -> messages.GetFleetReportResponse:
        response: messages.GetFleetReportResponse = await self._look(
            request, report.fleet_report, answers=self._answers
        )
        return response

    async def CompareFleet(
        self, request: messages.CompareFleetRequest, context: Context
    ) -> messages.CompareFleetResponse:
        answer = functools.partial(compare.compare_fleet, request)
        response: messages.CompareFleetResponse = await self._look(compare.within(request), answer)
        return response

    async def CheckUpgrade(
        self, request: messages.CheckUpgradeRequest, context: Context
    ) -> messages.CheckUpgradeResponse:
        answer = functools.partial(upgrade.check_upgrade, request)
        response: messages.CheckUpgradeResponse = await self._look(request.within, answer)
        return response

    async def SelfTestStatistics(
        self, request: messages.SelfTestStatisticsRequest, context: Context
    ) -> messages.SelfTestStatisticsResponse:
        answer = functools.partial(self_test.self_test, request)
        response: messages.SelfTestStatisticsResponse = await self._look(request.within, answer)
        return response

    async def RenderFleetReport(
        self, request: messages.RenderFleetReportRequest, context: Context
    ) -> AsyncIterator[messages.RenderFleetReportResponse]:
        language = known_language(request.language)
        made: LiveReport = await self._look(request.report, functools.partial(fleet_page.answer, language))
        for part in parts(made.page.encode()):
            yield messages.RenderFleetReportResponse(html=part)

    async def RenderComparison(
        self, request: messages.RenderComparisonRequest, context: Context
    ) -> AsyncIterator[messages.RenderComparisonResponse]:
        language = known_language(request.language)
        found = await self.CompareFleet(request.comparison, context)
        page = await asyncio.to_thread(
            comparison_page.render, found, asked=request.comparison, language=language
        )
        for number, part in enumerate(parts(page.encode())):
            yield messages.RenderComparisonResponse(html=part, answer=None if number else found)

    async def RenderUpgrade(
        self, request: messages.RenderUpgradeRequest, context: Context
    ) -> AsyncIterator[messages.RenderUpgradeResponse]:
        language = known_language(request.language)
        found = await self.CheckUpgrade(request.upgrade, context)
        page = await asyncio.to_thread(upgrade_page.render, found, asked=request.upgrade, language=language)
        for number, part in enumerate(parts(page.encode())):
            yield messages.RenderUpgradeResponse(html=part, answer=None if number else found)

    async def live_page(
        self, request: messages.GetFleetReportRequest, language: str, frame: Frame, person: str
    ) -> LiveReport:
        """As `/` shows it to this person.  Raises UsageError or NotFoundError."""
        made: LiveReport = await self._look(
            request, functools.partial(fleet_page.answer, language, frame=frame), person=person
        )
        return made

    async def _look(
        self,
        request: messages.GetFleetReportRequest,
        answer: Callable[..., Any],
        *,
        answers: Answers | None = None,
        person: str = "",
    ) -> Any:
        """What `answer` says of the period that was asked for, on a cursor of its own; or has said before.

        A condition takes a turn of `person`, or else of who calls.
        """
        question = question_of(request)
        machines: Collection[str] | None = None
        if request.where:
            machines = await self._selector.satisfying(request.where, person=person or caller())
        return await asyncio.to_thread(self._read_period, request, machines, question, answer, answers)

    def _read_period(
        self,
        request: messages.GetFleetReportRequest,
        machines: Collection[str] | None,
        question: Question,
        answer: Callable[..., Any],
        answers: Answers | None,
    ) -> Any:
        standing = self._identity.standing()
        period: Period = period_of(request, machines=machines, standing=standing)

        def made() -> Any:
            self._analysis.start()
            with self._store.reader() as connection:
                return answer(connection, period, question, self._analysis)

        if answers is None:
            return made()
        # Who takes note of a failure sees it apart at once, and one that expires is not held back.
        with self._store.reader() as connection:
            noted = acknowledgement_store.in_force(connection)
        asked = (request.SerializeToString(deterministic=True), period.machines, standing, noted)
        return answers.get(asked, lambda: self._store.commits, made)


def caller() -> str:
    """The id of the token of the call that is served; SCHEDULED where there is none."""
    token = PERSON.get(None)
    return token.token_id if token else SCHEDULED
