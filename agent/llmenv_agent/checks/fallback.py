"""Does training run where it seems to: which operators fall back to the CPU, and is the process held back?

The six training checks are run again, each in a second process with PYTORCH_ENABLE_MPS_FALLBACK=1 and a few
steps, and what torch writes about operators that it moves to the CPU is counted by operator. Torch says it
once a process for all of them together; in those processes it is told to say it each time
(torch.set_warn_always), and Python not to drop what repeats. How those checks end there is no verdict here:
with so few steps their losses need not fall. Only MPS falls back silently, so elsewhere these cases are
skipped.

The other cases have one cause each: a Python that Rosetta translates, a torch that was built with MPS and
cannot use it (macOS too old for it, a sandbox, a session that is shown no Metal device, a virtual machine),
and a process of background quality of service, which macOS keeps on the efficiency cores. None of these
readings has run on a Mac yet.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from typing import TYPE_CHECKING, Any

from llmenv_probe.fallback_log import TRAINING_CHECKS, parse_fallbacks
from llmenv_probe.metal_view import MetalView, cause, needed_macos, read_metal
from llmenv_probe.process_state import quality_in_words, read_quality, read_translated

if TYPE_CHECKING:
    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 130
SUITES = ("full",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 1800
CASE_TIMEOUT_SECONDS = 600
PARAMETERS: "dict[str, Any]" = {}
TYPICAL_SECONDS = 1.2

FALLBACK = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}


def run(probe: Probe) -> None:
    for name in TRAINING_CHECKS:
        _run_case(probe, f"operators/{name}", lambda case, name=name: _operators(probe, case, name))
    _run_case(probe, "rosetta", lambda case: _rosetta(probe, case))
    _run_case(probe, "metal_device", lambda case: _metal_device(probe, case))
    _run_case(probe, "quality_of_service", _quality_of_service)
    if set(probe.case_statuses.values()) == {"skip"}:
        probe.skip("Nothing falls back to the CPU on {device}, and this is not macOS.", device=probe.device)


def run_counting(probe: Probe) -> None:
    """In a process that began with the fallback variable set: the training check that the parameters name."""
    import warnings

    import torch

    torch.set_warn_always(True)
    warnings.simplefilter("always")
    name = probe.parameters["training_check"]
    probe.check_path = probe.check_path.with_name(f"{name}.py")
    check = _load(probe)
    for package in check.REQUIRES:
        importlib.import_module(package)
    probe.parameters = {**check.PARAMETERS, **TRAINING_CHECKS[name]}
    check.run(probe)


def _run_case(probe: Probe, name: str, examine: Any) -> None:
    if not probe.is_completed(name):
        with probe.case(name) as case:
            examine(case)


def _load(probe: Probe) -> Any:
    """The check at the probe's path, as a module; at its top level it imports the standard library alone."""
    spec = importlib.util.spec_from_file_location("llmenv_training_check", probe.check_path)
    if spec is None or spec.loader is None or not probe.check_path.is_file():
        probe.error("There is no check {name} beside this one.", name=probe.check_path.stem)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _operators(probe: Probe, case: Case, name: str) -> None:
    if probe.device != "mps":
        case.skip("Only MPS falls back to the CPU silently; this ran on {device}.", device=probe.device)
    outcome = probe.run_in_second_process(
        "counting", environment=FALLBACK, parameters={"training_check": name}
    )
    counts = parse_fallbacks(outcome.log)
    case.fact("training_check_status", outcome.status)
    case.measure("fallback_operators", len(counts), "1", better="lower")
    case.measure("fallback_calls", sum(counts.values()), "1", better="lower")
    for operator, count in counts.items():
        case.fact("fallback_operator", f"{operator}: {count}")
    if counts:
        case.warn(
            "{operators} operators ran on the CPU {calls} times, {first} most often.",
            remedy="KI070",
            operators=len(counts),
            calls=sum(counts.values()),
            first=next(iter(counts)),
        )
    elif outcome.status in ("pass", "warn", "fail"):
        case.passed("No operator of {check} ran on the CPU.", check=name)
    else:
        case.error("{check} gave nothing to count: {message}", check=name, message=outcome.reason)


def _rosetta(probe: Probe, case: Case) -> None:
    if sys.platform != "darwin":
        case.skip("This is not macOS.")
    machine = platform.machine()
    case.fact("architecture", machine)
    if read_translated() or (probe.machine.is_apple_silicon and machine != "arm64"):
        case.fail("Rosetta translates this Python, which is built for {machine}.", "KI103", machine=machine)
    case.passed("This Python is built for {machine}, as the machine is.", machine=machine)


def _metal_device(probe: Probe, case: Case) -> None:
    if sys.platform != "darwin":
        case.skip("This is not macOS.")
    view = read_metal(is_virtual=probe.machine.is_virtual)
    case.fact("mps_built", view.is_built)
    case.fact("mps_available", view.is_available)
    case.fact("session_type", probe.surroundings.session_type or "unknown")
    _blame(case, view, probe.surroundings.session_type or "unknown")
    case.passed("torch {version} computes on the Metal device.", version=view.torch_version)


def _blame(case: Case, view: MetalView, session: str) -> None:
    """Fail with the cause, where there is one."""
    found = cause(view)
    if found == "rosetta":
        case.fail(
            "Rosetta translates this Python, which is built for {machine}.", "KI103", machine=view.machine
        )
    if found == "not built":
        case.fail("torch {version} was built without MPS.", "KI001", version=view.torch_version)
    if found == "macos":
        case.fail(
            "torch {version} has MPS from macOS {needed} on, and this is {macos}.",
            "KI004" if needed_macos(view.torch_version) < (14, 0) else "KI003",
            version=view.torch_version,
            needed=".".join(str(part) for part in needed_macos(view.torch_version)),
            macos=view.macos,
        )
    if found == "sandbox":
        case.fail("This process runs in a sandbox, which shows it no Metal device.", "KI002")
    if found == "refusal":
        case.fail(
            "MPS calls itself available and refuses an addition: {message}",
            "KI006" if view.is_virtual else "KI001",
            message=view.refusal,
        )
    if found == "session":
        case.fail(
            "No Metal device is shown to a process of this session ({session}).", "KI001", session=session
        )


def _quality_of_service(case: Case) -> None:
    if sys.platform != "darwin":
        case.skip("This is not macOS.")
    quality = quality_in_words(*read_quality())
    case.fact("quality_of_service", quality)
    if quality == "background":
        case.warn(
            "This process has the quality of service background: it runs on the efficiency cores alone.",
            remedy="KI091",
        )
    else:
        case.passed("The quality of service is {quality}, which may use all cores.", quality=quality)
