"""What the agent is told: flags win over LLMENV_* variables, these over the TOML file.

    [agent]
    state_dir = "/var/lib/llmenv"          # LLMENV_STATE_DIR
    device = "mps"                         # mps, cuda or cpu; LLMENV_DEVICE; the machine's own by default
    discover = ["~/projects"]              # folders below which venv, conda and uv environments are found
    collectors = ["collector.lab:7444"]    # in place of the addresses that the collector told, in order
    log_format = "json"                    # text or json; LLMENV_LOG_FORMAT
    log_file = "~/agent.log"               # in place of stderr, rotated by size; LLMENV_LOG_FILE
    checks_folders = ["~/llm-checks"]      # checks of the lab's own, one file each

    [[target]]
    name = "training"
    python = "~/projects/llm/.venv"        # an interpreter, or the folder of an environment
    variables = { HF_HOME = "/Volumes/models" }
    env_file = "~/projects/llm/.env"

    [suite.nightly]                        # a suite of the lab's own
    checks = ["torch_training", "my_check"]
    [suite.nightly.parameters.my_check]    # what the suite sets; wins over [checks.my_check]
    repeats = 3

    [schedule]                             # see schedule_settings.py
    from = "both"                          # both, local or collector: whose times count
    [schedule.quick]                       # by suite; quick every 24h where nothing is scheduled
    every = "24h"

    [policy]                               # when the machine is idle enough: see policy_settings.py
    on_battery = false

    [watchdog]                             # what the agent itself may take: see watchdog_settings.py
    memory_mib = 256

    [checks.transformers_generate]         # parameters of a check
    model = "HuggingFaceTB/SmolLM2-135M"

The file is LLMENV_CONFIG, or agent.toml in the user's configuration folder. A wrong key or value is refused
with the file and the line.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv.addresses import split_address
from llmenv.named_file import refuse_pipes

from llmenv_agent.environment_variables import can_be_set
from llmenv_agent.errors import UsageError
from llmenv_agent.policy_settings import PolicySettings, parse_policy
from llmenv_agent.schedule_settings import BOTH, ScheduleSettings, parse_schedules, parse_source
from llmenv_agent.suite_settings import parse_suite_settings
from llmenv_agent.toml_document import Document
from llmenv_agent.watchdog_settings import WatchdogSettings, parse_watchdog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmenv_agent.suites import NamedSuite

DEVICES = ("mps", "cuda", "cpu")
LOG_FORMATS = ("text", "json")
TABLES = {"agent", "target", "schedule", "policy", "watchdog", "checks", "suite"}
AGENT_KEYS = {
    "state_dir",
    "device",
    "discover",
    "log_format",
    "log_file",
    "metrics_listen",
    "checks_folders",
    "collectors",
}


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """A target as it is written down; whether it is there is seen when it is needed."""

    name: str
    python: str
    variables: Mapping[str, str] = field(default_factory=dict)
    env_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Everything after flags, variables, file and defaults. `device` "" is the machine's own."""

    state_dir: Path
    device: str = ""
    log_format: str = "text"
    log_file: Path | None = None
    metrics_listen: str = ""
    collectors: tuple[str, ...] = ()
    """host:port of agents' ports in order of preference; empty for those that the collector told."""
    discover: tuple[Path, ...] = ()
    targets: tuple[TargetSettings, ...] = ()
    schedules: tuple[ScheduleSettings, ...] = ()
    schedules_from: str = BOTH
    policy: PolicySettings = field(default_factory=PolicySettings)
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checks_folders: tuple[Path, ...] = ()
    suites: tuple[NamedSuite, ...] = ()

    def with_targets(self, pythons: Sequence[str]) -> Configuration:
        """The same with these interpreters or environment folders alone as targets, where there are any."""
        if not pythons:
            return self
        targets = tuple(TargetSettings(name="", python=python) for python in pythons)
        return replace(self, targets=targets, discover=())


def load_configuration(
    path: Path | None = None, *, state_dir: Path | None = None, checks_folders: tuple[Path, ...] = ()
) -> Configuration:
    """Read the file (or the usual one, if it is there). Raises UsageError naming file and line.

    `checks_folders` are those of the command line, beside the file's.
    """
    source = configuration_file(path)
    try:
        refuse_pipes(source)
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        if source != _usual_file():
            raise UsageError(f"There is no configuration file {source}.") from None
        text = ""
    except OSError as error:
        raise UsageError(f"The configuration file {source} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The configuration file {source} is not UTF-8 at byte {error.start}.") from error
    found = parse_configuration(text, path=source, state_dir=state_dir, checks_folders=checks_folders)
    if os.path.exists(found.state_dir) and not os.path.isdir(found.state_dir):  # noqa: PTH110, PTH112 # neither raises
        raise UsageError(f"The state directory {found.state_dir} is no folder; name another.")
    return found


def configuration_file(path: Path | None = None) -> Path:
    """The file that is read: the one named, LLMENV_CONFIG, or the usual one, which need not be there."""
    return path or Path(os.environ.get("LLMENV_CONFIG") or _usual_file())


def parse_configuration(
    text: str, *, path: Path, state_dir: Path | None = None, checks_folders: tuple[Path, ...] = ()
) -> Configuration:
    """`path` is for messages only."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error
    document = Document(path, text)
    document.allow(content, (), TABLES)
    agent = document.table(content, "agent")
    document.allow(agent, ("agent",), AGENT_KEYS)
    own = parse_suite_settings(document, content, more_folders=checks_folders)
    return Configuration(
        state_dir=state_dir or _state_dir(document.text(agent, ("agent", "state_dir"))),
        device=document.choice(agent, ("agent", "device"), DEVICES, variable="LLMENV_DEVICE"),
        log_format=document.choice(agent, ("agent", "log_format"), LOG_FORMATS, variable="LLMENV_LOG_FORMAT")
        or "text",
        log_file=_log_file(document.text(agent, ("agent", "log_file"))),
        metrics_listen=_metrics_listen(document, agent),
        collectors=_collectors(document, agent),
        discover=tuple(Path(each).expanduser() for each in document.texts(agent, ("agent", "discover"))),
        targets=_targets(document, content),
        schedules=parse_schedules(document, content),
        schedules_from=parse_source(document, content),
        policy=parse_policy(document, content),
        watchdog=parse_watchdog(document, content),
        parameters=own.parameters,
        checks_folders=own.folders,
        suites=own.suites,
    )


def _usual_file() -> Path:
    import platformdirs

    return Path(platformdirs.user_config_dir("llmenv", appauthor=False)) / "agent.toml"


def _state_dir(configured: str) -> Path:
    if value := os.environ.get("LLMENV_STATE_DIR") or configured:
        return Path(value).expanduser()
    import platformdirs

    return Path(platformdirs.user_state_dir("llmenv", appauthor=False)) / "agent"


def _metrics_listen(document: Document, agent: Mapping[str, Any]) -> str:
    where = ("agent", "metrics_listen")
    address = document.text(agent, where)
    try:
        if address:
            split_address(address)
    except ValueError as error:
        raise document.error(where, str(error).rstrip(".")) from error
    return address


def _collectors(document: Document, agent: Mapping[str, Any]) -> tuple[str, ...]:
    where = ("agent", "collectors")
    addresses = document.texts(agent, where)
    try:
        for address in addresses:
            split_address(address)
    except ValueError as error:
        raise document.error(where, str(error).rstrip(".")) from error
    return tuple(addresses)


def _log_file(configured: str) -> Path | None:
    value = os.environ.get("LLMENV_LOG_FILE") or configured
    return Path(value).expanduser() if value else None


def _targets(document: Document, content: Mapping[str, Any]) -> tuple[TargetSettings, ...]:
    tables = content.get("target", [])
    if not isinstance(tables, list):
        raise document.error(("target",), "is written [[target]], once for each target")
    targets = tuple(_target(document, table, number) for number, table in enumerate(tables))
    names = [target.name for target in targets]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise document.error(
                ("target", "name"), f"is {name!r} twice; reports tell targets by name", nth=number
            )
    return targets


def _target(document: Document, table: Mapping[str, Any], nth: int) -> TargetSettings:
    document.allow(table, ("target",), {"name", "python", "variables", "env_file"}, nth=nth)
    variables = table.get("variables", {})
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise document.error(("target", "variables"), "must be names with texts", nth=nth)
    for name, value in variables.items():
        if not can_be_set(name, value):
            raise document.error(("target", "variables"), f"has {name!r}, which no variable can be", nth=nth)
    python = document.text(table, ("target", "python"), nth=nth)
    if not python:
        raise document.error(
            ("target",), "needs python, an interpreter or the folder of an environment", nth=nth
        )
    return TargetSettings(
        name=document.text(table, ("target", "name"), nth=nth),
        python=python,
        variables=variables,
        env_file=document.text(table, ("target", "env_file"), nth=nth) or None,
    )
