"""What was asked of a report, in the collector's own terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report.period import DAY_MICROSECONDS, DEFAULT_DAYS, Period

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmenv.fleet.v1 import fleet_report_pb2 as messages


def period_of(
    request: messages.GetFleetReportRequest, *, machines: Collection[str] | None, revoked: Collection[str]
) -> Period:
    """Raises UsageError for a period that ends before it begins."""
    is_now = not request.HasField("as_of")
    as_of = clock.now() if is_now else clock.from_timestamp(request.as_of)
    since = as_of - DEFAULT_DAYS * DAY_MICROSECONDS
    if request.HasField("since"):
        since = clock.from_timestamp(request.since)
    if since > as_of:
        raise UsageError("The period begins after it ends: `since` has to be before `as_of`.")
    return Period(
        as_of=as_of,
        since=since,
        machines=None if machines is None else frozenset(machines),
        checks=frozenset(request.checks),
        revoked=frozenset(revoked),
        is_now=is_now,
    )
