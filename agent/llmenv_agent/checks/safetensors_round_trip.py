"""Do tensors and models come back from safetensors files bit by bit, and are damaged files refused?

One case a data type: tensors of random bits on the device (NaNs with a payload, subnormals and infinities
among them; for bool random truths) with four shapes, a scalar and an empty one too, are saved, loaded to the
device and compared by their bytes, their types and their shapes. There is no tolerance: nothing is computed.

Then the metadata; a transposed tensor, which may be refused or saved right, but not saved wrong; two names of
one storage, which `save_file` must refuse and `save_model` must handle; a GPT-2, whose output layer and token
embedding are one tensor, through `save_pretrained` and `from_pretrained`: it must be one tensor again, stored
once; a Llama in bfloat16. A file cut anywhere must be refused: half a checkpoint must never load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_probe.small_models import small_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 260
SUITES = ("full",)
REQUIRES = ("torch", "safetensors", "transformers")
TIMEOUT_SECONDS = 300
CASE_TIMEOUT_SECONDS = 120
TYPICAL_SECONDS = 4
PARAMETERS: "dict[str, Any]" = {}

DTYPES = (
    "float32",
    "float16",
    "bfloat16",
    "float64",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "float8_e4m3fn",
    "float8_e5m2",
)
NOT_ON_MPS = ("float64", "float8_e4m3fn", "float8_e5m2")
SHAPES = ((), (0, 3), (129,), (7, 5, 3))
METADATA = {"format": "pt", "trained_on": "\u82f9\u679c \U0001f34e", "empty": ""}


def run(probe: Probe) -> None:
    probe.accelerator.torch_device()
    for dtype in DTYPES:
        _examine(probe, f"tensors/{dtype}", _round_trip, dtype=dtype)
    for name, examine in CASES.items():
        _examine(probe, name, examine)


def _examine(probe: Probe, name: str, examine: "Callable[..., None]", **parameters: str) -> None:
    if not probe.is_completed(name):
        with probe.case(name, **parameters) as case:
            examine(probe, case, **parameters)


def _round_trip(probe: Probe, case: Case, *, dtype: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    if not hasattr(torch, dtype):
        case.skip("This torch has no {dtype}.", dtype=dtype)
    if probe.device == "mps" and dtype in NOT_ON_MPS:
        case.skip("MPS has no {dtype}.", dtype=dtype)
    path = probe.scratch / f"{dtype}.safetensors"
    saved = _random_bits(dtype, seed=probe.seed)
    save_file({name: tensor.to(probe.device) for name, tensor in saved.items()}, path)
    different = _different(saved, load_file(path, device=probe.device))
    if different:
        case.fail("Not what was saved: {names}.", names=", ".join(different))
    case.passed("{count} tensors came back with the same bits.", count=len(saved))


def _random_bits(dtype: str, *, seed: int) -> "dict[str, Any]":
    """A tensor of each shape by its name, on the CPU."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {
        "x".join(map(str, shape)) or "scalar": _bits(getattr(torch, dtype), shape, generator)
        for shape in SHAPES
    }


def _bits(dtype: Any, shape: "tuple[int, ...]", generator: Any) -> Any:
    import torch

    if dtype == torch.bool:
        return torch.randint(2, shape, generator=generator).bool()
    count = torch.Size(shape).numel() * torch.empty(0, dtype=dtype).element_size()
    return torch.randint(256, (count,), dtype=torch.uint8, generator=generator).view(dtype).reshape(shape)


def _different(saved: "dict[str, Any]", loaded: "dict[str, Any]") -> "list[str]":
    """Names that one of the two lacks, or whose type, shape or bytes are not the same."""
    return sorted(
        name
        for name in saved.keys() | loaded.keys()
        if name not in saved or name not in loaded or not _same(saved[name], loaded[name])
    )


def _same(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and one.shape == other.shape and _bytes(one) == _bytes(other))


def _bytes(tensor: Any) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes())


def _metadata(probe: Probe, case: Case) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = probe.scratch / "metadata.safetensors"
    save_file({"zero": torch.zeros(1)}, path, metadata=METADATA)
    with safe_open(path, "pt") as file:
        read = file.metadata()
    if read != METADATA:
        case.fail("Metadata {saved} came back as {read}.", saved=repr(METADATA), read=repr(read))
    case.passed("{count} entries of metadata came back.", count=len(METADATA))


def _transposed(probe: Probe, case: Case) -> None:
    """As stored, its bytes are in the order of another tensor."""
    import torch
    from safetensors.torch import load_file, save_file

    path = probe.scratch / "transposed.safetensors"
    tensor = torch.arange(12.0, device=probe.device).reshape(3, 4).T
    try:
        save_file({"t": tensor}, path)
    except ValueError:
        save_file({"t": tensor.contiguous()}, path)
        outcome = "is refused until it is made contiguous"
    else:
        outcome = "is saved as it is"
    if not _same(tensor, load_file(path)["t"]):
        case.fail("A transposed tensor came back with other values.")
    case.passed("A transposed tensor {verb}.", verb=outcome)


def _shared(probe: Probe, case: Case) -> None:
    """Two names of one storage."""
    import torch
    from safetensors.torch import load_model, save_file, save_model

    path = probe.scratch / "shared.safetensors"
    model = _two_names(torch)
    try:
        save_file(dict(model.named_parameters(remove_duplicate=False)), path)
    except RuntimeError:
        pass
    else:
        case.fail("Two names of one storage were saved without a word.")
    save_model(model, str(path))
    fresh = _two_names(torch)
    load_model(fresh, str(path))
    if fresh[0].weight is not fresh[1].weight or not _same(model[0].weight, fresh[0].weight):
        case.fail("Two names of one tensor came back as two, or with other values.")
    case.passed("Two names of one storage are refused by save_file and kept by save_model.")


def _two_names(torch: Any) -> Any:
    """Two layers with one weight."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    return model


def _tied(probe: Probe, case: Case) -> None:
    model = small_model("gpt2", seed=probe.seed).to(probe.device)
    folder = probe.scratch / "tied"
    loaded = _through_pretrained(case, model, folder, probe.device)
    output, embedding = loaded.get_output_embeddings().weight, loaded.get_input_embeddings().weight
    stored = [name for name in _stored(folder) if "lm_head" in name or "wte" in name]
    if output.data_ptr() != embedding.data_ptr():
        case.fail("The output layer and the token embedding of GPT-2 are no longer one tensor.")
    if len(stored) != 1:
        case.fail(
            "One tensor with two names is stored {count} times: {names}.", count=len(stored), names=stored
        )
    case.passed("GPT-2 came back with the same bits, its output layer tied to its embedding.")


def _bfloat16_model(probe: Probe, case: Case) -> None:
    import torch

    model = small_model("llama", seed=probe.seed).to(torch.bfloat16).to(probe.device)
    folder = probe.scratch / "bfloat16"
    _through_pretrained(case, model, folder, probe.device)
    case.passed(
        "A Llama in bfloat16 came back with the same bits: {count} tensors.", count=len(_stored(folder))
    )


def _through_pretrained(case: Case, model: Any, folder: Path, device: str) -> Any:
    """What `from_pretrained` makes of what `save_pretrained` saved, after all its tensors were compared."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(folder)
    # Until version 5, transformers loads as float32 unless it is told the type.
    loaded = AutoModelForCausalLM.from_pretrained(folder).to(model.dtype).to(device)
    different = _different(model.state_dict(), loaded.state_dict())
    if different:
        case.fail("Not what was saved: {names}.", names=", ".join(different[:5]))
    return loaded


def _stored(folder: Path) -> "list[str]":
    """Names of the tensors in a folder's files."""
    from safetensors import safe_open

    names: "list[str]" = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names += file.keys()
    return names


def _cut(probe: Probe, case: Case) -> None:
    """At the end, in the tensors, in the header, in its length, and empty."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    path = probe.scratch / "whole.safetensors"
    save_file({"a": torch.ones(64), "b": torch.ones(64)}, path)
    content = path.read_bytes()
    loaded = []
    for length in (len(content) - 1, len(content) - 300, 60, 7, 0):
        path.write_bytes(content[:length])
        try:
            load_file(path)
        except SafetensorError:
            continue
        loaded.append(str(length))
    if loaded:
        case.fail(
            "A file of {whole} bytes loads although it was cut to {lengths}.",
            whole=len(content),
            lengths=", ".join(loaded),
        )
    case.passed("A file that was cut is refused wherever it was cut.")


CASES = {
    "metadata": _metadata,
    "transposed": _transposed,
    "shared_storage": _shared,
    "tied_weights": _tied,
    "bfloat16_model": _bfloat16_model,
    "truncated": _cut,
}
