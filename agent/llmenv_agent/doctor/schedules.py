"""Whether anything starts at set times here, and what the collector schedules that cannot be run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_agent.doctor.finding import Question
from llmenv_agent.errors import AgentError, IdentityError
from llmenv_agent.identity import load_identity
from llmenv_agent.schedule_status import scheduled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.doctor.finding import Finding


def ask(configuration: Configuration) -> Iterator[Finding]:
    """Of those that count and of those that are refused; what is set aside is as somebody wants it."""
    said = Question("schedule")
    try:
        rows = scheduled(configuration, machine_id=_machine_id(configuration.state_dir))
    except AgentError as error:
        yield said.failed("{why}", "Correct agent.toml, or the checks that it names.", why=str(error))
        return
    for row in rows:
        if row["state"] == "refused":
            yield Question("schedule", row["name"]).warned(
                "A schedule of the collector cannot be run here: {why}",
                "Give this machine what is missing, or have llmenv fleet schedule set {name} leave it out.",
                why=row["reason"],
                name=row["name"],
            )
    counting = [row for row in rows if row["state"] == "in_force"]
    if counting:
        first = min(counting, key=lambda row: str(row["next_at"]))
        yield said.passed(
            "Schedules that count here: {count}. {name} starts next, at {next_at}.",
            count=len(counting),
            name=first["name"],
            next_at=first["next_at"],
        )
    else:
        yield said.passed("Nothing starts at set times here; commands alone start checks.")


def _machine_id(state_dir: Path) -> str:
    try:
        return load_identity(state_dir).machine_id
    except IdentityError:
        return ""
