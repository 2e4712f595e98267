"""Machines that are called alike are told apart in lists for people; programs have the id beside the name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.machine_names import machine_names
from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = "019c6120-1111-7000-8000-000000000001"
SOON_AFTER = "019c6120-1112-7000-8000-000000000002"
AT_ONCE = "019c6120-1111-7000-8000-000000000003"


def test_the_beginning_of_the_id_stands_behind_a_name_of_several() -> None:
    """The whole of it where several began in one millisecond; one machine in many rows is one."""
    assert machine_names([(ONE, "studio"), (SOON_AFTER, "mini"), (ONE, "studio")]) == {}
    assert machine_names([(ONE, "studio"), (SOON_AFTER, "studio"), (AT_ONCE, "mini")]) == {
        ONE: "studio (019c6120-1111)",
        SOON_AFTER: "studio (019c6120-1112)",
    }
    assert machine_names([(ONE, "studio"), (AT_ONCE, "studio")]) == {
        ONE: f"studio ({ONE})",
        AT_ONCE: f"studio ({AT_ONCE})",
    }


@pytest.mark.parametrize("columns", [80, 120])
def test_runs_of_two_that_are_called_alike(
    llmenv: Callable[..., Any], logged_in: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Each row says whose it is, within the width of the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    logged_in.servicer.machine_ids = (ONE, SOON_AFTER)
    lines = llmenv("run", "list").out.splitlines()
    assert max(map(cell_len, lines)) <= columns
    said = llmenv("run", "list", "--format", "md").out
    assert all(f"({one[:13]})" in said for one in (ONE, SOON_AFTER))
    read = json.loads(llmenv("run", "list", "--format", "json").out)
    assert [row["machine_id"] for row in read] == [ONE, SOON_AFTER]
    assert {row["hostname"] for row in read} == {"mac-studio-3"}
