"""Can this environment quantize a model, and on which device?

Dynamic int8 quantization runs where it exists, on the CPU (engine qnnpack on a Mac, KI074). TinyNet has
four linear layers and all must be converted; on GPT-2 the obvious call, quantize_dynamic(model,
{nn.Linear}), converts one of 49, the output layer, since all else is Conv1D: the count is a fact. Outputs
are compared with the float model's: a relative error of at most 0.1 (two roundings to 8 bits are 2 x 1/127
a term; five times that would be wrong). Without torch.ao.quantization, which torch says it will remove,
torchao does the same.

On the device itself `quantize_per_tensor` is called. Where it is missing, as on MPS (KI072), the error is
classified and the often-named remedy is tried: PYTORCH_ENABLE_MPS_FALLBACK=1 in a second process, set
before torch is imported. Whether it helped is what that process saw; on MPS `aten::empty_quantized` was
seen to fail next (KI073).
"""

from __future__ import annotations

import copy
import importlib.util
import platform
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_agent.probe.context import Probe

ORDER = 60
SUITES = ("quick", "full")
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 300
TYPICAL_SECONDS = 4
# `operator_device`, where given, is where the operator is called in place of the check's own device.
PARAMETERS = {"operator_device": None}
ALLOWED = {"operator_device": "cpu | cuda | mps | meta"}

FALLBACK = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
ERROR_BOUND = 0.1
OPERATOR = re.compile(r"aten::\w+")
NEXT_MISSING = "aten::empty_quantized"


def run(probe: Probe) -> None:
    import torch

    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    probe.fact("torch_version", torch.__version__)
    quantize, api = _choose_quantization(probe)
    _quantize_tinynet(probe, quantize)
    converted = total = 0
    if importlib.util.find_spec("transformers") is not None:
        converted, total = _quantize_gpt2(probe, quantize)
    if not _operator_works(probe):
        return
    if total:
        probe.passed(
            "Dynamic quantization with {api} works on the CPU, where it converts {converted} of GPT-2's "
            "{total} modules with weights; quantize_per_tensor works on {device}.",
            api=api,
            converted=converted,
            total=total,
            device=device,
        )
    else:
        probe.passed(
            "Dynamic quantization with {api} works on the CPU, and quantize_per_tensor on {device}.",
            api=api,
            device=device,
        )


def run_fallback(probe: Probe) -> None:
    """In a process that began with the fallback variable set."""
    _call_operator(probe)
    probe.passed("With the fallback variable the operator works.")


def _choose_quantization(probe: Probe) -> "tuple[Callable[[Any], Any], str]":
    """A function that quantizes a model's linear layers in place, and the name of what does it."""
    import torch

    has_eager = importlib.util.find_spec("torch.ao.quantization") is not None
    probe.fact("has_torch_ao_quantization", has_eager)
    if has_eager:
        _choose_engine(probe, torch.backends.quantized)
        return _with_torch_ao, "torch.ao.quantization"
    if importlib.util.find_spec("torchao") is None:
        probe.skip("This torch has no torch.ao.quantization any more, and torchao is not installed.")
    return _with_torchao, "torchao"


def _choose_engine(probe: Probe, backend: Any) -> None:
    engines = [str(engine) for engine in backend.supported_engines]
    probe.fact("supported_engines", ", ".join(engines))
    if platform.system() == "Darwin" and "qnnpack" in engines:
        backend.engine = "qnnpack"
    probe.fact("engine", str(backend.engine))


def _with_torch_ao(model: Any) -> Any:
    from torch import nn
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(model, {nn.Linear}, inplace=True)


def _with_torchao(model: Any) -> Any:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def _quantize_tinynet(probe: Probe, quantize: "Callable[[Any], Any]") -> None:
    import torch
    from torch import nn

    torch.manual_seed(probe.seed)
    sizes = (128, 256, 128, 64)
    hidden = [
        layer for wide, narrow in zip(sizes, sizes[1:]) for layer in (nn.Linear(wide, narrow), nn.ReLU())
    ]
    network = nn.Sequential(*hidden, nn.Linear(64, 10))
    inputs = torch.randn(32, 128)
    converted, linear, error = _quantize(network, quantize, lambda model: model(inputs))
    _record(probe, "tinynet", converted, linear, error)
    probe.expect("tinynet_converted", converted == 4, "4 of 4 linear layers", f"{converted} of {linear}")


def _quantize_gpt2(probe: Probe, quantize: "Callable[[Any], Any]") -> "tuple[int, int]":
    """Modules converted, of how many.

    GPT-2's module structure at a tenth of its width: what is converted depends on the structure alone.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(probe.seed)
    model = GPT2LMHeadModel(GPT2Config(n_embd=72)).eval()
    ids = torch.arange(1, 9)[None]
    converted, total, error = _quantize(model, quantize, lambda model: model(ids).logits)
    _record(probe, "gpt2", converted, total, error)
    return converted, total


def _quantize(
    model: Any, quantize: "Callable[[Any], Any]", outputs: "Callable[[Any], Any]"
) -> "tuple[int, int, float]":
    """Modules converted, modules that multiply by a weight matrix, and the relative error of the outputs."""
    import torch

    before = {name: _kind(module) for name, module in model.named_modules() if _multiplies(module)}
    with torch.no_grad():
        reference = outputs(model)
        quantized = quantize(copy.deepcopy(model))
        error = ((outputs(quantized) - reference).abs().max() / reference.abs().max()).item()
    after = {name: _kind(module) for name, module in quantized.named_modules() if name in before}
    return sum(after[name] != kind for name, kind in before.items()), len(before), error


def _multiplies(module: Any) -> bool:
    return type(module).__name__ in {"Linear", "Conv1D"}


def _kind(module: Any) -> "tuple[type, type]":
    """torch.ao replaces a module's class, torchao that of its weight."""
    return type(module), type(getattr(module, "weight", None))


def _record(probe: Probe, name: str, converted: int, total: int, error: float) -> None:
    probe.measure(name + "_converted_modules", converted, "1")
    probe.measure(name + "_modules_with_weights", total, "1")
    probe.measure(name + "_quantization_error", error, "1", better="lower")
    bound = f"relative error <= {ERROR_BOUND}"
    probe.expect(
        name + "_outputs",
        error <= ERROR_BOUND,
        bound,
        f"{error:.2e}",
        "two roundings to 8 bits a term, times five",
    )


def _call_operator(probe: Probe) -> None:
    import torch

    values = torch.tensor([0.0, 0.5, 1.0], device=probe.parameters["operator_device"] or probe.device)
    restored = torch.quantize_per_tensor(values, scale=0.1, zero_point=0, dtype=torch.quint8).dequantize()
    observed = [round(value, 4) for value in restored.cpu().tolist()]
    probe.expect("operator_rounds", observed == [0.0, 0.5, 1.0], "[0.0, 0.5, 1.0]", observed)


def _operator_works(probe: Probe) -> bool:
    """Whether the device has the operator; where it has not, warns with what the fallback variable does."""
    try:
        _call_operator(probe)
    except NotImplementedError as refusal:
        operator = _operator_in(str(refusal))
        probe.fact("operator_on_device", "missing")
        probe.fact("missing_operator", operator)
        probe.fact("operator_error", str(refusal).splitlines()[0])
        _try_fallback(probe, operator)
        return False
    probe.fact("operator_on_device", "works")
    return True


def _operator_in(message: str) -> str:
    """The first operator that torch's message names."""
    found = OPERATOR.search(message)
    return found[0] if found else "the operator"


def _try_fallback(probe: Probe, operator: str) -> None:
    device = probe.parameters["operator_device"] or probe.device
    outcome = probe.run_in_second_process("fallback", environment=FALLBACK)
    probe.fact("fallback_status", outcome.status)
    probe.fact("fallback_helps", outcome.status == "pass")
    if outcome.status == "pass":
        probe.warn(
            "Quantization works on the CPU; {device} has no {operator}, and with "
            "PYTORCH_ENABLE_MPS_FALLBACK=1 it runs.",
            remedy="KI069",
            device=device,
            operator=operator,
        )
        return
    probe.fact("fallback_error", (outcome.message or outcome.reason).splitlines()[0])
    probe.warn(
        "Quantization works on the CPU alone: {device} has no {operator}, and "
        "PYTORCH_ENABLE_MPS_FALLBACK=1 did not help.",
        remedy="KI073" if _operator_in(outcome.message) == NEXT_MISSING else "KI072",
        device=device,
        operator=operator,
    )
