"""What `llmenv fleet run` asks the collector, put together from its options."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import agent_service_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as messages

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence


def run_checks(
    *,
    suite: str,
    checks: Sequence[str],
    targets: Sequence[str],
    device: str,
    settings: Sequence[str],
    regardless_of_use: bool,
    splay: dt.timedelta,
) -> agent_service_pb2.RunChecks:
    """Raises UsageError for a setting that is none."""
    return agent_service_pb2.RunChecks(
        suite=suite,
        checks=checks,
        targets=targets,
        device=device,
        parameters_json=json.dumps(parameters(settings)) if settings else "",
        regardless_of_use=regardless_of_use,
        splay_seconds=splay.total_seconds(),
    )


def parameters(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """CHECK.PARAM=VALUE texts as parameters by check; a value is JSON, or the text itself."""
    found: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        check, dot, parameter = name.partition(".")
        if not (equals and dot and check and parameter):
            raise UsageError(f"--set {setting!r} is not CHECK.PARAM=VALUE.")
        found.setdefault(check, {})[parameter] = _value(text)
    return found


def described(asked: agent_service_pb2.RunChecks) -> str:
    """The name of the suite, or of the checks."""
    return asked.suite or ", ".join(asked.checks)


def selection(
    *, machines: Sequence[str], labels: Sequence[str], where: str, all_machines: bool
) -> messages.MachineSelection:
    return messages.MachineSelection(machines=machines, labels=labels, where=where, all=all_machines)


def issue_request(
    selected: messages.MachineSelection,
    asked: agent_service_pb2.RunChecks,
    *,
    expires: dt.timedelta | None,
    is_dry_run: bool,
) -> messages.IssueCommandRequest:
    """Without `expires` the collector's own time holds."""
    return messages.IssueCommandRequest(
        selection=selected,
        run_checks=asked,
        expires_in_seconds=expires.total_seconds() if expires else 0.0,
        is_dry_run=is_dry_run,
    )


def set_schedule_request(
    selected: messages.MachineSelection,
    asked: agent_service_pb2.RunChecks,
    *,
    name: str,
    every: dt.timedelta | None,
    at: str,
    is_dry_run: bool,
) -> messages.SetScheduleRequest:
    schedule = agent_service_pb2.Schedule(
        name=name, run_checks=asked, every_seconds=every.total_seconds() if every else 0.0, at=at
    )
    return messages.SetScheduleRequest(selection=selected, schedule=schedule, is_dry_run=is_dry_run)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
