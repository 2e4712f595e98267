"""Targets: the interpreters that are probed, each with the environment it is started in.

Nothing is installed in a target.  Its processes get the agent's variables
without what would bend the interpreter (`PYTHON*`, the agent's own virtual
environment) and without the agent's own settings, which may be secret; then the
target's env file, then its variables.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_agent.env_file import read_env_file
from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DROPPED_PREFIXES = ("PYTHON", "LLMENV_")
_USUAL_NAMES = {".venv", "venv", ".env", "env"}
_DROPPED = {"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__"}


class TargetError(UsageError):
    """A target is wrong: there is no interpreter, or it does not answer."""


@dataclasses.dataclass(frozen=True)
class Target:
    """An interpreter by its path, under the name that reports give it.

    `variables` win over `env_file`.  `python` is not resolved: following the
    link of a virtual environment would leave it.
    """

    name: str
    python: Path
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    env_file: Path | None = None

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Every variable that a process of this target starts with; `extra` wins."""
        kept = {name: value for name, value in os.environ.items() if not _is_dropped(name)}
        kept["PATH"] = os.pathsep.join(filter(None, (str(self.python.parent), kept.get("PATH"))))
        return {**kept, **self.own_variables(), **(extra or {})}

    def own_variables(self) -> dict[str, str]:
        """What the env file and the configuration set."""
        from_file = read_env_file(self.env_file) if self.env_file else {}
        return {**from_file, **self.variables}


def target_from(
    python: str,
    *,
    name: str = "",
    variables: Mapping[str, str] | None = None,
    env_file: str | None = None,
) -> Target:
    """A target from configuration values: `python` is an interpreter or the folder of an environment.

    Raises TargetError where there is no interpreter.
    """
    path = Path(python).expanduser().absolute()
    try:
        if path.is_dir():
            path = interpreter_of(path) or path
        is_program = path.is_file() and os.access(path, os.X_OK)
    except OSError as error:
        raise TargetError(f"{path} cannot be looked at: {error.strerror}.") from error
    if not is_program:
        raise TargetError(f"{path} is no Python interpreter; name one, or the folder of an environment.")
    return Target(
        name=name or environment_name(environment_folder(path)),
        python=path,
        variables=dict(variables or {}),
        env_file=Path(env_file).expanduser().absolute() if env_file else None,
    )


def interpreter_of(folder: Path) -> Path | None:
    """The interpreter of the environment in `folder`, if it has one."""
    for name in ("python", "python3"):
        path = folder / "bin" / name
        if path.is_file():
            return path
    return None


def environment_folder(python: Path) -> Path:
    """The folder of the environment that `python` stands in: the parent of its bin."""
    return python.parent.parent if python.parent.name == "bin" else python.parent


def environment_name(folder: Path) -> str:
    """The folder's name, or its project's where an environment has the usual name in a project."""
    return folder.parent.name if folder.name in _USUAL_NAMES else folder.name


def environment_kind(folder: Path) -> str:
    """ "venv", "uv", "conda" or "system", by the marks that the tools leave."""
    if (folder / "conda-meta").is_dir():
        return "conda"
    try:
        configuration = (folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "system"
    keys = {line.partition("=")[0].strip() for line in configuration.splitlines()}
    return "uv" if "uv" in keys else "venv"


def _is_dropped(name: str) -> bool:
    return name in _DROPPED or name.startswith(_DROPPED_PREFIXES)
