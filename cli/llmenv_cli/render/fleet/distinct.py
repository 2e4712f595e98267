"""Names of series that can be told apart: the parameters that differ where the measurement is the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmenv_cli.render.fleet import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import Series

Identity = tuple[str, ...]
# Of a definition, enough to be told apart.
SHORT_HASH = 8


def identity(series: Series) -> Identity:
    """What the statistics take for the same series."""
    return *words.series_key(series), series.definition_hash, series.parameters_json


def names_of(series: Iterable[Series], texts: Texts) -> dict[Identity, str]:
    """A name for each; parameters, or else the definition, stand behind those that are called alike."""
    alike: dict[Identity, dict[Identity, Series]] = {}
    for each in series:
        alike.setdefault(words.series_key(each), {}).setdefault(identity(each), each)
    return {
        key: texts.say("word.with_detail", what=words.measured(one, texts), detail=detail)
        if detail
        else words.measured(one, texts)
        for group in alike.values()
        for (key, one), detail in zip(group.items(), _details(list(group.values())), strict=True)
    }


def _details(series: Sequence[Series]) -> list[str]:
    """Of each what the others do not share; nothing of one alone."""
    if len(series) == 1:
        return [""]
    parameters = [_parameters(each) for each in series]
    differing = sorted(
        {key for one in parameters for key in one if any(other.get(key) != one[key] for other in parameters)}
    )
    said = [", ".join(f"{key}={_plain(one.get(key))}" for key in differing) for one in parameters]
    if len(set(said)) == len(said):
        return said
    hashes = [each.definition_hash[:SHORT_HASH] for each in series]
    return [", ".join(filter(None, parts)) for parts in zip(said, hashes, strict=True)]


def _parameters(series: Series) -> dict[str, Any]:
    try:
        read = json.loads(series.parameters_json or "{}")
    except (ValueError, RecursionError):
        read = series.parameters_json
    return read if isinstance(read, dict) else {"parameters": read}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
