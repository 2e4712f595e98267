"""What people may set once: flags, then LLMENV_* variables, then cli.toml, then the defaults.

The folder is LLMENV_CONFIG_DIR or the system's place for settings.  A wrong key or value refuses to
start and names the file and the line.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv.named_file import refuse_pipes

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_NAME = "cli.toml"
LANGUAGES = ("en", "zh")
FORMATS = ("table", "json", "csv", "md")
# Of answers in SQL alone.
BINARY_FORMATS = ("arrow", "parquet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds where no flag says otherwise."""

    lang: str = "en"
    """Language of reports."""
    format: str = "table"
    """Format of listings and reports."""
    target: str = ""
    """Interpreter of the training environment that `check` looks at; empty for the agent's choice."""
    keyring: str = "auto"
    """Where a token is kept: in the system's keyring where there is one, or never there."""
    timeout_seconds: float = 30.0
    """How long a request to the collector may take."""


CHOICES = {"lang": LANGUAGES, "format": FORMATS, "keyring": ("auto", "never")}


def config_folder() -> Path:
    """Where settings and credentials lie."""
    if folder := os.environ.get("LLMENV_CONFIG_DIR"):
        return Path(folder)
    import platformdirs

    return Path(platformdirs.user_config_dir("llmenv"))


def state_folder() -> Path:
    """Where lies what llmenv remembers for itself, such as the history of the SQL shell."""
    if folder := os.environ.get("LLMENV_STATE_DIR"):
        return Path(folder) / "cli"
    import platformdirs

    return Path(platformdirs.user_state_dir("llmenv", appauthor=False)) / "cli"


def load(file: Path | None = None, *, environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises UsageError for a key that there is not or a value that cannot be one."""
    values = _read(file or config_folder() / FILE_NAME)
    for field in dataclasses.fields(Settings):
        variable = f"LLMENV_{field.name.upper()}"
        if variable in environment:
            values[field.name] = _convert(field.name, environment[variable], where=f"The variable {variable}")
    return Settings(**values)


def _read(file: Path) -> dict[str, Any]:
    try:
        refuse_pipes(file)
        text = file.read_text("utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"The settings in {file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The settings in {file} are not UTF-8 at byte {error.start}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The settings in {file} are not TOML: {error}.") from error
    return {
        key: _convert(key, value, where=f"{file}, line {_line_of(key, text)}")
        for key, value in content.items()
    }


def _convert(name: str, value: object, *, where: str) -> object:
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    if name not in defaults:
        raise UsageError(f"{where}: there is no setting {name!r}; there are {', '.join(defaults)}.")
    if isinstance(defaults[name], float):
        return _positive(name, value, where=where)
    if not isinstance(value, str) or value not in CHOICES.get(name, (value,)):
        allowed = " or ".join(CHOICES.get(name, ("text",)))
        raise UsageError(f"{where}: {name} is {allowed}, not {value!r}.")
    return value


def _positive(name: str, value: object, *, where: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UsageError(f"{where}: {name} is a number above 0, not {value!r}.")
    return number


def _line_of(key: str, text: str) -> int:
    """The first line that sets the key or opens a table of its name."""
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)
