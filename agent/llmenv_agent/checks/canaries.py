"""Which known silent errors of MPS and MLX does this machine reproduce?

Each case is one canary: the computation of a public issue in which somebody got wrong numbers without an
error, against float64 on the CPU. It is repeated, first with a fresh allocator and then after freed memory
was filled with numbers that are not zero, since several of these kernels read behind their operands. Where
operands can be small whole numbers the right answer is exact and must be met exactly; elsewhere the bound is
a few roundings to TF32 or BF16, the coarsest that a device may compute in (eight unit roundoffs of TF32 are
3.9e-3, four of BF16 1.6e-2), where the issues report errors of a hundredth and more.

`pass` says that the error did not appear in these repetitions, not that it cannot: some depend on what was
allocated before, one appears once in hundreds of thousands of sums. No canary has been seen to fail on
hardware that its issue affects: each carries the fact whether it is proved, and so far none is.

Six take more than a gigabyte, among them tensors of more than 4 GiB, which abort the process on some
versions. They run on an accelerator where they take at most a quarter of the memory that is left, so that
whoever works there keeps the rest: 4.5 GB are tried on a Mac with 18 GB left, all six with 104. The parameter
`large` has them run wherever they fit at all, on the CPU too (`always`), or nowhere (`never`). `only` names
the cases to run.
"""

from __future__ import annotations

import difflib
import importlib.util
from typing import TYPE_CHECKING, Any

from llmenv_probe.canaries.canary import Canary, NotOffered, Workbench, errors
from llmenv_probe.canaries.issues import ISSUES
from llmenv_probe.canaries.table import CANARIES, PROVED

if TYPE_CHECKING:
    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

ORDER = 120
SUITES = ("full",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 1200
CASE_TIMEOUT_SECONDS = 300
PARAMETERS: "dict[str, Any]" = {"large": "auto", "repetitions": 3, "only": None}
ALLOWED = {"large": "auto | always | never", "repetitions": "1..1000", "only": "names"}
TYPICAL_SECONDS = 10

SHARE_OF_ROOM = 0.25

# What a torch or an MLX says where it lacks an operation, an argument or a dtype.
NOT_OFFERED = (NotOffered, NotImplementedError, TypeError)


def run(probe: Probe) -> None:
    import torch

    device = probe.accelerator.torch_device()
    probe.fact("device", str(device))
    probe.fact("torch_version", torch.__version__)
    for canary in _chosen(probe):
        if not probe.is_completed(canary.name):
            with probe.case(canary.name, repetitions=probe.parameters["repetitions"]) as case:
                _describe(case, canary)
                _examine(probe, case, canary, device)


def _chosen(probe: Probe) -> "list[Canary]":
    known = [canary.name for canary in CANARIES]
    only = probe.parameters["only"] or known
    for name in only:
        if name not in known:
            closest = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0))
            probe.error("There is no canary {name}; closest to it are {known}.", name=name, known=closest)
    return [canary for canary in CANARIES if canary.name in only]


def _describe(case: Case, canary: Canary) -> None:
    case.fact("issue", canary.issue)
    case.fact("issue_url", ISSUES[canary.issue].url)
    case.fact("affected", ISSUES[canary.issue].affected)
    case.fact("proved", canary.name in PROVED)


def _examine(probe: Probe, case: Case, canary: Canary, device: Any) -> None:
    _require(probe, case, canary)
    bench = Workbench(device, probe.seed)
    try:
        problem = canary.build(bench)
        found = errors(problem, bench, repetitions=probe.parameters["repetitions"])
    except NOT_OFFERED as refusal:
        case.skip("Cannot be tried here: {message}.", message=str(refusal).partition("\n")[0][:200])
    _judge(case, canary, found, problem.bound)


def _require(probe: Probe, case: Case, canary: Canary) -> None:
    if canary.library == "mlx" and importlib.util.find_spec("mlx") is None:
        case.skip("MLX is not installed.")
    if canary.needed_bytes:
        probe.require_memory(canary.needed_bytes, canary.arithmetic, findings=case)
        _require_wish(probe, case, canary)


def _require_wish(probe: Probe, case: Case, canary: Canary) -> None:
    """Of what would fit: whether it is wanted, and by default whether it leaves enough to others."""
    large = probe.parameters["large"]
    takes = {"needed": canary.needed_bytes / 1e9, "arithmetic": canary.arithmetic}
    if large == "never":
        case.skip("It takes {needed:.2f} GB ({arithmetic}), and large is never.", **takes)
    if large == "auto" and probe.device == "cpu":
        case.skip(
            "It takes {needed:.2f} GB ({arithmetic}), which the CPU is asked for with large=always alone.",
            **takes,
        )
    room, source = probe.memory_room()
    if large == "auto" and room is not None and canary.needed_bytes > SHARE_OF_ROOM * room:
        case.skip(
            "It takes {needed:.2f} GB ({arithmetic}), more than a quarter of the {room:.2f} GB that are left "
            "({source}); with large=always it runs all the same.",
            room=room / 1e9,
            source=source,
            **takes,
        )


def _judge(case: Case, canary: Canary, found: "list[float]", bound: float) -> None:
    wrong = sum(error > bound for error in found)
    values = {
        "error": case.measure("relative_error", max(found), "1", better="lower", trials=found),
        "bound": bound,
        "repetitions": len(found),
    }
    if not wrong:
        case.passed("Right {repetitions} times: error {error:.1e}, allowed {bound:.1e}.", **values)
    elif canary.is_by_design:
        case.warn(
            "Less exact than the format, as the library means it: error {error:.1e}, {bound:.1e} in full "
            "precision.",
            remedy=canary.issue,
            **{name: values[name] for name in ("error", "bound")},
        )
    else:
        case.fail(
            "Wrong {wrong} of {repetitions} times, as in {issue}: error {error:.1e}, allowed {bound:.1e}.",
            remedy=canary.issue,
            wrong=wrong,
            issue=canary.issue,
            **values,
        )
