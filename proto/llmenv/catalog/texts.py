"""The words of reports in English and Chinese.

Both languages lie in texts/<language>.toml with the same keys, read at the first question.
Sentences of checks come as an English template and its values; texts/zh.toml maps the template
to Chinese in its table `sentences`, as gettext does.  What has no translation is said in English.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv.catalog.known_issues import Translated
    from llmenv.fleet.v1.result_pb2 import Sentence

LANGUAGES = ("en", "zh")
SENTENCES = "sentences"


class Texts:
    """Everything that a report says, in one language."""

    def __init__(self, language: str, tables: Mapping[str, Mapping[str, str]]) -> None:
        self.language = language
        self._tables = tables

    def say(self, key: str, **values: object) -> str:
        """The text of a key "table.name" with its values filled in; KeyError when there is none."""
        table, _, name = key.partition(".")
        return self._tables[table][name].format(**values)

    def name_of(self, table: str, name: str) -> str:
        """The label of a check, measurement, fact or unit; its own words when there is none."""
        return self._tables[table].get(name) or name.replace("_", " ")

    def sentence(self, sentence: Sentence) -> str:
        """What a check said, in this language."""
        template = self._tables.get(SENTENCES, {}).get(sentence.template, sentence.template)
        values = dict(sentence.values)
        if "name" in values:
            values["name"] = self.name_of("name", values["name"])
        try:
            return str(template.format(**values)) or sentence.text
        except (KeyError, IndexError, ValueError):
            return sentence.text  # a template of another release

    def phrase(self, text: str) -> str:
        """Words of a check that are the same every time; as they are when there is no translation."""
        return str(self._tables.get(SENTENCES, {}).get(text, text))

    def pick(self, translated: Translated) -> str:
        """This language of a text of the catalogue."""
        return translated[self.language]


@functools.cache
def texts(language: str) -> Texts:
    """The texts of "en" or "zh"."""
    return Texts(language, tables(language))


def tables(language: str) -> Mapping[str, Mapping[str, Any]]:
    """The file of one language as it is; ValueError for a language that there is not."""
    if language not in LANGUAGES:
        raise ValueError(f"no texts in {language!r}, only in {', '.join(LANGUAGES)}")
    file = resources.files(__package__).joinpath("texts", f"{language}.toml")
    return tomllib.loads(file.read_text("utf-8"))
