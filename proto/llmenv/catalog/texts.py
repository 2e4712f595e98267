"""The words of reports in English and Chinese.

Both languages lie in texts/<language>/*.toml with the same keys, read at the first question:
report.toml for the report itself, and beside it a file for a check or a family of checks.
Sentences of checks come as an English template and its values; the files in texts/zh map the template
to Chinese in their table `sentences`, as gettext does.  What has no translation is said in English.
"""

from __future__ import annotations

import functools
import re
import string
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmenv.catalog.known_issues import Translated
    from llmenv.fleet.v1.result_pb2 import Sentence

LANGUAGES = ("en", "zh")
SENTENCES = "sentences"
# Values of sentences that are words of ours; the others are names, numbers or somebody else's message.
OWN_WORDS = frozenset({"end", "expected", "hub_state", "observed", "reason", "source", "verb"})


class Texts:
    """Everything that a report says, in one language."""

    def __init__(self, language: str, tables: Mapping[str, Mapping[str, str]]) -> None:
        self.language = language
        self._tables = tables
        self._sentences: Mapping[str, str] = tables.get(SENTENCES, {})

    @functools.cached_property
    def _patterns(self) -> Sequence[tuple[re.Pattern[str], str]]:
        """English templates as patterns, those that say most first, with their translations."""
        ranked = sorted(self._sentences, key=lambda template: -len(_literal(template)))
        return [
            (_pattern(template), self._sentences[template]) for template in ranked if _is_telling(template)
        ]

    def say(self, key: str, **values: object) -> str:
        """The text of a key "table.name" with its values filled in; KeyError when there is none."""
        table, _, name = key.partition(".")
        return self._tables[table][name].format(**values)

    def name_of(self, table: str, name: str) -> str:
        """The label of a check, measurement, fact or unit; its own words when there is none."""
        return self._tables[table].get(name) or name.replace("_", " ")

    def sentence(self, sentence: Sentence) -> str:
        """What a check said, in this language."""
        template = self._sentences.get(sentence.template, sentence.template)
        values = {
            name: self.phrase(value) if name in OWN_WORDS else self._sentences.get(value, value)
            for name, value in sentence.values.items()
        }
        if "name" in values:
            values["name"] = self.name_of("name", values["name"])
        try:
            return template.format(**values) or sentence.text
        except (KeyError, IndexError, ValueError):
            return sentence.text  # a template of another release

    def phrase(self, text: str) -> str:
        """Words of a check that came without their template, such as what an expectation required."""
        if text in self._sentences:
            return self._sentences[text]
        for pattern, template in self._patterns:
            if match := pattern.fullmatch(text):
                return template.format(**match.groupdict())
        return text

    def pick(self, translated: Translated) -> str:
        """This language of a text of the catalogue."""
        return translated[self.language]


@functools.cache
def texts(language: str) -> Texts:
    """The texts of "en" or "zh"."""
    return Texts(language, tables(language))


def tables(language: str) -> Mapping[str, Mapping[str, Any]]:
    """The tables of one language, those of all its files together; ValueError for an unknown language."""
    if language not in LANGUAGES:
        raise ValueError(f"no texts in {language!r}, only in {', '.join(LANGUAGES)}")
    merged: dict[str, dict[str, Any]] = {}
    for content in files(language).values():
        for table, entries in content.items():
            merged.setdefault(table, {}).update(entries)
    return merged


def files(language: str) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """The tables of each file of one language, by the file's name."""
    folder = resources.files(__package__).joinpath("texts", language)
    paths = sorted(
        (path for path in folder.iterdir() if path.name.endswith(".toml")), key=lambda path: path.name
    )
    return {path.name: tomllib.loads(path.read_text("utf-8")) for path in paths}


def _literal(template: str) -> str:
    """A template without its placeholders."""
    return "".join(piece for piece, *_ in string.Formatter().parse(template))


def _is_telling(template: str) -> bool:
    """Whether it has placeholders, and words enough that what matches it was made from it."""
    return "{" in template and re.search("[A-Za-z]{2}", _literal(template)) is not None


def _pattern(template: str) -> re.Pattern[str]:
    """Matches what the template becomes with values of one word each; more would match strangers' words."""
    pieces: list[str] = []
    for literal, name, *_ in string.Formatter().parse(template):
        pieces.append(re.escape(literal))
        if name is not None:
            pieces.append(f"(?P={name})" if f"(?P<{name}>\\S+)" in pieces else f"(?P<{name}>\\S+)")
    return re.compile("".join(pieces))
