"""What the report is about: when, which machine, which environment, which device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import OUTCOME_WORDS

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Grid, Paragraph, Section
from llmenv_cli.render.sections.wording import when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.environment_pb2 import Environment
    from llmenv.fleet.v1.machine_pb2 import Machine
    from llmenv.fleet.v1.run_pb2 import Run

    from llmenv_cli.render.run_view import RunView


def header(view: RunView, texts: Texts) -> Section:
    """Facts that could not be read are left out."""
    rows = ((texts.say(f"header.{key}"), value) for key, value in _facts(view.run, texts) if value)
    grid = Grid(columns=(Column(""), Column("")), rows=tuple(rows))
    return Section(texts.say("header.title"), (grid, Paragraph(texts.say("header.units"))))


def _facts(run: Run, texts: Texts) -> Iterator[tuple[str, str]]:
    yield "date", when(run.started_at) if run.HasField("started_at") else ""
    yield "machine", _machine(run.machine, texts)
    yield "system", _system(run.machine)
    yield "accelerator", run.machine.accelerator
    yield "environment", _environment(run.environment, texts)
    yield "interpreter", f"`{run.environment.python_path}`" if run.environment.python_path else ""
    yield (
        "variables",
        ", ".join(f"`{name}={value}`" for name, value in sorted(run.environment.variables.items())),
    )
    yield "device", run.device
    yield "suite", f"{run.suite} {run.suite_version}".strip()
    yield "schedule", run.schedule_name
    yield "duration", numbers.duration(run.wall_seconds) if run.wall_seconds else ""
    yield "outcome", texts.say(f"outcome.{run.outcome if run.outcome in OUTCOME_WORDS else 0}")
    yield "run", run.run_id
    yield "agent", run.agent_version


def _machine(machine: Machine, texts: Texts) -> str:
    parts = [machine.hostname, machine.chip]
    if machine.HasField("gpu_cores"):
        parts.append(texts.say("header.gpu_cores", count=machine.gpu_cores))
    if machine.HasField("memory_bytes"):
        parts.append(texts.say("header.memory", size=numbers.memory(machine.memory_bytes)))
    parts.append(" ".join(filter(None, (machine.model_name, machine.model_identifier))))
    if machine.is_virtual:
        parts.append(texts.say("header.virtual"))
    return texts.say("word.list_separator").join(filter(None, parts))


def _system(machine: Machine) -> str:
    build = f"({machine.os_build})" if machine.os_build else ""
    return " ".join(filter(None, (machine.os_name, machine.os_version, build, machine.architecture)))


def _environment(environment: Environment, texts: Texts) -> str:
    python = " ".join(
        filter(
            None,
            (environment.python_implementation, environment.python_version, environment.python_architecture),
        )
    )
    described = filter(None, (environment.name, python, environment.kind))
    packages = texts.say("header.packages", count=len(environment.packages)) if environment.packages else ""
    return texts.say("word.list_separator").join((*described, *filter(None, [packages])))
