"""Which packages of a training environment are installed, import, and work?

One case a package: its version, the seconds its import takes (unless another package has imported it
already), and one small operation whose result is known. A package that is not installed is skipped, one
that does not import is an error, one whose operation gives another result than the known one is a failure.
A package that ends the process costs its own case; the rest goes on in a fresh process.

The check passes when every installed package works, and fails when one does not or none is installed. The
versions of Python and macOS (with its build) are facts of this check.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 5
SUITES = ("quick", "full")
REQUIRES = ()
TIMEOUT_SECONDS = 300
TYPICAL_SECONDS = 7
PARAMETERS: "dict[str, Any]" = {}


def run(probe: Probe) -> None:
    _describe_system(probe)
    for package, (module, operation) in OPERATIONS.items():
        if not probe.is_completed(package):
            with probe.case(package) as case:
                _examine(case, package, module, operation)
    statuses = {name: status for name, status in probe.case_statuses.items() if name in OPERATIONS}
    missing = [name for name, status in statuses.items() if status == "skip"]
    working = sum(status == "pass" for status in statuses.values())
    if len(missing) == len(statuses):
        probe.fail("None of the {count} packages is installed.", count=len(missing))
    if missing:
        probe.passed(
            "{working} packages are installed and work; not installed: {missing}.",
            working=working,
            missing=", ".join(missing),
        )
    else:
        probe.passed("All {working} packages are installed and work.", working=working)


def _describe_system(probe: Probe) -> None:
    probe.fact("python_version", platform.python_version())
    probe.fact("python_executable", sys.executable)
    probe.fact("machine", platform.machine())
    if platform.system() == "Darwin":
        probe.fact("macos_version", platform.mac_ver()[0])
        ended = subprocess.run(["sw_vers", "-buildVersion"], capture_output=True, text=True, check=False)
        probe.fact("macos_build", ended.stdout.strip() or "unknown")
    else:
        probe.fact("operating_system", platform.platform())


def _examine(case: Case, package: str, module: str, operation: "Callable[[Any], tuple[Any, Any]]") -> None:
    """The package's version, its import, and its operation's result beside the known one."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        case.skip("not installed")
    case.fact("version", version)
    imported = _timed_import(case, module)
    observed, known = operation(imported)
    case.fact("works", observed == known)
    if observed != known:
        case.fail(
            "imports, and does not work: {observed} in place of {known}", observed=observed, known=known
        )
    case.passed("version {version} works", version=version)


def _timed_import(case: Case, module: str) -> Any:
    """The module; its time is that of an import, so none where another package has imported it already."""
    is_first = module not in sys.modules
    started = time.perf_counter()
    try:
        imported = importlib.import_module(module)
    except ImportError:
        case.fact("imports", False)
        raise
    if is_first:
        case.measure("import_seconds", time.perf_counter() - started, "s", better="lower")
    case.fact("imports", True)
    return imported


def _numpy(numpy: Any) -> "tuple[Any, Any]":
    return numpy.dot([1.0, 2.0], [3.0, 4.0]).item(), 11.0


def _pandas(pandas: Any) -> "tuple[Any, Any]":
    table = pandas.DataFrame({"key": ["a", "b", "a"], "value": [1, 2, 3]})
    return table.groupby("key")["value"].sum().to_dict(), {"a": 4, "b": 2}


def _torch(torch: Any) -> "tuple[Any, Any]":
    return (torch.ones(2, 3) @ torch.ones(3, 2)).tolist(), [[3.0, 3.0], [3.0, 3.0]]


def _torchvision(torchvision: Any) -> "tuple[Any, Any]":
    """A compiled operator: non-maximum suppression of two boxes that are the same."""
    import torch

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]])
    return torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist(), [0, 2]


def _torchaudio(torchaudio: Any) -> "tuple[Any, Any]":
    import torch

    return tuple(torchaudio.functional.resample(torch.zeros(1, 160), 16000, 8000).shape), (1, 80)


def _transformers(transformers: Any) -> "tuple[Any, Any]":
    import torch

    configuration = transformers.GPT2Config(
        vocab_size=11, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    logits = transformers.GPT2LMHeadModel(configuration)(torch.tensor([[1, 2, 3]])).logits
    return tuple(logits.shape), (1, 3, 11)


def _tokenizers(tokenizers: Any) -> "tuple[Any, Any]":
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"hello": 0, "world": 1}))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer.encode("hello world").ids, [0, 1]


def _sentencepiece(sentencepiece: Any) -> "tuple[Any, Any]":
    """Trains a model of at most 20 pieces in memory, then encodes and decodes."""
    import io

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat", "the dog sat on the log"] * 10),
        model_writer=model,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return processor.decode(processor.encode("the cat sat")), "the cat sat"


def _peft(peft: Any) -> "tuple[Any, Any]":
    """Rank 2 on a layer of 4 by 3: 2*(4 + 3) trainable parameters."""
    from torch import nn

    model = peft.get_peft_model(nn.Sequential(nn.Linear(4, 3)), peft.LoraConfig(r=2, target_modules=["0"]))
    return model.get_nb_trainable_parameters()[0], 14


def _accelerate(accelerate: Any) -> "tuple[Any, Any]":
    from torch import nn

    prepared = accelerate.Accelerator(cpu=True).prepare(nn.Linear(2, 1))
    return sum(parameter.numel() for parameter in prepared.parameters()), 3


def _mlx(mx: Any) -> "tuple[Any, Any]":
    return (mx.ones((2, 3)) @ mx.ones((3, 2))).tolist(), [[3.0, 3.0], [3.0, 3.0]]


def _mlx_lm(lora: Any) -> "tuple[Any, Any]":
    """A fresh LoRA layer adds nothing: its second matrix is zero."""
    import mlx.core as mx
    from mlx import nn

    linear = nn.Linear(4, 3)
    inputs = mx.ones((1, 4))
    return lora.LoRALinear.from_base(linear, r=2)(inputs).tolist(), linear(inputs).tolist()


def _datasets(datasets: Any) -> "tuple[Any, Any]":
    doubled = datasets.Dataset.from_dict({"x": [1, 2, 3]}).map(lambda row: {"x": 2 * row["x"]})
    return list(doubled["x"]), [2, 4, 6]


def _bitsandbytes(bitsandbytes: Any) -> "tuple[Any, Any]":
    """Four-bit NF4 keeps -1, 0 and 1 exactly: they are levels of it."""
    import torch

    values = torch.tensor([-1.0, 0.0, 1.0, 0.0]).repeat(64)
    packed, state = bitsandbytes.functional.quantize_4bit(values, quant_type="nf4")
    return bitsandbytes.functional.dequantize_4bit(packed, state).flatten()[-4:].tolist(), [
        -1.0,
        0.0,
        1.0,
        0.0,
    ]


def _torchao(quantization: Any) -> "tuple[Any, Any]":
    """Ones are exact in int8 but for the rounding of their scale, which is less than half of a percent."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(32, 1, bias=False))
    nn.init.ones_(model[0].weight)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    return round(model(torch.ones(1, 32)).item()), 32


# Distribution -> the module that is imported, and the operation that is tried.
OPERATIONS = {
    "numpy": ("numpy", _numpy),
    "pandas": ("pandas", _pandas),
    "torch": ("torch", _torch),
    "torchvision": ("torchvision", _torchvision),
    "torchaudio": ("torchaudio", _torchaudio),
    "tokenizers": ("tokenizers", _tokenizers),
    "sentencepiece": ("sentencepiece", _sentencepiece),
    "transformers": ("transformers", _transformers),
    "accelerate": ("accelerate", _accelerate),
    "peft": ("peft", _peft),
    "datasets": ("datasets", _datasets),
    "mlx": ("mlx.core", _mlx),
    "mlx-lm": ("mlx_lm.tuner.lora", _mlx_lm),
    "bitsandbytes": ("bitsandbytes", _bitsandbytes),
    "torchao": ("torchao.quantization", _torchao),
}
