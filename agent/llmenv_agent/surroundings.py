"""What the agent tells a check of how it was started: the keys of `probe/surroundings.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.catalog import known_issues
from llmenv.fleet.v1 import machine_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmenv.fleet.v1 import environment_pb2

    from llmenv_agent.targets import Target

_SESSION_WORDS = {
    machine_pb2.SESSION_TYPE_DAEMON: "daemon",
    machine_pb2.SESSION_TYPE_GUI: "gui",
    machine_pb2.SESSION_TYPE_SSH: "ssh",
    machine_pb2.SESSION_TYPE_TERMINAL: "terminal",
}


def surroundings(
    target: Target,
    conditions: machine_pb2.Conditions,
    bad_combinations: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Names of what the target sets, never values: they may be secret."""
    return {
        "session_type": _SESSION_WORDS.get(conditions.session_type, ""),
        "env_file": str(target.env_file or ""),
        "variables": sorted(target.own_variables()),
        "swap_used_bytes": conditions.swap_used_bytes if conditions.HasField("swap_used_bytes") else None,
        "bad_combinations": [dict(each) for each in bad_combinations],
    }


def bad_combinations(
    machine: machine_pb2.Machine, environment: environment_pb2.Environment
) -> list[dict[str, str]]:
    """Known issues whose conditions all hold for this chip, system and versions, most severe first.

    None off Apple Silicon, which is all that the catalogue speaks of.
    """
    if not machine.is_apple_silicon:
        return []
    versions = {each.name: each.version for each in environment.packages}
    os_version = machine.os_version if machine.os_name == "macOS" else ""
    applying = known_issues.applying(package_versions=versions, chip=machine.chip, os_version=os_version)
    return [
        {
            "id": issue.id,
            "severity": issue.severity,
            "title": issue.title.en,
            "combination": ", ".join(
                [
                    *(f"{name} {versions[name]}" for name in issue.versions),
                    *([f"macOS {os_version}"] if issue.macos else []),
                    *([machine.chip] if issue.chips else []),
                ]
            ),
        }
        for issue in applying
        if issue.versions or issue.macos
    ]
