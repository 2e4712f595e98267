"""Both languages say everything: the same keys, the same names in braces, every sentence of every check."""

from __future__ import annotations

import ast
import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv.catalog.status import WORDS
from llmenv.catalog.texts import LANGUAGES, SENTENCES, files, tables, texts
from llmenv.fleet.v1.result_pb2 import Sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENT = Path(__file__).resolve().parents[2] / "agent" / "llmenv_agent"
CHECKS = sorted((AGENT / "checks").glob("[!_]*.py"))
# Where checks and the probe speak; of the agent itself, only what says sentences of results.
OWN_SPEAKERS = [
    AGENT / f"{name}.py"
    for name in (
        "verdict",
        "runner",
        "check_process",
        "policy",
        "disturbance",
        "quarantine",
        "execution",
        "recovery",
    )
]
SPEAKERS = [*CHECKS, *sorted((AGENT / "probe").rglob("*.py")), *OWN_SPEAKERS]
# The function, and which argument is the template.
TEMPLATE_ARGUMENT = {
    "passed": 0,
    "warn": 0,
    "fail": 0,
    "skip": 0,
    "error": 0,
    "spoken": 0,
    "settle": 1,
    "_described": 2,
}
ENGLISH, CHINESE = tables("en"), tables("zh")
KEYS = [(table, key) for table, entries in ENGLISH.items() for key in entries]


def placeholders(template: str) -> set[str]:
    return {name for _, name, *_ in string.Formatter().parse(template) if name is not None}


def stripped(template: str) -> str:
    """A template as results carry it: without format specifications."""
    return "".join(
        literal.replace("{", "{{").replace("}", "}}") + (f"{{{name}}}" if name is not None else "")
        for literal, name, *_ in string.Formatter().parse(template)
    )


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def literals(node: ast.expr | None) -> Iterator[str]:
    """A text, or both texts of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if isinstance(node, ast.IfExp):
        yield from (*literals(node.body), *literals(node.orelse))


def templates_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and called(node) in TEMPLATE_ARGUMENT:
            position = TEMPLATE_ARGUMENT[called(node)]
            yield from literals(node.args[position] if len(node.args) > position else None)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "template":
            yield from literals(node.value)


def constants_of(module: ast.Module) -> dict[str, ast.expr]:
    """What a file names in capitals at its top level."""
    return {
        target.id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def example(node: ast.expr, constants: dict[str, ast.expr]) -> str | None:
    """What an expectation would say, 7 in place of every value; None when it is not written out."""
    if isinstance(node, ast.Name) and node.id in constants:
        return example(constants[node.id], {})
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
    return None


def phrases_of(file: Path) -> Iterator[str]:
    """Words of expectations and facts that are written out in the check."""
    module = ast.parse(file.read_text("utf-8"))
    constants = constants_of(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and called(node) in {"expect", "fact"}:
            first = 2 if called(node) == "expect" else 1
            said = (example(argument, constants) for argument in node.args[first:])
            yield from (text for text in said if text is not None)


TEMPLATES = sorted(
    {(file.stem, template) for file in SPEAKERS for template in templates_of(file) if template}
)
PHRASES = sorted({(file.stem, phrase) for file in CHECKS for phrase in phrases_of(file)})


def test_both_languages_have_the_same_keys() -> None:
    """A key of one language alone would be a hole in a report."""
    chinese = [(table, key) for table, entries in CHINESE.items() if table != SENTENCES for key in entries]
    assert sorted(chinese) == sorted(KEYS)


@pytest.mark.parametrize(("table", "key"), KEYS, ids=lambda part: part)
def test_both_languages_fill_in_the_same_values(table: str, key: str) -> None:
    """A value that one language leaves out is lost to its reader."""
    assert placeholders(CHINESE[table][key]) == placeholders(ENGLISH[table][key])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_files_say_the_same_thing_differently(language: str) -> None:
    """A key stands in one file, or says the same in each: else the order of files would decide."""
    said: dict[tuple[str, str], set[str]] = {}
    for content in files(language).values():
        for table, entries in content.items():
            for key, text in entries.items():
                said.setdefault((table, key), set()).add(text)
    assert [key for key, texts_of_key in said.items() if len(texts_of_key) > 1] == []


def test_every_status_has_a_word() -> None:
    """A status without a word could not be shown."""
    assert set(ENGLISH["status"]) == set(WORDS.values())


def test_the_checks_speak() -> None:
    """Every check says something the walk finds; otherwise the next tests prove nothing."""
    assert {check.stem for check in CHECKS} <= {stem for stem, _ in TEMPLATES}
    assert {"verdict", "runner", "check_process", "exceptions", "accelerator"} <= {
        stem for stem, _ in TEMPLATES
    }


@pytest.mark.parametrize(("speaker", "template"), TEMPLATES, ids=lambda part: part[:60])
def test_every_sentence_of_a_check_is_said_in_chinese(speaker: str, template: str) -> None:
    """The English template is the key, with the same names in braces."""
    key = stripped(template)
    assert key in CHINESE[SENTENCES], (
        f"{speaker}.py says {key!r}: add it to [sentences] of a file in texts/zh"
    )
    assert placeholders(CHINESE[SENTENCES][key]) == placeholders(key)


@pytest.mark.parametrize(("check", "phrase"), PHRASES, ids=lambda part: part[:60])
def test_what_a_check_expects_is_said_in_chinese(check: str, phrase: str) -> None:
    """Words stay English only where there are none, as in a bare number."""
    has_words = any(
        len(word.strip(".,;:()")) > 1 and word.strip(".,;:()").isalpha() for word in phrase.split()
    )
    is_translated = texts("zh").phrase(phrase) != phrase
    assert is_translated or not has_words, (
        f"{check}.py says {phrase!r}: add it to [sentences] of a file in texts/zh"
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda path: path.stem)
def test_every_check_has_a_title(check: Path) -> None:
    """Reports speak of a check by its title."""
    assert check.stem in ENGLISH["check"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda path: path.stem)
def test_every_name_in_a_check_has_a_label(check: Path) -> None:
    """Names of measurements, facts and expectations that are written out."""
    names = {
        node.args[0].value
        for node in ast.walk(ast.parse(check.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and called(node) in {"measure", "fact", "expect"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert names - set(ENGLISH["name"]) == set()


def test_a_sentence_is_said_in_both_languages() -> None:
    """The values stay as they were formatted by the check."""
    template = "Did not end within {seconds} s."
    sentence = Sentence(text="Did not end within 180 s.", template=template, values={"seconds": "180"})
    assert texts("en").sentence(sentence) == "Did not end within 180 s."
    assert texts("zh").sentence(sentence) == "未在 180 秒内结束。"


def test_a_name_inside_a_sentence_is_said_by_its_label() -> None:
    """An unmet expectation is the reason of a failure, under its snake_case name."""
    sentence = Sentence(
        text="loss_falls: expected a, observed b.",
        template="{name}: expected {expected}, observed {observed}.",
        values={"name": "loss_falls", "expected": "a", "observed": "b"},
    )
    assert texts("en").sentence(sentence) == "loss falls: expected a, observed b."
    assert texts("zh").sentence(sentence) == "损失下降：期望 a，实测 b。"  # noqa: RUF001 (Chinese punctuation)


def test_words_inside_a_sentence_are_translated_too() -> None:
    """How a process ended is a value of the sentence about it."""
    sentence = Sentence(
        text="Its process ended with SIGABRT without a result.",
        template="Its process {end} without a result.",
        values={"end": "ended with SIGABRT"},
    )
    assert texts("zh").sentence(sentence) == "进程因 SIGABRT 终止，没有留下结果。"  # noqa: RUF001 (Chinese punctuation)


def test_words_that_are_a_sentence_of_ours_are_translated_under_any_name() -> None:
    """A check chooses between two words of its own, under a name of its own."""
    sentence = Sentence(
        text="Off by 1, which has to be above 0 here.",
        template="Averaging the means of the batches is {naive} off, which has to be {side} {bound} here.",
        values={"naive": "1", "side": "above", "bound": "0"},
    )
    assert "大于 0" in texts("zh").sentence(sentence)
    assert "above 0" in texts("en").sentence(sentence)


def test_words_of_others_stay_as_they_are() -> None:
    """An error message that happens to look like a phrase of ours is not translated."""
    template = "Its process {end} without a result: {words}"
    sentence = Sentence(text="", template=template, values={"end": "exited with code 1", "words": "3 of 4"})
    assert texts("zh").sentence(sentence).endswith("3 of 4")


def test_an_unknown_sentence_stays_english() -> None:
    """A newer agent's sentence is shown as it came."""
    sentence = Sentence(text="Something new: 3.", template="Something new: {count}.", values={"count": "3"})
    assert texts("zh").sentence(sentence) == "Something new: 3."


def test_a_sentence_with_a_value_missing_falls_back_to_its_text() -> None:
    """A result of another release must not break a report."""
    sentence = Sentence(text="All 3 expectations were met.", template="All {count} expectations were met.")
    assert texts("zh").sentence(sentence) == "All 3 expectations were met."


def test_a_language_that_there_is_not() -> None:
    """The two there are are named."""
    with pytest.raises(ValueError, match="en, zh"):
        tables("fr")
