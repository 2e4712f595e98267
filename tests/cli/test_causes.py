"""When a change is named as the cause of another one."""

from __future__ import annotations

import pytest
from llmenv.fleet.v1.fleet_report_pb2 import CauseRow
from llmenv_cli.render.fleet.causes import explains


@pytest.mark.parametrize(
    ("got_it", "others", "is_named"),
    [
        pytest.param((5, 6), (0, 4), True, id="those-with-it-and-no-other"),
        pytest.param((5, 6), (5, 6), False, id="others-as-often"),
        pytest.param((5, 5), (0, 0), False, id="every-machine-got-it"),
        pytest.param((1, 1), (0, 9), False, id="one-machine-alone"),
        pytest.param((2, 9), (0, 9), False, id="few-of-those-with-it"),
    ],
)
def test_a_cause_is_named_where_machines_without_it_tell_it_apart(
    got_it: tuple[int, int], others: tuple[int, int], is_named: bool
) -> None:
    """Pairs are changed, of so many."""
    row = CauseRow(
        changed_with=got_it[0],
        machines_with=got_it[1],
        changed_without=others[0],
        machines_without=others[1],
    )
    assert explains(row) is is_named
