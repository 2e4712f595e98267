"""mlx_distributed: two processes agree on the right answer, and a ring that fails or hangs is ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner

pytestmark = pytest.mark.training

# A rank that keeps its own numbers, ranks exchanged, and gradients that nobody averages.
FAULTS = {
    "all_sum": """
right = mx.distributed.all_sum
mx.distributed.all_sum = lambda x, **options: right(x, **options) if x.shape != (1000,) else x
""",
    "all_gather": """
right = mx.distributed.all_gather
mx.distributed.all_gather = lambda x, **options: right(x, **options)[::-1]
""",
    "average_gradient": "average_gradients = lambda gradient, group: gradient",
}


def planted_rank(code: str) -> str:
    """A fault in what each rank runs, after its imports."""
    return f"""
        global RANK_PROGRAM
        head, mark, tail = RANK_PROGRAM.partition("request = json")
        RANK_PROGRAM = head + {code!r} + chr(10) + mark + tail
    """


def test_two_processes_agree_with_one(run_check: CheckRunner) -> None:
    """Sums and gathers are exact on both ranks, and the averaged gradient is the whole batch's."""
    observed = run_check("mlx_distributed")
    assert observed.status == "pass", observed.reason
    assert observed.met == ["ranks", "all_sum", "all_gather", "average_gradient"]
    assert 0 <= observed.measured["gradient_error"] < 1e-5
    assert observed.measured["ring_seconds"] > 0


@pytest.mark.parametrize("unmet", FAULTS)
def test_wrong_communication_fails(run_check: CheckRunner, unmet: str) -> None:
    """Each operation is judged by its own right answer."""
    observed = run_check("mlx_distributed", planted=planted_rank(FAULTS[unmet]))
    assert (observed.status, observed.unmet) == ("fail", [unmet]), observed.reason


def test_ring_of_one_is_no_ring(run_check: CheckRunner) -> None:
    """A group that quietly has one member sums nothing: its size shows it."""
    code = "init = mx.distributed.init\nmx.distributed.init = lambda **options: init(backend='any')"
    planted = planted_rank("import os\ndel os.environ['MLX_RANK']\n" + code)
    assert run_check("mlx_distributed", planted=planted).unmet[0] == "ranks"


def test_rank_that_fails_ends_the_other(run_check: CheckRunner) -> None:
    """Its last words are the reason, and nobody waits for the ring's deadline of 120 s."""
    code = "import os\nif os.environ['MLX_RANK'] == '1': raise OSError('no route to the ring.')"
    observed = run_check("mlx_distributed", planted=planted_rank(code))
    assert (observed.status, observed.reason) == (
        "error",
        "The ring ended at rank 1: OSError: no route to the ring.",
    )
    assert observed.result.wall_seconds < 120


def test_ring_that_hangs_is_ended(run_check: CheckRunner) -> None:
    """Rank 0 waits for ever for a rank 1 that never comes."""
    code = "import os, time\nif os.environ['MLX_RANK'] == '1': time.sleep(600)"
    observed = run_check("mlx_distributed", brief={"ring_seconds": 3}, planted=planted_rank(code))
    assert (observed.status, observed.reason) == (
        "error",
        "The ring did not end within 3 s: its ranks wait for each other.",
    )


def test_build_without_communication_is_skipped(run_check: CheckRunner) -> None:
    """What the build does not have does not apply."""
    planted = """
        import mlx.core as mx
        mx.distributed.is_available = lambda: False
    """
    observed = run_check("mlx_distributed", planted=planted)
    assert (observed.status, observed.reason) == (
        "skip",
        "This build of MLX has no distributed communication.",
    )


def test_absent_mlx_is_skipped_away_from_apple_silicon(run_check_without_packages: CheckRunner) -> None:
    """Without MLX the question does not apply here; on a Mac it is an error that names MLX."""
    assert run_check_without_packages("mlx_distributed").status == "skip"
    planted = """
        import platform
        platform.system, platform.machine = lambda: "Darwin", lambda: "arm64"
    """
    observed = run_check_without_packages("mlx_distributed", planted=planted)
    assert (observed.status, observed.result.error.missing) == ("error", "mlx")
