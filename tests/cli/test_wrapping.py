"""Lines break where a reader of the language would break them, and never run over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from llmenv_cli.render.wrapping import wrapped
from rich.cells import cell_len

TEXTS = st.text(alphabet=st.sampled_from("ab  cd\n,.未在秒内结束；，。（）：_=1"), max_size=120)  # noqa: RUF001 (Chinese punctuation)


def test_english_breaks_at_blanks() -> None:
    """Words stay whole, and lines have no blanks at their ends."""
    assert wrapped("one two three", 8) == ["one two", "three"]


def test_chinese_breaks_anywhere() -> None:
    """An ideograph takes two cells."""
    assert wrapped("未在时限内结束", 6) == ["未在时", "限内结", "束"]


def test_closing_marks_do_not_begin_a_line() -> None:
    """A comma goes with the character before it."""
    assert wrapped("未在时，限内", 6) == ["未在", "时，限", "内"]  # noqa: RUF001 (Chinese punctuation)


def test_opening_marks_do_not_end_a_line() -> None:
    """A bracket goes with the word after it."""
    assert wrapped("未在（mps）内", 8) == ["未在", "（mps）", "内"]  # noqa: RUF001 (Chinese punctuation)


def test_words_wider_than_a_line_are_broken() -> None:
    """A name without blanks must not run over."""
    assert wrapped("aten::quantize_per_tensor", 10) == ["aten::quan", "tize_per_t", "ensor"]


def test_an_empty_text_is_an_empty_line() -> None:
    """A cell without text has a height of one."""
    assert wrapped("", 10) == [""]


@given(TEXTS, st.integers(min_value=8, max_value=60))
def test_no_line_is_wider_than_asked(text: str, width: int) -> None:
    """Whatever is mixed."""
    assert max(cell_len(line) for line in wrapped(text, width)) <= width


@given(TEXTS, st.integers(min_value=8, max_value=60))
def test_nothing_is_lost(text: str, width: int) -> None:
    """Only blanks may go."""
    assert "".join("".join(wrapped(text, width)).split()) == "".join(text.split())
