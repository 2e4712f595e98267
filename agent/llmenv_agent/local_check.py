"""A run for the person at the machine: in the foreground, with progress on stderr, nothing spooled."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_agent.environments import describe
from llmenv_agent.errors import UsageError
from llmenv_agent.foreground import LEFTOVER_NAME, InterruptedByPersonError, foreground, say
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.suites import merged
from llmenv_agent.targets import Target, target_from

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from llmenv.fleet.v1 import run_pb2

    from llmenv_agent.configuration import Configuration, TargetSettings
    from llmenv_agent.definitions import Definition
    from llmenv_agent.execution import Event
    from llmenv_agent.suites import Suite


@dataclass(frozen=True, kw_only=True)
class LocalCheck:
    """What was asked on the command line, as it was written."""

    suite: str
    names: tuple[str, ...]
    target: str
    device: str
    settings: tuple[str, ...]
    seed: int = 0


def run_locally(asked: LocalCheck, configuration: Configuration) -> run_pb2.Run | None:
    """The run with its results; None when it was interrupted. Raises UsageError for what is asked wrongly."""
    known = read_repertoire(configuration.checks_folders, configuration.suites)
    suite = known.custom(asked.names) if asked.names else known.suite(asked.suite)
    settings = parse_settings(asked.settings, known.definitions)
    parameters = merged(configuration.parameters, suite.parameters, settings)
    target = choose_target(asked.target, configuration.targets)
    leftover_file = configuration.state_dir / LEFTOVER_NAME
    try:
        with foreground("llmenv-agent check", leftover_file=leftover_file) as cancelled:
            return _execute(
                suite,
                target,
                device=asked.device or configuration.device,
                parameters=parameters,
                seed=asked.seed,
                cancelled=cancelled,
                leftover_file=leftover_file,
            )
    except InterruptedByPersonError:
        return None


def _execute(
    suite: Suite,
    target: Target,
    *,
    device: str,
    parameters: Mapping[str, Mapping[str, Any]],
    seed: int,
    cancelled: threading.Event,
    leftover_file: Path,
) -> run_pb2.Run | None:
    with ThreadPoolExecutor(1) as pool:
        # The target answers while this process still imports: less time to the first check.
        environment = pool.submit(describe, target)
        from llmenv.fleet.v1 import run_pb2

        from llmenv_agent.execution import Execution, default_device, execute
        from llmenv_agent.facts import read_conditions, read_machine

        machine = read_machine()
        execution = Execution(
            suite=suite,
            target=target,
            device=device or default_device(machine),
            machine=machine,
            environment=environment.result(),
            emit=Progress(total=len(suite.definitions)).show,
            parameters=parameters,
            seed=seed,
            read_conditions=read_conditions,
            cancelled=cancelled,
            leftover_file=leftover_file,
        )
    run = execute(execution)
    return None if run.outcome == run_pb2.RUN_OUTCOME_CANCELLED else run


def went_well(run: run_pb2.Run) -> bool:
    """Whether every check that the run planned ended well, by the catalogue's rule."""
    from llmenv.catalog.status import WORDS, troubled_checks

    words = {result.check_name: WORDS[result.status] for result in run.results}
    return not troubled_checks(words, run.planned_checks, is_apple_silicon=run.machine.is_apple_silicon)


def parse_settings(
    settings: Iterable[str], definitions: Mapping[str, Definition]
) -> dict[str, dict[str, Any]]:
    """CHECK.PARAM=VALUE texts as parameters by check. Raises UsageError naming what is known."""
    parsed: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        check, dot, parameter = name.partition(".")
        if not equals or not dot:
            raise UsageError(f"--set {setting!r} is not CHECK.PARAM=VALUE.")
        if check not in definitions:
            raise UsageError(
                f"--set {setting!r}: there is no check {check!r}; there are {', '.join(definitions)}."
            )
        value = _json_or_text(text)
        definitions[check].complete({parameter: value})
        parsed.setdefault(check, {})[parameter] = value
    return parsed


def choose_target(asked: str, configured: tuple[TargetSettings, ...]) -> Target:
    """What --target names, else the one configured, else the active environment. Raises UsageError."""
    for settings in configured:
        if asked == settings.name or (not asked and len(configured) == 1):
            return target_from(
                settings.python, name=settings.name, variables=settings.variables, env_file=settings.env_file
            )
    if asked:
        return target_from(asked)
    if configured:
        names = ", ".join(settings.name or settings.python for settings in configured)
        raise UsageError(f"Several targets are configured ({names}): name one with --target.")
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if not active:
        raise UsageError(
            "No environment is active and none is configured: name an interpreter with --target PYTHON."
        )
    return target_from(active)


class Progress:
    """One line a check on stderr: begun when it starts, completed when it ends."""

    def __init__(self, *, total: int) -> None:
        self._total = total
        self._number = 0

    def show(self, event: Event) -> None:
        from llmenv.catalog.status import WORDS
        from llmenv.fleet.v1 import record_pb2, run_pb2

        from llmenv_agent.remedy_trials import applied

        match event:
            case record_pb2.CheckStarted():
                self._number += 1
                say(f"[{self._number}/{self._total}] {event.check_name} ... ", end="")
            case record_pb2.CheckFinished(result=result):
                say(f"{WORDS[result.status]} ({result.wall_seconds:.1f} s)  {result.reason.text}")
            case record_pb2.RemedyTried(trial=trial):
                say(f"      tried {applied(trial)}: {WORDS[trial.status]}  {trial.reason.text}")
            case record_pb2.RunFinished(outcome=run_pb2.RUN_OUTCOME_CANCELLED):
                say("interrupted")


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
