"""How this process was started: launchd or systemd, a login at the screen, ssh, a terminal."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.tool import read_tools

if TYPE_CHECKING:
    from collections.abc import Mapping

MANAGER_COMMAND = ("launchctl", "managername")
MANAGERS = {
    "Aqua": machine_pb2.SESSION_TYPE_GUI,
    "Background": machine_pb2.SESSION_TYPE_DAEMON,
    "System": machine_pb2.SESSION_TYPE_DAEMON,
}


@functools.cache
def read_session_type() -> machine_pb2.SessionType.ValueType:
    """Of this process; asked once, since it cannot change."""
    (manager,) = read_tools(MANAGER_COMMAND)
    return session_type(os.environ, manager=manager.strip(), has_terminal=_has_terminal())


def session_type(
    environment: Mapping[str, str], *, manager: str = "", has_terminal: bool = False
) -> machine_pb2.SessionType.ValueType:
    """The session that these signs speak of; unspecified when they say nothing.

    `manager` is what `launchctl managername` prints: a login at the screen is "Aqua".  systemd
    gives everything it starts an INVOCATION_ID, which a terminal in its session inherits.
    """
    if "SSH_CONNECTION" in environment:
        return machine_pb2.SESSION_TYPE_SSH
    if manager in MANAGERS:
        return MANAGERS[manager]
    if "INVOCATION_ID" in environment and not has_terminal:
        return machine_pb2.SESSION_TYPE_DAEMON
    if environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        return machine_pb2.SESSION_TYPE_GUI
    return machine_pb2.SESSION_TYPE_TERMINAL if has_terminal else machine_pb2.SESSION_TYPE_UNSPECIFIED


def _has_terminal() -> bool:
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
