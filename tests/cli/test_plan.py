"""`llmenv plan`: the need part by part in every format and both languages, limits of machines, bad input."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1.fleet_service_pb2 import FleetMachine
from llmenv.fleet.v1.machine_pb2 import Machine
from llmenv_cli.client import FleetClient
from llmenv_cli.errors import UsageError
from llmenv_cli.plan_request import find_machine, parse_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

USAGE, UNREACHABLE = 2, 3
REFERENCE = ["plan", "--memory", "64"]
QLORA_7B = ["plan", "--memory", "16", "--model", "7B", "--method", "qlora"]
TINY = {
    "model_type": "qwen2",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
@pytest.mark.parametrize(("name", "arguments"), [("reference", REFERENCE), ("qlora-7b", QLORA_7B)])
def test_plans_for_people(
    llmenv: Callable[..., Any],
    golden: Any,
    *,
    name: str,
    arguments: list[str],
    output_format: str,
    language: str,
) -> None:
    """Every byte of stdout; stderr says nothing."""
    shown = llmenv(*arguments, "--format", output_format, "--lang", language)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == golden(name=f"{name}-{output_format}-{language}")


@pytest.mark.parametrize("output_format", ["json", "csv"])
@pytest.mark.parametrize(("name", "arguments"), [("reference", REFERENCE), ("qlora-7b", QLORA_7B)])
def test_plans_for_programs(
    llmenv: Callable[..., Any], golden: Any, name: str, arguments: list[str], output_format: str
) -> None:
    """Bytes and the same words, whatever the language."""
    shown = llmenv(*arguments, "--format", output_format)
    assert shown.out == golden(name=f"{name}-{output_format}")
    assert shown.out == llmenv(*arguments, "--format", output_format, "--lang", "zh").out


def test_parts_at_the_peak_add_up_to_the_need(llmenv: Callable[..., Any]) -> None:
    """Rounded to a byte each."""
    document = json.loads(llmenv(*QLORA_7B, "--format", "json").out)
    parts = [part["bytes_at_peak"] for part in document["components"]]
    assert sum(parts) == pytest.approx(document["needed_bytes"], abs=len(parts))


def test_what_is_suggested_fits_when_it_is_asked_for(llmenv: Callable[..., Any]) -> None:
    """The longest sequence that is named is planned again, and fits; one token more does not."""
    document = json.loads(llmenv(*QLORA_7B, "--format", "json").out)
    assert document["fit"] == "too_large"
    longest = next(change["value"] for change in document["changes"] if change["change"] == "sequence")
    fits = [
        json.loads(llmenv(*QLORA_7B, "--seq", str(length), "--format", "json").out)["fit"]
        for length in (longest, longest + 1)
    ]
    assert fits == ["fits", "too_large"]


def test_every_option_reaches_the_plan(llmenv: Callable[..., Any]) -> None:
    """As the plan repeats it."""
    options = "--method lora --seq 256 --batch 3 --rank 8 --dtype bfloat16 --checkpointing --device cuda"
    shown = llmenv("plan", "--memory", "8", "--model", "gpt2", *options.split(), "--format", "json")
    document = json.loads(shown.out)
    assert {
        key: document[key]
        for key in ("method", "sequence", "batch", "rank", "dtype", "checkpointing", "device")
    } == {
        "method": "lora",
        "sequence": 256,
        "batch": 3,
        "rank": 8,
        "dtype": "bfloat16",
        "checkpointing": True,
        "device": "cuda",
    }


def test_fused_attention_has_no_scores(llmenv: Callable[..., Any]) -> None:
    """On mps torch computes math attention, unless another is wished for."""
    parts = []
    for options in ([], ["--attention", "fused"]):
        shown = llmenv(*QLORA_7B, *options, "--format", "csv")
        parts.append({row["component"] for row in csv.DictReader(io.StringIO(shown.out))})
    plain, fused = parts
    assert plain - fused == {"scores"}


@pytest.mark.parametrize("name", ["config.json", "renamed.txt", ""])
def test_a_config_of_a_file_or_its_folder(llmenv: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """By its path, whatever its name, or by the folder that a model was saved in."""
    (tmp_path / (name or "config.json")).write_text(json.dumps(TINY))
    shown = llmenv("plan", "--memory", "8", "--model", str(tmp_path / name), "--format", "json")
    attention = 64 * 64 * 2 + 64 * 32 * 2 + 64 + 2 * 32
    block = attention + 3 * 64 * 176 + 2 * 64
    assert json.loads(shown.out)["parameters"] == 2 * block + 64 + 2 * 256 * 64


def test_a_short_model_is_planned_at_its_own_length(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """1,024 tokens are the default, not more than the model was made for; more is planned and said."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**TINY, "max_position_embeddings": 128}))
    command = ["plan", "--memory", "8", "--model", str(file)]
    assert json.loads(llmenv(*command, "--format", "json").out)["sequence"] == 128
    assert "256 tokens, the model was made for 128" in llmenv(*command, "--seq", "256").out


def test_a_machine_has_its_own_working_set(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """What the system recommends, not the memory on the box."""
    shown = llmenv("plan", "--machine", "studio-3", "--model", "7B", "--format", "json")
    document = json.loads(shown.out)
    assert (document["usable_bytes"], document["device"]) == (55_662_788_608, "mps")


def test_a_machine_without_a_working_set_is_unknown(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """Never computed from its memory."""
    shown = llmenv("plan", "--machine", "air-7", "--model", "7B")
    assert shown.code == 0
    assert "Unknown whether it fits" in shown.out
    assert "air-7" in shown.out
    table = llmenv("plan", "--machine", "air-7", "--format", "csv").out
    assert {row["fit"] for row in csv.DictReader(io.StringIO(table))} == {"unknown"}


def test_memory_alone_rules_out(
    llmenv: Callable[..., Any], logged_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 70B model in 16 bits is larger than any Mac mini."""
    mini = FleetMachine(machine=Machine(hostname="mini-1", memory_bytes=8 * 2**30, is_apple_silicon=True))
    monkeypatch.setattr(FleetClient, "machines", lambda _: [mini])
    shown = llmenv("plan", "--machine", "mini-1", "--model", "70B")
    assert "more than the machine's whole memory" in " ".join(shown.out.split())


@pytest.mark.parametrize(
    ("machine", "device"),
    [
        (Machine(is_apple_silicon=True, os_name="macOS"), "mps"),
        (Machine(), "mps"),
        (Machine(os_name="Linux", accelerator="NVIDIA H100"), "cuda"),
        (Machine(os_name="Linux"), "cpu"),
    ],
    ids=["mac", "never-seen", "nvidia", "linux"],
)
def test_a_machine_says_where_it_trains(
    llmenv: Callable[..., Any],
    logged_in: Any,
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine,
    device: str,
) -> None:
    """Unless --device does."""
    machine.hostname = "m"
    monkeypatch.setattr(FleetClient, "machines", lambda _: [FleetMachine(machine=machine)])
    command = ["plan", "--machine", "m", "--model", "gpt2", "--format", "json"]
    assert json.loads(llmenv(*command).out)["device"] == device
    assert json.loads(llmenv(*command, "--device", "cpu").out)["device"] == "cpu"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "7B"], "Say either --memory"),
        (["--memory", "64", "--machine", "x"], "Say either --memory"),
        (["--memory", "-64"], "is no amount of memory"),
        (["--memory", "0"], "is no amount of memory"),
        (["--memory", "64TB"], "is no amount of memory"),
        (["--memory", "nan"], "is no amount of memory"),
        (
            ["--memory", "64", "--method", "lora"],
            "--method says something about a model, so",
        ),
        (["--memory", "64", "--seq", "10"], "--seq says something about a model"),
        (
            ["--memory", "64", "--model", "8B-typo"],
            "No model '8B-typo' is known. Known are the sizes",
        ),
        (["--memory", "64", "--model", "none.json"], "none.json cannot be read: No such file or directory."),
        (["--memory", "64", "--model", "7B", "--batch", "0"], "0 is not in the range"),
        (["--memory", "64", "--model", "7B", "--batch", "-1"], "-1 is not in the range"),
        (["--memory", "64", "--model", "7B", "--rank", "8", "--method", "full"], "--rank is for"),
        (["--memory", "64", "--model", "7B", "--4bit"], "--4bit is for --method inference"),
        (["--memory", "64", "--model", "7B", "--method", "inference", "--checkpointing"], "is for training"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_sentence(llmenv: Callable[..., Any], arguments: list[str], said: str) -> None:
    """Exit code 2, and nothing on stdout."""
    refused = llmenv("plan", *arguments)
    assert (refused.code, refused.out) == (USAGE, "")
    assert said in refused.err
    assert "Traceback" not in refused.err


def test_a_config_of_another_family_is_one_sentence(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """It names what is known."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "bert"}))
    refused = llmenv("plan", "--memory", "64", "--model", str(file))
    assert refused.code == USAGE
    assert refused.err == (
        f"llmenv: {file} cannot be planned for: its model_type is 'bert', known are gpt2, llama, mistral,"
        " qwen2.\n"
    )


def test_a_huge_config_is_not_read_to_its_end(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """Such as the weights, named by mistake."""
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**31)
    refused = llmenv("plan", "--memory", "64", "--model", str(tmp_path))
    assert refused.code == USAGE
    assert "larger than 1 MiB" in refused.err


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_not_opened(llmenv: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    """A named pipe would be waited for until somebody writes into it."""
    os.mkfifo(tmp_path / "pipe.json")
    path = {"pipe": str(tmp_path / "pipe.json"), "device": "/dev/zero"}[kind]
    refused = llmenv("plan", "--memory", "64", "--model", path)
    assert (refused.code, refused.out) == (USAGE, "")
    assert f"{path} cannot be read: it is no file but a pipe or a device." in " ".join(refused.err.split())


MLX_4BIT = {"quantization": {"group_size": 64, "bits": 4}}


def planned(llmenv: Callable[..., Any], folder: Path, stored: dict[str, Any], *options: str) -> Any:
    (folder / "config.json").write_text(json.dumps({**TINY, **stored}))
    return llmenv("plan", "--memory", "8", "--model", str(folder), *options)


def weight_bytes(shown: Any) -> int:
    (weights,) = (one for one in json.loads(shown.out)["components"] if one["component"] == "weights")
    return int(weights["bytes"])


def test_a_stored_quantization_decides_the_bits(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """4 bits, and a scale and a bias of 16 bits for each 64: of every matrix, embeddings too."""
    shown = planned(llmenv, tmp_path, MLX_4BIT, "--method", "inference", "--format", "json")
    matrices = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 176) + 2 * 256 * 64
    others = 2 * (64 + 2 * 32) + 2 * 2 * 64 + 64
    assert weight_bytes(shown) == round(matrices * (4 + 32 / 64) / 8 + 2 * others)
    document = json.loads(shown.out)
    assert (document["stored"], document["in_4bit"]) == ("MLX 4-bit, group 64", False)


def test_a_stored_quantization_is_said(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """With its bits, and that nothing but the weights follows from it."""
    shown = " ".join(planned(llmenv, tmp_path, MLX_4BIT).out.split())
    assert "LoRA beside the stored weights" in shown
    assert "MLX 4-bit, group 64: 4.5 bits a weight, embeddings too" in shown
    assert "4.5 bits + " in shown
    assert "it was measured with that alone." in shown
    assert "4-bit base" not in shown


def test_quantized_weights_are_not_trained_in_full(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """They have no gradients."""
    refused = planned(llmenv, tmp_path, MLX_4BIT, "--method", "full")
    assert (refused.code, refused.out) == (USAGE, "")
    assert "(MLX 4-bit, group 64), which are not trained: take --method qlora" in refused.err


def test_a_quantization_of_unknown_bits_is_refused(llmenv: Callable[..., Any], tmp_path: Path) -> None:
    """Whatever was planned for it would be made up."""
    refused = planned(llmenv, tmp_path, {"quantization_config": {"quant_method": "hqq"}})
    assert (refused.code, refused.out) == (USAGE, "")
    assert "it is stored quantized by 'hqq'; known are mlx, bitsandbytes, gptq" in refused.err


def test_the_table_is_for_the_device_asked_about(
    llmenv: Callable[..., Any], logged_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a machine without a GPU nothing is said of a GPU or of MPS."""
    machine = Machine(hostname="m", os_name="Linux", memory_bytes=24 * 2**30)
    monkeypatch.setattr(FleetClient, "machines", lambda _: [FleetMachine(machine=machine)])
    shown = " ".join(llmenv("plan", "--machine", "m").out.split())
    assert "Compared with the memory of m, 24 GiB;" in shown
    assert "of 1,024 tokens on cpu, LoRA" in shown
    assert "GPU" not in shown
    assert "tokens on cuda, LoRA" in " ".join(llmenv(*REFERENCE, "--device", "cuda").out.split())


def test_an_unknown_machine_is_named_with_the_known(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """By hostname."""
    refused = llmenv("plan", "--machine", "studio-9")
    assert refused.code == USAGE
    assert refused.err == ("llmenv: The collector knows no machine 'studio-9'; known are: air-7, studio-3.\n")


def test_no_collector_answers(llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path) -> None:
    """Its address is named."""
    file = tmp_path / "config" / "credentials.json"
    kept = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**kept, "address": "127.0.0.1:1"}))
    refused = llmenv("plan", "--machine", "studio-3")
    assert (refused.code, refused.out) == (UNREACHABLE, "")
    assert refused.err.startswith("llmenv: No collector answers at 127.0.0.1:1: ")


def test_one_hostname_of_two_machines_needs_the_id() -> None:
    """The ids are named."""
    machines = [Machine(hostname="mini", machine_id=name) for name in ("a1", "b2")]
    with pytest.raises(UsageError, match="name one by its id: a1, b2"):
        find_machine(machines, "mini")
    assert find_machine(machines, "b2").machine_id == "b2"


@pytest.mark.parametrize(
    ("text", "size"), [("64", 64e9), ("64gb", 64e9), ("0.5 GB", 5e8), ("64GiB", 64 * 2**30)]
)
def test_memory_is_in_gigabytes_unless_it_says_gibibytes(text: str, size: float) -> None:
    """As people write it."""
    assert parse_memory(text) == size
