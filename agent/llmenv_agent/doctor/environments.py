"""The targets: whether each interpreter starts, has the packages, and computes on the device."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import result_pb2

from llmenv_agent import quarantine
from llmenv_agent.definitions import read_definition, read_definitions
from llmenv_agent.discovery import discover
from llmenv_agent.doctor.finding import Finding, Question, Verdict
from llmenv_agent.environments import describe
from llmenv_agent.errors import UsageError
from llmenv_agent.execution import default_device
from llmenv_agent.facts import read_machine
from llmenv_agent.probe_sources import PROBE
from llmenv_agent.run_lock import RunLockError, lock_holder, run_lock
from llmenv_agent.runner import run_check
from llmenv_agent.service.placement import why_not_there
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.fleet.v1 import environment_pb2

    from llmenv_agent.configuration import Configuration, TargetSettings
    from llmenv_agent.targets import Target

# A check of the probe's, in no suite: it runs in the target, never in the agent.
DEVICE_TRIAL = PROBE / "device_trial.py"
CORE_SUITE = "quick"


def ask(configuration: Configuration) -> Iterator[Finding]:
    targets = []
    for settings in configuration.targets:
        finding, target = _configured(settings)
        yield finding
        targets += [target] if target else []
    targets += discover(configuration.discover)
    if not configuration.targets and not targets:
        yield Question("target").failed(
            "No target is configured, and none was discovered.",
            "Name an interpreter under [[target]] in agent.toml, or folders under [agent] discover.",
        )
    machine = read_machine()
    device = configuration.device or default_device(machine)
    for target in targets:
        packages = _packages(target, is_apple_silicon=machine.is_apple_silicon)
        yield packages
        yield _device(target, device, starts=packages.verdict is not Verdict.FAIL)
    yield from _left_out(configuration)


def _configured(settings: TargetSettings) -> tuple[Finding, Target | None]:
    said = Question("target", settings.name or settings.python, {"path": Path(settings.python).expanduser()})
    try:
        target = target_from(
            settings.python, name=settings.name, variables=settings.variables, env_file=settings.env_file
        )
        target.own_variables()
    except UsageError as error:
        return said.failed("{why}", "Correct [[target]] in agent.toml.", why=str(error)), None
    if reason := why_not_there(target.python, home=Path.home()):
        return (
            said.warned(
                "{path} {reason}.",
                "Move it, such as to {home}: a service may not read it.",
                reason=reason,
                home=Path.home(),
            ),
            target,
        )
    return said.passed("{path} is an interpreter."), target


def _packages(target: Target, *, is_apple_silicon: bool) -> Finding:
    said = Question("packages", target.name, {"path": target.python})
    try:
        environment = describe(target)
    except UsageError as error:
        remedy = "Start {path} by hand; build the environment anew where it does not."
        return said.failed("{why}", remedy, why=str(error))
    versions = {each.name: each.version for each in environment.packages}
    said.values.update(
        python=environment.python_version,
        watched=", ".join(f"{name} {versions[name]}" for name in WATCHED if name in versions) or "-",
        count=len(versions),
    )
    missing = _missing(environment, is_apple_silicon=is_apple_silicon)
    if missing:
        return said.warned(
            "Python {python} starts and lacks what the quick suite imports: {missing}.",
            "'{path}' -m pip install {missing}",
            missing=" ".join(missing),
        )
    return said.passed("Python {python} starts; {count} packages: {watched}.")


def _missing(environment: environment_pb2.Environment, *, is_apple_silicon: bool) -> list[str]:
    """What the checks of the quick suite import and the environment does not list."""
    present = {each.name.replace("-", "_") for each in environment.packages}
    needed = {
        module.partition(".")[0]
        for check in read_definitions().values()
        if CORE_SUITE in check.suites and (is_apple_silicon or not check.name.startswith("mlx"))
        for module in check.requires
    }
    return sorted(needed - present)


def _device(target: Target, device: str, *, starts: bool) -> Finding:
    """What one addition on the device says, in a process of the target."""
    said = Question("device", target.name)
    if not starts:
        return said.unclear("Not tried: the step before it failed.")
    try:
        if holder := lock_holder():
            return said.unclear(
                "Not tried: a run is in progress (pid {pid}).", "Ask again after it.", pid=holder.pid
            )
        with run_lock("llmenv-agent doctor"):
            result = run_check(read_definition(DEVICE_TRIAL), target=target, device=device)
    except RunLockError:
        return said.unclear("Not tried: the run lock cannot be used.")
    if result.status == result_pb2.STATUS_PASS:
        return dataclasses.replace(said.passed(""), seen=result.reason)
    remedy = "llmenv-agent check --check fallback says more; a service's session may differ from this one."
    tell = said.unclear if result.status == result_pb2.STATUS_SKIP else said.failed
    return dataclasses.replace(tell("", remedy), seen=result.reason)


def _left_out(configuration: Configuration) -> Iterator[Finding]:
    kept = quarantine.entries(configuration.state_dir / quarantine.FILE_NAME)
    left_out = [each for each in kept if each.until > time.time()]
    for each in left_out:
        yield Question("quarantine", f"{each.subject.check} in {each.subject.target}").warned(
            "{check} is left out until {until}: it ended badly {count} times in a row.",
            "See why in its results; llmenv-agent check --check {check} --target {target} tries it now.",
            check=each.subject.check,
            target=each.subject.target,
            until=each.until_text,
            count=each.in_a_row,
        )
    if not left_out:
        yield Question("quarantine").passed("No check is left out.")
