"""canaries: each fails where its issue's own error is planted, and none on a machine that computes right."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.catalog import known_issues
from llmenv.catalog.texts import SENTENCES, tables
from llmenv_agent.check_process import PROBE
from llmenv_agent.probe.canaries.issues import ISSUES, WITHOUT_CANARY
from llmenv_agent.probe.canaries.table import CANARIES, PROVED

from . import canary_plants
from .canary_plants import PLANTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import CheckRunner

NAMES = [canary.name for canary in CANARIES]
LARGE = [canary.name for canary in CANARIES if canary.needed_bytes]
SILENT = [issue.id for issue in known_issues.catalogue().values() if issue.kind == "silent_wrong"]


@pytest.mark.parametrize("issue", ISSUES)
def test_issue_is_that_of_the_catalogue(issue: str) -> None:
    """The remedy that a canary names exists, and address and affected versions are said the same."""
    row = known_issues.find(issue)
    assert row is not None
    assert ISSUES[issue] == (row.url, row.affected)


@pytest.mark.parametrize("issue", ISSUES)
def test_what_is_affected_is_said_in_chinese(issue: str) -> None:
    """A report names versions and chips beside each canary, in its own language."""
    assert ISSUES[issue].affected in tables("zh")[SENTENCES]


@pytest.mark.parametrize("issue", SILENT)
def test_silent_error_has_a_canary_or_a_reason(issue: str) -> None:
    """Each issue of wrong numbers without an error has one of the two, and not both."""
    has_canary = issue in {canary.issue for canary in CANARIES}
    assert has_canary != (issue in WITHOUT_CANARY)


def test_every_canary_has_an_issue_and_a_plant() -> None:
    """A canary that was never seen to fail proves nothing."""
    assert len(NAMES) == len(set(NAMES))
    assert {canary.issue for canary in CANARIES} == set(ISSUES)
    assert {plant.canary for plant in PLANTS} == set(NAMES)


def test_no_canary_is_called_proved() -> None:
    """None has been run on hardware that its issue affects."""
    assert frozenset() == PROVED


@pytest.fixture(scope="module")
def planted_errors(training_python: Path) -> Mapping[str, Mapping[str, Any]]:
    """What all canaries observed without and with their plants, by the plant's name: one process for all."""
    command = [training_python, Path(canary_plants.__file__), PROBE.parent]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    return {row["plant"]: row for row in rows}


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.parametrize("plant", [f"{plant.canary}: {plant.error}" for plant in PLANTS])
def test_error_of_the_issue_is_seen(planted_errors: Mapping[str, Mapping[str, Any]], plant: str) -> None:
    """The canary is right without the plant; with it at least one of two repetitions is not."""
    row = planted_errors[plant]
    assert max(row["clean"]) <= row["bound"]
    assert max(row["planted"]) > row["bound"]


@pytest.mark.training
@pytest.mark.slow
def test_nothing_is_wrong_on_the_cpu(run_check: CheckRunner) -> None:
    """All small canaries pass, the CPU is not asked for the large ones, and each names its issue."""
    observed = run_check("canaries")
    assert observed.status == "pass", observed.reason
    assert observed.cases == {name: "skip" if name in LARGE else "pass" for name in NAMES}
    first = observed.result.cases[0]
    facts = {fact.name: getattr(fact, str(fact.WhichOneof("value"))) for fact in first.facts}
    assert facts["issue"] == "KI038"
    assert facts["issue_url"] == "https://github.com/pytorch/pytorch/issues/195163"
    assert facts["affected"].startswith("M1 and M2: bmm up to torch 2.14")
    assert facts["proved"] is False
    assert [len(case.measurements[0].trials) for case in observed.result.cases if case.measurements] == [
        3
    ] * (len(NAMES) - len(LARGE))


@pytest.mark.training
def test_reproduced_error_fails_with_its_remedy(run_check: CheckRunner) -> None:
    """A product over float32 that drops its last terms: the case fails, and the check names the issue."""
    planted = """
        import torch
        right = torch.bmm
        def bmm(a, b):
            return right(a, b) if a.dtype == torch.float64 else right(a[..., :32766], b[..., :32766, :])
        torch.bmm = bmm
    """
    observed = run_check(
        "canaries", {"only": ["bmm_inner_dimension", "addcmul"], "repetitions": 2}, planted=planted
    )
    assert observed.status == "fail"
    assert observed.cases == {"bmm_inner_dimension": "fail", "addcmul": "pass"}
    failed = observed.result.cases[0]
    assert failed.reason.text.startswith("Wrong 2 of 2 times, as in KI038: error ")
    assert (failed.remedy_id, observed.result.remedy_id) == ("KI038", "KI038")


@pytest.mark.training
def test_abort_costs_its_own_row(run_check: CheckRunner) -> None:
    """What the issue of the expanded input does: the process ends, and the next canary runs all the same."""
    planted = """
        import os, torch
        right = torch.nn.functional.linear
        torch.nn.functional.linear = lambda x, *rest: os.abort() if 0 in x.stride() else right(x, *rest)
    """
    only = ["linear_input_expanded", "addcmul"]
    observed = run_check("canaries", {"only": only, "repetitions": 1}, planted=planted)
    assert observed.cases == {"linear_input_expanded": "crash", "addcmul": "pass"}
    assert observed.status == "crash"


@pytest.mark.training
def test_reduced_precision_by_design_is_a_limitation(run_check: CheckRunner) -> None:
    """MLX multiplies in TF32 on some chips and means to: a warning with the remedy."""
    planted = """
        import mlx.core as mx
        right = mx.matmul
        mx.matmul = lambda a, b: right(a.astype(mx.bfloat16), b.astype(mx.bfloat16)).astype(mx.float32)
    """
    observed = run_check("canaries", {"only": ["mlx_single_precision"]}, planted=planted)
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI065")
    assert observed.cases == {"mlx_single_precision": "warn"}


@pytest.mark.training
def test_what_does_not_apply_is_skipped(run_check: CheckRunner) -> None:
    """No MLX, an operation that is missing, and gigabytes that are not there: each with its reason."""
    planted = """
        import importlib.util, torch
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "mlx" else find_spec(name, *rest)
        def missing(*operands, **options):
            raise NotImplementedError("The operator 'aten::addcmul' is not there\\nand more")
        torch.addcmul = missing
        probe.machine = probe.machine._replace(available_bytes=1_000_000_000)
    """
    only = ["mlx_rows_around_8", "addcmul", "fill_above_4_gb", "silu_not_contiguous"]
    observed = run_check("canaries", {"only": only, "large": "always", "repetitions": 1}, planted=planted)
    assert {case.name: case.reason.text for case in observed.result.cases if case.measurements == []} == {
        "addcmul": "Cannot be tried here: The operator 'aten::addcmul' is not there.",
        "mlx_rows_around_8": "MLX is not installed.",
        "fill_above_4_gb": "Does not fit: it needs 4.29 GB (2 x (2^31 + 5) bytes) and has 1.00 GB "
        "(available memory).",
    }
    assert observed.status == "pass"


GIGABYTE = 10**9
LARGE_ONES = ["matmul_zeros_times_ones", "fill_above_4_gb", "bmm_operand_of_2_32_elements"]
# Where a device is pretended, the sentence is all that is seen: the computation itself is left out.
ROOM = """
    global errors
    errors = lambda problem, bench, repetitions: [0.0]
    probe.device = {device!r}
    probe.accelerator.torch_device = lambda: __import__("torch").device("cpu")
    probe.machine = probe.machine._replace(available_bytes={room}, working_set_bytes={room})
"""


@pytest.mark.training
@pytest.mark.parametrize(
    ("large", "device", "gigabytes", "run"),
    [
        ("auto", "mps", 18, 2),
        ("auto", "mps", 104, 3),
        ("auto", "cpu", 104, 0),
        ("always", "cpu", 27, 3),
        ("never", "mps", 104, 0),
    ],
)
def test_large_ones_run_where_they_leave_enough(
    run_check: CheckRunner, large: str, device: str, gigabytes: int, run: int
) -> None:
    """By default up to a quarter of what is left, on an accelerator; else wherever they fit, or nowhere."""
    planted = ROOM.format(device=device, room=gigabytes * GIGABYTE)
    observed = run_check("canaries", {"only": LARGE_ONES, "large": large}, planted=planted)
    assert list(observed.cases.values()) == ["pass"] * run + ["skip"] * (3 - run)


@pytest.mark.training
def test_large_one_that_is_skipped_shows_the_arithmetic(run_check: CheckRunner) -> None:
    """What it takes, what is left, and how to have it all the same."""
    planted = ROOM.format(device="mps", room=12 * GIGABYTE)
    observed = run_check("canaries", {"only": "fill_above_4_gb"}, planted=planted)
    assert observed.result.cases[0].reason.text == (
        "It takes 4.29 GB (2 x (2^31 + 5) bytes), more than a quarter of the 12.00 GB that are left "
        "(available memory); with large=always it runs all the same."
    )


@pytest.mark.training
def test_unknown_canary_is_an_error(run_check: CheckRunner) -> None:
    """One sentence names it and those that are spelled alike; names in one text are parted by commas."""
    observed = run_check("canaries", {"only": "addcmul,addcmull"})
    assert observed.status == "error"
    assert observed.reason.startswith("There is no canary addcmull; closest to it are addcmul, ")
