"""Versions in use against those wanted, and the spread where nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report.drift import rows_of
from llmenv_collector.fleet_report.inventory import Holding
from llmenv_collector.fleet_report.question import Pin, pins_of
from llmenv_collector.fleet_report.specifier import SpecifierError, clauses_of, satisfies

if TYPE_CHECKING:
    from collections.abc import Callable


def held(machine: str, environment: str = "train", **versions: str) -> Holding:
    return Holding(machine, f"mac-{machine}", "Apple M1", "15.3", environment, versions)


def test_pins_come_first_and_name_who_differs_and_who_lacks_it() -> None:
    """A machine differs when one of its environments does; what nobody pinned is the spread."""
    inventory = [
        held("a", torch="2.10.0", transformers="5.1.0"),
        held("b", torch="2.11.0", transformers="5.1.0"),
        held("b", "old", torch="2.9.0"),
        held("c", transformers="4.9.0"),
    ]
    torch, wanted_by_nobody, transformers = rows_of(inventory, [Pin("torch", ">=2.10"), Pin("left", "==1")])
    assert (torch.package, torch.wanted, dict(torch.versions)) == (
        "torch",
        ">=2.10",
        {"2.10.0": 1, "2.11.0": 1, "2.9.0": 1},
    )
    assert (list(torch.differing), list(torch.missing)) == (["mac-b"], ["mac-c"])
    assert (wanted_by_nobody.package, list(wanted_by_nobody.missing)) == ("left", ["mac-a", "mac-b", "mac-c"])
    assert (transformers.package, transformers.wanted) == ("transformers", "")
    assert (list(transformers.differing), list(transformers.missing)) == (["mac-c"], [])


def test_of_equally_frequent_versions_the_newest_is_the_usual_one() -> None:
    (row,) = rows_of([held("a", torch="2.9.0"), held("b", torch="2.10.0")], [])
    assert list(row.differing) == ["mac-a"]


def test_what_machines_have_now_counts(mac: Any, report_of: Callable[..., Any]) -> None:
    machine = mac("a")
    machine.run(1)
    machine.packages = {"torch": "2.14.0"}
    machine.run(2)
    (row,) = report_of().drifts
    assert (row.package, dict(row.versions)) == ("torch", {"2.14.0": 1})
    (row,) = report_of(pins=(Pin("torch", "==2.13.*"),)).drifts
    assert list(row.differing) == ["a"]


@pytest.mark.parametrize(
    ("pins", "sentence"),
    [
        (
            [("torch", "2.10")],
            "The pin of torch cannot be used: '2.10' is no clause such as ==2.10.0 or >=5.",
        ),
        ([("torch", ">=x")], "The pin of torch cannot be used: 'x' is not a version."),
        ([("torch", "==1"), ("Torch", "==2")], "torch is pinned twice."),
        ([("to rch", "==1")], "'to rch' is not the name of a package."),
    ],
)
def test_a_pin_that_cannot_be_used_is_refused(pins: list[tuple[str, str]], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        pins_of([messages.Pin(package=name, specifier=specifier) for name, specifier in pins])
    assert str(refused.value) == sentence


def test_what_a_requirement_leaves_open_pins_nothing() -> None:
    assert pins_of([messages.Pin(package="torch", specifier=" ")]) == ()


VERSIONS = (
    "2.9.0", "2.10", "2.10.0", "2.10.0+cpu", "2.10.0.post1", "2.10.0rc1", "2.10.0a2.dev3", "2.10.0.dev1",
    "2.10.1",    "2.11.0", "3", "1.0.0", "v2.10.0", "2.10.0-1", "2.10.0.post1.dev2",
)  # fmt: skip
SPECIFIERS = (
    "==2.10.0", "==2.10", "==2.10.*", "!=2.10.*", "!=2.10.0", ">=2.10", "<=2.10", ">2.10", "<2.10", "~=2.10",
    "~=2.10.0", ">=2.9,<2.11", "==2.10.0+cpu", "===2.10.0", ">2.10.0rc1", "<2.10.0rc1", ">=2.10.0rc1",
    "<3,!=2.10.1",    ">2.10.0.post0", "<2.10.0.post1",
)  # fmt: skip


@pytest.mark.parametrize("specifier", SPECIFIERS)
def test_specifiers_mean_what_packaging_says(specifier: str) -> None:
    """The library that defines them is not a dependency, but the oracle."""
    packaging = pytest.importorskip("packaging.specifiers")
    wanted = packaging.SpecifierSet(specifier)
    assert {version: wanted.contains(version, prereleases=True) for version in VERSIONS} == {
        version: satisfies(version, specifier) for version in VERSIONS
    }


def test_what_is_no_version_satisfies_nothing() -> None:
    assert not satisfies("unknown", ">=0")
    with pytest.raises(SpecifierError):
        clauses_of(">=2.*")
