"""Doctor speaks both languages: every sentence of its modules, in the same words and with the same values."""

from __future__ import annotations

import ast
import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv.catalog.texts import SENTENCES, tables
from llmenv_agent.doctor.finding import Question
from llmenv_agent.service.placement import why_not_lasting, why_not_there

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[2] / "agent" / "llmenv_agent" / "doctor"
SPEAKING = {"passed", "warned", "failed", "unclear", "tell"}
CHINESE = tables("zh")[SENTENCES]


def texts_named(tree: ast.Module) -> dict[str, list[str]]:
    """Every text that a name of the module stands for."""
    named: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    named.setdefault(target.id, []).append(node.value.value)
    return named


def literals(node: ast.expr, named: dict[str, list[str]]) -> Iterator[str]:
    """What an argument can say."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*literals(node.body, named), *literals(node.orelse, named))
    elif isinstance(node, ast.Name):
        yield from named.get(node.id, [])


def templates_of(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = texts_named(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            arguments = {"_not_tried": node.args[1:]}.get(called, node.args[:2] if called in SPEAKING else [])
            yield from (text for argument in arguments for text in literals(argument, named) if text)


FILES = sorted(FOLDER.glob("*.py"))
TEMPLATES = sorted({template for file in FILES for template in templates_of(file)})


def placeholders(template: str) -> set[str]:
    return {name for _, name, *_ in string.Formatter().parse(template) if name is not None}


def test_the_walk_finds_what_is_said() -> None:
    """Each family of questions says something, and each of its ways of saying is found."""
    silent = {"__init__", "bundle", "finding", "redaction", "report"}
    assert {file.stem for file in FILES if not list(templates_of(file))} == silent
    assert "Enrol anew: llmenv-agent enroll --replace." in TEMPLATES
    assert "Not tried: the configuration cannot be used." in TEMPLATES
    assert "This machine is not enrolled: there is no {path}." in TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template[:60])
def test_every_sentence_is_said_in_chinese(template: str) -> None:
    """With the same names in braces."""
    assert template in CHINESE
    assert placeholders(CHINESE[template]) == placeholders(template)


def test_reasons_inside_sentences_are_said_in_chinese() -> None:
    """Why a target lies in a wrong place."""
    home = Path("/Users/ana")
    reasons = [
        why_not_there(home / "Desktop", home=home, is_mac=True),
        why_not_there(Path("/Volumes/x"), home=home, is_mac=True),
        why_not_lasting(Path("/opt/homebrew/Cellar/x")),
    ]
    assert [reason for reason in reasons if reason not in CHINESE] == []


def test_a_remedy_has_the_values_of_what_was_seen() -> None:
    """One set of values for both sentences."""
    found = Question("disk", values={"path": "/x"}).failed(
        "{path} is full: {why}.", "Empty {path}.", why="no"
    )
    assert (found.seen.text, found.remedy.text if found.remedy else "") == ("/x is full: no.", "Empty /x.")
