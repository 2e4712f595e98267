"""What the collector says in a fleet report is said in Chinese as well."""

from __future__ import annotations

import ast
import string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv.catalog.texts import SENTENCES, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEAKERS = Path(__file__).resolve().parents[2] / "collector" / "llmenv_collector" / "fleet_report"
CHINESE = tables("zh")[SENTENCES]


def placeholders(template: str) -> set[str]:
    return {name for _, name, *_ in string.Formatter().parse(template) if name is not None}


def templates() -> Iterator[str]:
    """The first argument of each call of `sentence`."""
    for file in sorted(SPEAKERS.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "sentence":
                template = node.args[0]
                if isinstance(template, ast.Constant) and isinstance(template.value, str):
                    yield template.value


def test_the_collector_speaks() -> None:
    """The walk finds something; otherwise the next test proves nothing."""
    assert len(set(templates())) >= 5


@pytest.mark.parametrize("template", sorted(set(templates())), ids=lambda text: text[:40])
def test_every_sentence_is_said_in_chinese(template: str) -> None:
    """With the same names in braces."""
    assert template in CHINESE, f"add {template!r} to [sentences] of texts/zh/fleet.toml"
    assert placeholders(CHINESE[template]) == placeholders(template)
