"""Is what this device computes right, operation by operation, with every gradient?

Each row of the table in llmenv_probe.operations is computed in its data types and memory layouts and compared
with float64 on the CPU from the same rounded operands: outputs, and the gradient of every operand that has
one.  A case is one operation in one data type and layout, written as it ends: one that aborts or hangs costs
its own row.

Every case runs twice, with other operands, over freed memory that was filled with a value that no right
result has, the second time after a large block was taken and freed.  A kernel that writes nothing, or reads
past its operand, may otherwise be right by what its memory held before (pytorch #193487 depended on that).

The bound of each row is the unit roundoff of its data type times a growth that the row states; reference.py
says how, and by which sources.  What only moves values, and whole numbers, must be equal.  TF32 is switched
off: it is a data type of its own.

An operator that the device lacks is a warning; so is one that ran on the CPU instead.  A data type that
the device or this torch lacks for an operation is skipped, with what it said.
"""

from __future__ import annotations

import difflib
import re
import warnings
from typing import TYPE_CHECKING, Any

from llmenv_probe import stale_memory
from llmenv_probe.evaluation import evaluate
from llmenv_probe.operations import table
from llmenv_probe.operations.layouts import LAYOUTS
from llmenv_probe.operations.operation import DTYPES
from llmenv_probe.reference import bound, deviation
from llmenv_probe.sentences import shortened

if TYPE_CHECKING:
    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.evaluation import Part
    from llmenv_agent.probe.operations.operation import Row

ORDER = 100
SUITES = ("full",)
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 900
CASE_TIMEOUT_SECONDS = 60
TYPICAL_SECONDS = 23
# Threads that wait for one another sleep: operations this small would spin away a busy machine.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
# All where None.
PARAMETERS = {"operations": None, "dtypes": None, "layouts": None}
ALLOWED = {"operations": "names", "dtypes": "names", "layouts": "names"}

RUNS = 2
# Beside its own data type an operand is held in float64, each with its gradient and an output of its size.
COPIES, REFERENCE_BYTES = 3, 8

MISSING_OPERATOR = re.compile(
    r"The operator '(aten::[\w.]+)' is not currently implemented for the \w+ device"
    r"|Could not run '(aten::[\w.]+)' with arguments from the"
)
FALLEN_BACK = re.compile(r"The operator '(aten::[\w.]+)' is not currently supported on the MPS backend")
# Where torch moved from one list of missing operators to another, by the number in its message.
OLD_LIST, OLD_REMEDY, REMEDY = "issues/77764", "KI068", "KI069"
UNSUPPORTED_DTYPE = re.compile(
    r"not implemented for '(?:Half|BFloat16|Long|Float)'"
    r"|BFloat16 is (?:not|only) supported|does not support .*(?:int64|[Bb][Ff]loat16|[Hh]alf)"
    r"|`?fused=True`? requires",
)


def run(probe: Probe) -> None:
    device = probe.accelerator.torch_device()
    _compute_plainly()
    for row in _chosen(probe):
        if not probe.is_completed(row.name):
            parameters = {"operation": row.operation.name, "dtype": row.dtype, "layout": row.layout}
            with probe.case(row.name, **parameters) as case:
                _examine(probe, case, row, device)


def _compute_plainly() -> None:
    """No TF32, and every warning each time: torch says only once in a process that something fell back."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_warn_always(True)


def _chosen(probe: Probe) -> "list[Row]":
    operations = {operation.name: operation for operation in table()}
    names = _names(probe, "operations", tuple(operations))
    dtypes, layouts = _names(probe, "dtypes", DTYPES), _names(probe, "layouts", LAYOUTS)
    rows = [row for name in names for row in operations[name].rows()]
    chosen = [row for row in rows if row.dtype in dtypes and row.layout in layouts]
    if not chosen:
        probe.error("None of these operations has this data type and layout; leave out a parameter.")
    return chosen


def _names(probe: Probe, parameter: str, known: "tuple[str, ...]") -> "tuple[str, ...]":
    """The names that a parameter asks for; an error that shows the closest for one that there is not."""
    asked = probe.parameters[parameter]
    if asked is None:
        return known
    for name in asked:
        if name not in known:
            probe.error(
                "{parameter} has no {name}; closest to it are {known}.",
                parameter=parameter,
                name=name,
                known=", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0)),
            )
    return tuple(asked)


def _examine(probe: Probe, case: Case, row: Row, device: Any) -> None:
    _require_memory(probe, case, row)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ratio = max(_run(probe, case, row, device, run) for run in range(RUNS))
        except (NotImplementedError, RuntimeError, TypeError) as raised:
            _judge_refusal(case, row, str(raised))
            if not case.status:
                raise
            return
    case.measure("error_ratio", ratio, "1", better="lower")
    _judge_fallback(case, [str(warning.message) for warning in caught])
    case.passed(
        "Right in {runs} runs: the largest error is {ratio:.2g} of its bound.", runs=RUNS, ratio=ratio
    )


def _require_memory(probe: Probe, case: Case, row: Row) -> None:
    item = {"float16": 2, "bfloat16": 2, "float32": 4}.get(row.dtype, 8)
    elements = row.elements()
    arithmetic = f"{elements:,} numbers, {COPIES} times in {item} and in {REFERENCE_BYTES} bytes"
    probe.require_memory(COPIES * elements * (item + REFERENCE_BYTES), arithmetic, findings=case)


def _run(probe: Probe, case: Case, row: Row, device: Any, run: int) -> float:
    """The largest error over its bound; ends the case at the first output or gradient that is wrong."""
    if run:
        stale_memory.churn(device=device)
    parts = evaluate(row, device=device, seed=probe.seed, run=run)
    return max(_judge(case, part, _limit(row), run=run + 1) for part in parts)


def _limit(row: Row) -> float:
    operation = row.operation
    if operation.limit is not None:
        return operation.limit
    return float(bound(row.dtype, roundings=operation.roundings, length=row.length))


def _judge(case: Case, part: Part, limit: float, *, run: int) -> float:
    """The part's error over its limit, where that is at most 1; else the case ends as `fail`."""
    if part.observed is None:
        case.fail(
            "{name} is missing in run {run}: the operation returned no tensor, expected shape {expected}.",
            name=part.name,
            run=run,
            expected=tuple(part.expected.shape),
        )
    if part.observed.shape != part.expected.shape:
        case.fail(
            "{name} has another shape in run {run}: {observed}, expected {expected}.",
            name=part.name,
            run=run,
            observed=tuple(part.observed.shape),
            expected=tuple(part.expected.shape),
        )
    found = deviation(part.observed, part.expected, stale=stale_memory.STALE)
    if found.untouched:
        template = "{name} was not written in run {run}: {count} of {total} values are what its memory held."
        case.fail(template, name=part.name, run=run, count=found.untouched, total=found.total)
    if found.not_finite:
        template = (
            "{name} is wrongly NaN or infinite, or wrongly not, in run {run}: {count} of {total} values."
        )
        case.fail(template, name=part.name, run=run, count=found.not_finite, total=found.total)
    ratio = found.error / limit if limit else (float("inf") if found.error else 0.0)
    if ratio > 1:
        case.measure("error_ratio", ratio, "1", better="lower")
        template = "{name} is wrong in run {run}: error {error:.1e} of its largest value, bound {bound:.1e}."
        case.fail(template, name=part.name, run=run, error=found.error, bound=limit)
    return ratio


def _judge_refusal(case: Case, row: Row, message: str) -> None:
    """Gives the case a verdict where the message says that an operator or a data type is missing."""
    missing = MISSING_OPERATOR.search(message)
    if missing:
        operator = missing.group(1) or missing.group(2)
        case.fact("operator_missing", operator)
        remedy = OLD_REMEDY if OLD_LIST in message else REMEDY
        case.warn("The device has no {operator}.", remedy=remedy, operator=operator)
    elif UNSUPPORTED_DTYPE.search(message):
        words = shortened(message, limit=200)
        case.skip("Not there for {dtype} on this device: {words}", dtype=row.dtype, words=words)


def _judge_fallback(case: Case, messages: "list[str]") -> None:
    operators = sorted({found.group(1) for found in map(FALLEN_BACK.search, messages) if found})
    case.fact("cpu_fallback", bool(operators))
    if operators:
        case.warn("{operator} ran on the CPU.", remedy="KI070", operator=", ".join(operators))
