"""What `llmenv plan` is asked: the model, by name, size or file, and the memory, given or of a machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv.named_file import refuse_pipes

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture
    from llmenv.fleet.v1.machine_pb2 import Machine

UNITS = {"": 10**9, "gb": 10**9, "gib": 2**30}
LARGEST_CONFIG = 2**20


def parse_memory(text: str) -> float:
    """Bytes of "64", "64GB" or "64GiB"; without a unit it is GB, 10^9 bytes. ValueError for other text."""
    parts = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*([a-z]*)", text.strip().lower())
    if parts is None or parts[2] not in UNITS or not float(parts[1]):
        raise ValueError(f"{text!r} is no amount of memory such as 64, 64GB or 64GiB.")
    return float(parts[1]) * UNITS[parts[2]]


def find_model(word: str) -> Architecture:
    """The shape of a well-known model, or in a config.json; UsageError when there is neither."""
    from llmenv.catalog import models

    known = models.find(word)
    if known is not None:
        return known.architecture
    if Path(word).exists() or word.endswith(".json"):
        return _read_config(Path(word))
    raise UsageError(
        f"No model {word!r} is known. Known are the sizes {', '.join(models.sizes())}, the names"
        f" {', '.join(models.names())}, and every config.json of a file."
    )


def find_machine(machines: list[Machine], wanted: str) -> Machine:
    """By hostname or id; UsageError when there is none, or several."""
    found = [machine for machine in machines if wanted in {machine.hostname, machine.machine_id}]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(machine.machine_id for machine in found)
        raise UsageError(f"Several machines are called {wanted!r}; name one by its id: {ids}.")
    known = ", ".join(sorted(machine.hostname for machine in machines)) or "none"
    raise UsageError(f"The collector knows no machine {wanted!r}; known are: {known}.")


def _read_config(path: Path) -> Architecture:
    from llmenv.catalog.model_config import ModelConfigError, parse_config

    file = path / "config.json" if path.is_dir() else path
    try:
        refuse_pipes(file)
        with file.open("rb") as stream:
            content = stream.read(LARGEST_CONFIG + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    if len(content) > LARGEST_CONFIG:
        raise UsageError(f"{file} is no config.json of a model: it is larger than 1 MiB.")
    try:
        return parse_config(content.decode(errors="replace"), name=str(file))
    except ModelConfigError as error:
        raise UsageError(str(error)) from error
