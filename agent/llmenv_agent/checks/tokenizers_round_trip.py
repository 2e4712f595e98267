"""Do tokenizers give back every text they are given, in every writing system?

Texts of twelve kinds (`llmenv_probe.writing_systems`) through three tokenizers that are learned here from
English and Chinese: a byte-level BPE of `tokenizers`, the same one in transformers' fast wrapper, and a
sentencepiece model with byte fallback, which spells what it has not learned in bytes. One case a tokenizer
and text: encoding and decoding must give the text itself, code point by code point, and the spans of the
tokens must stand in order and cover it.

The parameter `tokenizer` adds a published one, by a folder or an installed package with a tokenizer.json, a
vocab.json and merges.txt, or an encoder.json and vocab.bpe. It has to return what its own normalizer makes
of the text; one that is not byte-level may lose some by design, and is skipped. GPT-2's vocabulary has to
give the ids that are published for "Hello, I am".

The wrapper must pad on the side it is told, mask what it padded, give in a batch what it gives alone, and
make no special token out of ordinary text, nor of one that only spells it.
"""

from __future__ import annotations

import io
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv_probe.tokenizer_files import find_tokenizer
from llmenv_probe.writing_systems import CORPUS, TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 265
SUITES = ("full",)
REQUIRES = ("tokenizers",)
TIMEOUT_SECONDS = 300
CASE_TIMEOUT_SECONDS = 120
TYPICAL_SECONDS = 0.9
PARAMETERS: "dict[str, Any]" = {"tokenizer": None}
ALLOWED = {"tokenizer": "text"}

VOCABULARY = 320
PAD, END = "<pad>", "<eos>"
GPT2_VOCABULARY, GPT2_TEXT, GPT2_IDS = 50257, "Hello, I am", [15496, 11, 314, 716]


class Coder(NamedTuple):
    """`spans` are those of the tokens in the text, where the tokenizer knows them.

    `expected` is what a text has to come back as.
    """

    encode: "Callable[[str], list[int]]"
    decode: "Callable[[list[int]], str]"
    spans: "Callable[[str], list[tuple[int, int]]] | None" = None
    expected: "Callable[[str], str]" = str


def run(probe: Probe) -> None:
    named = _named(probe)
    _examine_texts(probe, "tokenizers", lambda _: _coder_of(_byte_bpe()))
    _examine_texts(probe, "sentencepiece", _sentencepiece)
    _examine_texts(probe, "transformers", lambda case: _coder_of_wrapper(_wrapper(case)))
    if named is not None:
        _examine_texts(probe, "named", lambda case: _named_coder(case, named))
        if not probe.is_completed("named/published_ids"):
            with probe.case("named/published_ids") as case:
                _judge_published_ids(case, named)
    for name, judge in WRAPPER_CASES.items():
        if not probe.is_completed(name):
            with probe.case(name) as case:
                judge(case, _wrapper(case))


def _examine_texts(probe: Probe, tokenizer: str, coder: "Callable[[Case], Coder]") -> None:
    for kind, text in TEXTS.items():
        name = f"{tokenizer}/{kind}"
        if not probe.is_completed(name):
            with probe.case(name) as case:
                _judge_text(case, coder(case), text)


def _judge_text(case: Case, coder: Coder, text: str) -> None:
    ids = coder.encode(text)
    expected, decoded = coder.expected(text), coder.decode(ids)
    case.measure("tokens", len(ids), "1")
    if decoded != expected:
        place = _first_difference(expected, decoded)
        case.fail(
            "From character {place} on, {text} came back as {decoded}.",
            place=place,
            text=ascii(expected[place : place + 8]),
            decoded=ascii(decoded[place : place + 8]),
        )
    if coder.spans is not None:
        _judge_spans(case, coder.spans(text), text)
    case.passed("{count} characters came back from {tokens} tokens.", count=len(text), tokens=len(ids))


def _first_difference(one: str, other: str) -> int:
    pairs = zip(one, other)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _judge_spans(case: Case, spans: "list[tuple[int, int]]", text: str) -> None:
    """Several tokens may share a character that they spell in bytes."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    covered = {place for start, end in spans for place in range(start, end)}
    missed = [place for place in range(len(text)) if place not in covered and not text[place].isspace()]
    if missed:
        case.fail(
            "No token stands for character {place}, {text}.", place=missed[0], text=ascii(text[missed[0]])
        )
    if starts != sorted(starts) or ends != sorted(ends) or max(ends) > len(text):
        case.fail("The spans of the tokens are not in the order of the text.")


def _byte_bpe() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[PAD, END],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _coder_of(tokenizer: Any) -> Coder:
    normalizer = tokenizer.normalizer
    return Coder(
        encode=lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids),
        decode=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=False)),
        spans=lambda text: list(tokenizer.encode(text, add_special_tokens=False).offsets),
        expected=normalizer.normalize_str if normalizer is not None else str,
    )


def _sentencepiece(case: Case) -> Coder:
    if find_spec("sentencepiece") is None:
        case.skip("The package sentencepiece is not installed.")
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        byte_fallback=True,
        # Its defaults join, drop and add characters: those of a language model that loses nothing do not.
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return Coder(encode=processor.encode, decode=processor.decode)


def _wrapper(case: Case) -> Any:
    if find_spec("transformers") is None:
        case.skip("The package transformers is not installed.")
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_bpe(), pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )


def _coder_of_wrapper(wrapper: Any) -> Coder:
    return Coder(
        encode=lambda text: list(wrapper(text)["input_ids"]),
        decode=wrapper.decode,
        spans=lambda text: list(wrapper(text, return_offsets_mapping=True)["offset_mapping"]),
    )


def _named(probe: Probe) -> Any:
    name = probe.parameters["tokenizer"]
    if name is None:
        return None
    tokenizer = find_tokenizer(name)
    if tokenizer is None:
        probe.error("There is no tokenizer in {name}; name a folder or a package that has one.", name=name)
    return tokenizer


def _named_coder(case: Case, tokenizer: Any) -> Coder:
    if "ByteLevel" not in json.dumps(json.loads(tokenizer.to_str())["decoder"]):
        case.skip("It is not byte-level, so it may lose characters by design.")
    return _coder_of(tokenizer)


def _judge_published_ids(case: Case, tokenizer: Any) -> None:
    if tokenizer.get_vocab_size() != GPT2_VOCABULARY:
        case.skip("It has not the size of GPT-2's vocabulary, and no ids are published for it here.")
    ids = tokenizer.encode(GPT2_TEXT, add_special_tokens=False).ids
    if ids != GPT2_IDS:
        case.fail("{text} became {ids}, not {published}.", text=GPT2_TEXT, ids=ids, published=GPT2_IDS)
    case.passed("{text} became the published ids.", text=GPT2_TEXT)


def _judge_padding(side: str) -> "Callable[[Case, Any], None]":
    def judge(case: Case, wrapper: Any) -> None:
        wrapper.padding_side = side
        texts = list(TEXTS.values())
        batch = wrapper(texts, padding=True)
        width = max(len(ids) for ids in batch["input_ids"])
        for text, ids, mask in zip(texts, batch["input_ids"], batch["attention_mask"]):
            alone = wrapper(text)["input_ids"]
            padding = [wrapper.pad_token_id] * (width - len(alone))
            wanted = (padding + alone, [0] * len(padding) + [1] * len(alone))
            if side == "right":
                wanted = (alone + padding, [1] * len(alone) + [0] * len(padding))
            if (ids, mask) != wanted:
                case.fail("Padding is not on the {side}, or its mask is wrong.", side=side)
        case.passed("{count} texts were padded and masked on the {side}.", count=len(texts), side=side)

    return judge


def _judge_batch(case: Case, wrapper: Any) -> None:
    texts = list(TEXTS.values())
    together = wrapper(texts)["input_ids"]
    other = [kind for kind, ids in zip(TEXTS, together) if ids != wrapper(TEXTS[kind])["input_ids"]]
    if other:
        case.fail("In a batch these get other ids than alone: {kinds}.", kinds=", ".join(other))
    case.passed("{count} texts have in a batch the ids that they have alone.", count=len(texts))


def _judge_special_tokens(case: Case, wrapper: Any) -> None:
    """None for ordinary text, one where its text stands, and none where that is to be plain text."""
    special = set(wrapper.all_special_ids)
    made = [kind for kind, text in TEXTS.items() if special & set(wrapper(text)["input_ids"])]
    if made:
        case.fail("Special tokens were made out of ordinary text: {kinds}.", kinds=", ".join(made))
    spelled = f"a{END}b"
    plain = wrapper(spelled, split_special_tokens=True)["input_ids"]
    if wrapper.eos_token_id not in wrapper(spelled)["input_ids"]:
        case.fail("The text of a special token is not read as one.")
    if special & set(plain) or wrapper.decode(plain) != spelled:
        case.warn("This transformers ignores split_special_tokens: text that spells a special token is one.")
    case.passed("Special tokens come only where they are meant.")


WRAPPER_CASES: "dict[str, Callable[[Case, Any], None]]" = {
    "transformers/padding_right": _judge_padding("right"),
    "transformers/padding_left": _judge_padding("left"),
    "transformers/batch_as_alone": _judge_batch,
    "transformers/special_tokens": _judge_special_tokens,
}
