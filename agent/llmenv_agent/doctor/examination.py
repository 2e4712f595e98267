"""Every question in order; what depends on something that failed is not tried, and said to be so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_agent.configuration import configuration_file, load_configuration
from llmenv_agent.doctor import (
    admission,
    deliveries,
    enrolment,
    environments,
    network,
    running,
    schedules,
    state_folder,
)
from llmenv_agent.doctor.finding import Finding, Question, Verdict
from llmenv_agent.errors import IdentityError, UsageError
from llmenv_agent.identity import load_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

AFTER_CONFIGURATION = (
    "state_dir",
    "disk",
    "identity",
    "name",
    "spool",
    "agent",
    "run_lock",
    "target",
    "schedule",
)
AFTER_IDENTITY = ("certificate", "name", "connection", "tls", "admission", "clock")
HOLDS = (Verdict.PASS, Verdict.WARN)


def examine(config: Path | None = None, *, state_dir: Path | None = None) -> Iterator[Finding]:
    """Findings as they are made."""
    said = Question("configuration", values={"path": configuration_file(config)})
    try:
        configuration = load_configuration(config, state_dir=state_dir)
    except UsageError as error:
        yield said.failed("{why}", "Correct {path}; docs/running.md lists what it may say.", why=str(error))
        yield from _not_tried(AFTER_CONFIGURATION, "Not tried: the configuration cannot be used.")
        return
    if configuration_file(config).exists():
        yield said.passed("{path} can be read, and every key in it is known.")
    else:
        yield said.passed("There is no {path}: everything is as by default.")
    yield from _of_the_folder(configuration.state_dir)
    yield running.service()
    yield running.lock()
    yield from environments.ask(configuration)
    yield from schedules.ask(configuration)


def _of_the_folder(state_dir: Path) -> Iterator[Finding]:
    """Everything that lies in the state directory; nothing is opened there that may be somebody else's."""
    found = list(state_folder.ask(state_dir))
    yield from found
    yield from _of_the_collector(state_dir)
    if all(each.verdict in HOLDS for each in found if each.question in ("state_dir", "disk")):
        yield from deliveries.ask(state_dir / "spool.db")
        yield running.agent(state_dir)
    else:
        yield from _not_tried(("spool", "agent"), "Not tried: the state directory cannot be used.")


def _of_the_collector(state_dir: Path) -> Iterator[Finding]:
    """The identity, and how far one gets with it."""
    identity = None
    try:
        identity = load_identity(state_dir)
        found = list(enrolment.ask(identity))
    except IdentityError as error:
        found = [enrolment.not_enrolled(state_dir, error)]
    yield from found
    if identity is None or found[0].verdict not in HOLDS:
        yield from _not_tried(AFTER_IDENTITY, "Not tried: this machine has no identity that can be used.")
        return
    yield from enrolment.not_alone(state_dir)
    yield from enrolment.not_waiting(state_dir)
    ways = list(network.ask(identity))
    yield from ways
    address = network.leading_address(ways)
    if address and all(each.verdict in HOLDS for each in found):
        yield from admission.ask(address, identity)
    else:
        yield from _not_tried(("admission", "clock"), admission.NOT_TRIED)


def _not_tried(names: Iterable[str], why: str) -> Iterator[Finding]:
    yield from (Question(name).unclear(why) for name in names)
