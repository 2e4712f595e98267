"""Failpoints: named steps at which a test has a program die, stop or fail.

For tests of delivery only. LLMENV_FAILPOINTS is read once, when `llmenv-agent run` or `llmenv-collector
serve` starts: `name=action[:nth]`, several with commas between. A failpoint acts the `nth` time it is reached
(the first by default) and never again. In a program that started without the variable `reach` looks at an
empty table, and nothing can fill it later.

kill    SIGKILL to the process itself, as when the power fails
pause   SIGSTOP to the process itself, until SIGCONT
error   raises what the step would raise if the system refused it
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

VARIABLE = "LLMENV_FAILPOINTS"
ACTIONS = ("kill", "pause", "error")
AGENT = (
    "agent.append.before_commit",
    "agent.append.after_commit",
    "agent.offer.before_commit",
    "agent.send.before",
    "agent.send.after",
    "agent.resume.before_commit",
    "agent.acknowledged.received",
    "agent.acknowledge.before_commit",
    "agent.acknowledge.after_commit",
    "agent.reject.before_commit",
    "agent.reject.after_commit",
    "agent.fork.before_commit",
    "agent.fork.after_commit",
    "agent.command.before_commit",
    "agent.command.after_commit",
    "agent.command.begun",
    "agent.command.done",
    "agent.schedules.before_write",
    "agent.schedules.after_write",
)
COLLECTOR = (
    "collector.welcome",
    "collector.received",
    "collector.reject",
    "collector.commit.before",
    "collector.commit.after",
    "collector.acknowledge.before",
    "collector.acknowledge.after",
    "collector.checkpoint.before",
    "collector.checkpoint.after",
    "collector.command.issued",
    "collector.command.told",
    "collector.schedule.kept",
    "collector.schedules.told",
)

_ENTRY = re.compile(rf"([a-z_.]+)=({'|'.join(ACTIONS)})(?::([1-9][0-9]*))?")


@dataclass(kw_only=True)
class _Armed:
    action: str
    left: int


_armed: dict[str, _Armed] = {}


def arm(environment: Mapping[str, str] = os.environ) -> None:
    """Take what the variable says, and say so in the log. Raises ValueError with one sentence."""
    _armed.clear()
    for entry in filter(None, environment.get(VARIABLE, "").split(",")):
        parts = _ENTRY.fullmatch(entry.strip())
        if parts is None or parts[1] not in (*AGENT, *COLLECTOR):
            raise ValueError(
                f"{VARIABLE} has {entry!r}, which is no failpoint such as {AGENT[0]}=kill:2; it is for tests."
            )
        _armed[parts[1]] = _Armed(action=parts[2], left=int(parts[3] or 1))
        log.warning("for a test, %s will be a %s", parts[1], parts[2])


def reach(name: str, *, error: type[Exception] = OSError) -> None:
    """A step that is not armed passes. `error` is what an armed one raises for the action of that name."""
    if _armed:
        _pass(name, error)


def _pass(name: str, error: type[Exception]) -> None:
    armed = _armed.get(name)
    if armed is None:
        return
    armed.left -= 1
    if armed.left:
        return
    match armed.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "pause":
            os.kill(os.getpid(), signal.SIGSTOP)
        case _ if issubclass(error, OSError):
            raise error(errno.EIO, f"failpoint {name}")
        case _:
            raise error(f"failpoint {name}")
