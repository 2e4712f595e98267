"""Targets: the interpreters that are probed, each with the environment it is started in.

Nothing is installed in a target.  Its processes get the agent's variables
without what would bend the interpreter (`PYTHON*`, the agent's own virtual
environment) and without the agent's own settings, which may be secret; then the
target's env file, then its variables.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DROPPED_PREFIXES = ("PYTHON", "LLMENV_")
_DROPPED = {"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__"}


class TargetError(UsageError):
    """A target is wrong: no such interpreter, or an env file that cannot be read."""


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
    if path.is_dir():
        path = interpreter_of(path) or path
    if not path.is_file() or not os.access(path, os.X_OK):
        raise TargetError(f"{path} is no Python interpreter; name one, or the folder of an environment")
    return Target(
        name=name or environment_folder(path).name,
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


def read_env_file(path: Path) -> dict[str, str]:
    """Variables of a file of NAME=VALUE lines; raises TargetError naming the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: the env file cannot be read: {error}") from error
    return parse_env_file(text, path=path)


def parse_env_file(text: str, *, path: Path) -> dict[str, str]:
    """NAME=VALUE lines as a shell would take them, `export` and quotes included; nothing is expanded."""
    variables = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise TargetError(f"{path}:{number}: {error}") from error
        if words[:1] == ["export"]:
            words = words[1:]
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or not name.isidentifier():
                raise TargetError(f"{path}:{number}: {word!r} is not NAME=VALUE")
            variables[name] = value
    return variables


def _is_dropped(name: str) -> bool:
    return name in _DROPPED or name.startswith(_DROPPED_PREFIXES)
