"""A run as the collector asks for it, by command or by schedule: held against what this agent can run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmenv_agent.errors import UsageError
from llmenv_agent.work import Request

if TYPE_CHECKING:
    from llmenv.fleet.v1 import agent_service_pb2

    from llmenv_agent.repertoire import Repertoire
    from llmenv_agent.suites import Suite


def request_of(
    asked: agent_service_pb2.RunChecks,
    repertoire: Repertoire,
    *,
    command_id: str = "",
    schedule_name: str = "",
    schedule_id: str = "",
) -> Request:
    """By a command, or by a schedule. Raises UsageError; targets are looked for when it runs."""
    chosen = repertoire.custom(asked.checks) if asked.checks else repertoire.suite(asked.suite)
    return Request(
        suite=chosen,
        targets=tuple(asked.targets),
        device=asked.device,
        parameters=_parameters(asked, chosen),
        regardless_of_use=asked.regardless_of_use,
        command_id=command_id,
        schedule_name=schedule_name,
        schedule_id=schedule_id,
    )


def _parameters(asked: agent_service_pb2.RunChecks, chosen: Suite) -> dict[str, dict[str, Any]]:
    try:
        parameters: dict[str, dict[str, Any]] = json.loads(asked.parameters_json or "{}")
        if others := sorted(set(parameters) - {each.name for each in chosen.definitions}):
            raise UsageError(f"there are parameters for {', '.join(others)}, which is not to be run")
        for definition in chosen.definitions:
            definition.complete(parameters.get(definition.name, {}))
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"The parameters are no JSON object of objects: {error}.") from error
    return parameters
