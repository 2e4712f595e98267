"""Well-known models by name and by size word, from models.toml, which is read at the first question."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING

from llmenv.catalog.model_config import architecture_of

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One row. `parameters` is the count that was published, `size` a word such as "7B" or empty."""

    name: str
    size: str
    parameters: int
    source: str
    architecture: Architecture


@functools.cache
def catalogue() -> tuple[KnownModel, ...]:
    """Every row, in the order of the file."""
    text = resources.files(__package__).joinpath("models.toml").read_text("utf-8")
    return tuple(
        KnownModel(
            name=row["name"],
            size=row.get("size", ""),
            parameters=row["parameters"],
            source=row["source"],
            architecture=architecture_of(row["config"], name=row["title"]),
        )
        for row in tomllib.loads(text)["model"]
    )


def find(word: str) -> KnownModel | None:
    """The model of a name, of a size word, or of a repository's name after its owner; None when unknown.

    Upper and lower case are the same.
    """
    wanted = word.lower().rpartition("/")[2]
    for model in catalogue():
        if wanted in {model.name, model.size.lower(), _repository(model)} - {""}:
            return model
    return None


def names() -> tuple[str, ...]:
    """What `find` knows by name."""
    return tuple(model.name for model in catalogue())


def sizes() -> tuple[str, ...]:
    """What `find` knows by size."""
    return tuple(model.size for model in catalogue() if model.size)


def _repository(model: KnownModel) -> str:
    """`https://huggingface.co/OWNER/NAME/...` has it as its fifth part."""
    return model.source.split("/")[4].lower()
