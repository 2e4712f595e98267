"""A check is flaky when its verdict changes although nothing that is known did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_verdict_that_goes_to_and_fro_is_flaky(
    mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """One that stays is not, and what was skipped is no verdict."""
    machine = mac("a")
    for day, status in enumerate(("pass", "fail", "skip", "fail", "pass", "warn")):
        machine.run(day + 1, finding("peft_lora", status), finding("torch_basics"))
    (row,) = report_of().flaky
    assert (row.hostname, row.environment_name, row.device) == ("a", "train", "mps")
    assert (row.check_name, row.changes, row.results) == ("peft_lora", 3, 5)
    assert dict(row.status_counts) == {"pass": 2, "fail": 2, "warn": 1}


def test_what_changed_with_something_is_not_flaky(
    mac: Any, finding: Any, report_of: Callable[..., Any]
) -> None:
    """Another package, build, definition, parameter, device or machine explains another verdict."""
    machine = mac("a")
    machine.run(1, finding("upgraded"), finding("redefined"), finding("asked"), finding("moved"))
    other = mac("b")
    other.run(1, finding("upgraded", "fail"))
    redefined, asked = finding("redefined", "fail"), finding("asked", "fail")
    redefined.definition_hash = "d2"
    asked.parameters_json = '{"steps": 2}'
    machine.run(2, redefined, asked)
    machine.run(3, finding("moved", "fail"), device="cpu")
    machine.packages["torch"] = "2.14.0"
    machine.run(4, finding("upgraded", "fail"))
    machine.machine.os_build = "25A1"
    machine.run(5, finding("upgraded"))
    assert not report_of().flaky
    machine.run(6, finding("upgraded", "fail"))
    (row,) = report_of().flaky
    assert (row.check_name, row.changes, row.results) == ("upgraded", 1, 2)


def test_the_most_fickle_comes_first(mac: Any, finding: Any, report_of: Callable[..., Any]) -> None:
    """Also over machines."""
    for hostname, fickle in (("a", "ppfppp"), ("b", "pfpfpf")):
        machine = mac(hostname)
        for day, letter in enumerate(fickle):
            machine.run(day + 1, finding("ops", "fail" if letter == "f" else "pass"))
    assert [(row.hostname, row.changes) for row in report_of().flaky] == [("b", 5), ("a", 2)]
