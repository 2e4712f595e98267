"""Env files: NAME=VALUE lines that a target's processes are started with."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from llmenv.named_file import refuse_pipes

from llmenv_agent.environment_variables import can_be_set
from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


class EnvFileError(UsageError):
    """An env file cannot be read, or a line of it is wrong."""


def read_env_file(path: Path) -> dict[str, str]:
    """Variables of a file of NAME=VALUE lines; raises EnvFileError naming the line that is wrong."""
    try:
        refuse_pipes(path)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EnvFileError(f"{path}: the env file cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{path}: the env file is not UTF-8 at byte {error.start}.") from error
    return parse_env_file(text, path=path)


def parse_env_file(text: str, *, path: Path) -> dict[str, str]:
    """NAME=VALUE lines as a shell would take them, `export` and quotes included; nothing is expanded."""
    variables = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise EnvFileError(f"{path}:{number}: {error}.") from error
        if words[:1] == ["export"]:
            words = words[1:]
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or not name.isidentifier():
                raise EnvFileError(f"{path}:{number}: {word!r} is not NAME=VALUE.")
            if not can_be_set(name, value):
                raise EnvFileError(f"{path}:{number}: {name} has a value that no variable can have.")
            variables[name] = value
    return variables
