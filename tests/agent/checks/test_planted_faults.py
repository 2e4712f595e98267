"""Ten kinds of fault planted in the device under test: the right check fails, with the right reason.

What stands in for the device is in faulty_device.py; the float64 reference is out of its reach.
Beside them stands what a device lacks and does not hide: an operator, a data type.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_agent import runner
from llmenv_agent.definitions import read_definition
from llmenv_agent.targets import target_from

from .conftest import CheckRunner, Observed

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.training

PLANTED = """
    import importlib.util
    spec = importlib.util.spec_from_file_location("faulty_device", {path!r})
    faulty_device = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(faulty_device)
    faulty_device.break_device({fault!r}, *{operators!r})
"""


@pytest.fixture
def run_on_faulty_device(training_python: Path, tmp_path: Path) -> Callable[..., Observed]:
    """Runs a check on a device with a fault in some operators of ATen, each case for at most `seconds`."""

    def run(
        check: str, fault: str, operators: tuple[str, ...], parameters: dict[str, Any], seconds: float = 120
    ) -> Observed:
        module = str(Path(__file__).with_name("faulty_device.py"))
        planted = PLANTED.format(path=module, fault=fault, operators=operators)
        path = CheckRunner(training_python, tmp_path)._plant(check, planted)
        definition = dataclasses.replace(read_definition(path), case_timeout_seconds=seconds)
        target = target_from(str(training_python), variables={})
        return Observed(runner.run_check(definition, target=target, device="cpu", parameters=parameters))

    return run


@pytest.fixture
def ops_on(run_on_faulty_device: Callable[..., Observed]) -> Callable[..., Observed]:
    """Some rows of `ops` on such a device."""

    def run(fault: str, operators: tuple[str, ...], rows: dict[str, Any], seconds: float = 120) -> Observed:
        return run_on_faulty_device("ops", fault, operators, rows, seconds)

    return run


def reasons(observed: Observed) -> dict[str, str]:
    return {case.name: case.reason.text for case in observed.result.cases}


def test_wrong_gradient_with_a_right_forward_pass_fails(ops_on: Callable[..., Observed]) -> None:
    """The output of softmax is right and its gradient is ten per cent too large."""
    observed = ops_on("wrong_by_a_tenth", ("_softmax_backward_data",), {"operations": ["softmax"]})
    assert observed.status == "fail"
    # An empty batch has no gradient that could be wrong.
    assert {name for name, status in observed.cases.items() if status != "fail"} == {
        f"softmax/{dtype}/zero_size" for dtype in ("float32", "float16", "bfloat16")
    }
    assert reasons(observed)["softmax/float32/contiguous"].startswith(
        "gradient_1 is wrong in run 1: error 1.0e-01"
    )


def test_dropped_mask_fails(ops_on: Callable[..., Observed]) -> None:
    """Masked attention that sees everything is wrong; attention without a mask is right."""
    attention = (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
    )
    rows = {"operations": ["attention", "attention_boolean_mask"], "layouts": ["contiguous"]}
    observed = ops_on("mask_dropped", attention, rows)
    assert {name: status for name, status in observed.cases.items() if "float32" in name} == {
        "attention/float32/contiguous": "pass",
        "attention_boolean_mask/float32/contiguous": "fail",
    }
    assert reasons(observed)["attention_boolean_mask/float32/contiguous"].startswith(
        "output_1 is wrong in run 1"
    )


def test_nan_fails(ops_on: Callable[..., Observed]) -> None:
    """One NaN among 3,264 values is counted."""
    rows = {"operations": ["layer_norm"], "layouts": ["contiguous"], "dtypes": ["float32"]}
    observed = ops_on("one_nan", ("native_layer_norm",), rows)
    assert reasons(observed) == {
        "layer_norm/float32/contiguous": (
            "output_1 is wrongly NaN or infinite, or wrongly not, in run 1: 1 of 3264 values."
        )
    }


def test_stale_output_fails_in_the_second_run(ops_on: Callable[..., Observed]) -> None:
    """What the run before gave is right for its operands alone."""
    rows = {"operations": ["tanh"], "layouts": ["contiguous"], "dtypes": ["float32"]}
    observed = ops_on("stale", ("tanh",), rows)
    assert reasons(observed)["tanh/float32/contiguous"].startswith("output_1 is wrong in run 2")


def test_output_that_was_never_written_fails(ops_on: Callable[..., Observed]) -> None:
    """Whatever the memory held before, it is not the answer."""
    rows = {"operations": ["tanh"], "layouts": ["contiguous"]}
    observed = ops_on("untouched", ("tanh",), rows)
    assert set(observed.cases.values()) == {"fail"}


def test_operation_that_returns_nothing_fails(ops_on: Callable[..., Observed]) -> None:
    """It is wrong, and not a row that could not be run."""
    observed = ops_on(
        "nothing_returned", ("mm",), {"operations": ["mm"], "layouts": ["contiguous", "zero_size"]}
    )
    assert observed.status == "fail"
    assert set(observed.cases.values()) == {"fail"}
    assert all(reason.startswith("output_1 is missing in run 1: ") for reason in reasons(observed).values())


def test_loss_of_eight_bits_fails(ops_on: Callable[..., Observed]) -> None:
    """Of float32's 24 bits 16 are left, as where a kernel rounds to a smaller data type inside."""
    rows = {"operations": ["mm", "gelu"], "dtypes": ["float32"], "layouts": ["contiguous"]}
    observed = ops_on("eight_bits_lost", ("mm", "gelu"), rows)
    assert observed.cases == {"mm/float32/contiguous": "fail", "gelu/float32/contiguous": "fail"}
    assert "is wrong in run 1: error" in reasons(observed)["mm/float32/contiguous"]


def test_wrong_on_a_transposed_operand_fails(ops_on: Callable[..., Observed]) -> None:
    """Memory is read in another order than its strides say; contiguous operands are right."""
    rows = {"operations": ["silu"], "layouts": ["contiguous", "transposed"], "dtypes": ["float32"]}
    observed = ops_on("wrong_on_transposed", ("silu",), rows)
    assert observed.cases == {"silu/float32/contiguous": "pass", "silu/float32/transposed": "fail"}


def test_abort_costs_its_own_rows(ops_on: Callable[..., Observed]) -> None:
    """Each row that ends its process is a crash, and the rows after it run in a fresh one."""
    rows = {"operations": ["relu", "cumsum", "tanh"], "layouts": ["contiguous"], "dtypes": ["float32"]}
    observed = ops_on("aborting", ("cumsum",), rows)
    assert observed.cases == {
        "relu/float32/contiguous": "pass",
        "cumsum/float32/contiguous": "crash",
        "tanh/float32/contiguous": "pass",
    }
    assert observed.status == "crash"
    assert "SIGABRT" in reasons(observed)["cumsum/float32/contiguous"]


def test_hang_costs_its_own_row(ops_on: Callable[..., Observed]) -> None:
    """A row that never ends is a timeout, and the rows after it run in a fresh process."""
    rows = {"operations": ["cumsum", "tanh"], "layouts": ["contiguous"], "dtypes": ["float32"]}
    observed = ops_on("hanging", ("cumsum",), rows, seconds=20)
    assert observed.cases == {"cumsum/float32/contiguous": "timeout", "tanh/float32/contiguous": "pass"}
    assert observed.status == "timeout"
    assert reasons(observed)["cumsum/float32/contiguous"].startswith("Did not end within 20 s")


def test_leak_fails(run_on_faulty_device: Callable[..., Observed]) -> None:
    """Every product of a training is kept; the memory of the process grows with each step."""
    shorter = {"blocks": 8, "warmup_blocks": 3}
    observed = run_on_faulty_device("leak", "leaking", ("addmm", "mm"), shorter)
    assert observed.status == "fail"
    assert observed.cases["fixed_shape"] == "fail"
    assert reasons(observed)["fixed_shape"].startswith("process_memory grows by ")


def test_non_determinism_fails(run_on_faulty_device: Callable[..., Observed]) -> None:
    """The same seed gives other outputs, and trains to other weights here and in a second process."""
    observed = run_on_faulty_device("determinism", "non_deterministic", ("addmm", "mm"), {"steps": 3})
    assert observed.status == "fail"
    assert {"forward_repeats", "training_repeats", "second_process_repeats"} <= set(observed.unmet)


def test_missing_operator_is_a_warning_with_its_remedy(ops_on: Callable[..., Observed]) -> None:
    """The operator is named, and the catalogue says what to do."""
    rows = {"operations": ["tanh"], "layouts": ["contiguous"], "dtypes": ["float32"]}
    observed = ops_on("missing", ("tanh",), rows)
    case = observed.result.cases[0]
    assert (observed.status, case.reason.text) == ("warn", "The device has no aten::tanh.")
    assert case.remedy_id == observed.result.remedy_id == "KI069"
    assert [(fact.name, fact.text) for fact in case.facts] == [("operator_missing", "aten::tanh")]


def test_fallback_to_the_cpu_is_a_warning_in_every_case(ops_on: Callable[..., Observed]) -> None:
    """It computes right, so the error is there as well; not only the first case says so."""
    rows = {"operations": ["tanh"], "layouts": ["contiguous"], "dtypes": ["float32", "bfloat16"]}
    observed = ops_on("falling_back", ("tanh",), rows)
    assert observed.cases == {"tanh/float32/contiguous": "warn", "tanh/bfloat16/contiguous": "warn"}
    assert {case.reason.text for case in observed.result.cases} == {"aten::tanh ran on the CPU."}
    assert {case.remedy_id for case in observed.result.cases} == {"KI070"}
    assert all(case.facts[0].flag and case.measurements[0].value <= 1 for case in observed.result.cases)


def test_data_type_that_is_not_there_is_skipped(ops_on: Callable[..., Observed]) -> None:
    """With what torch said; the other data types are judged."""
    rows = {"operations": ["softmax"], "layouts": ["contiguous"]}
    observed = ops_on("without_half", ("_softmax",), rows)
    assert observed.cases == {
        "softmax/float32/contiguous": "pass",
        "softmax/float16/contiguous": "skip",
        "softmax/bfloat16/contiguous": "pass",
    }
    assert reasons(observed)["softmax/float16/contiguous"] == (
        "Not there for float16 on this device: \"softmax_lastdim_kernel_impl\" not implemented for 'Half'"
    )
