"""Two machines with one hostname are two, in every section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report import compared_sides, period
from llmenv_collector.fleet_report.period import Period

from .conftest import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_collector.storage.store import Store


def names_in(message: Any) -> set[str]:
    """All hostnames of a message, in whatever rows they stand."""
    found = set()
    for field, value in message.ListFields():
        if field.name in {"hostname", "hostnames", "differing", "missing", "exposed", "reproduced"}:
            found |= {value} if isinstance(value, str) else set(value)
        elif field.message_type and field.is_repeated and not field.message_type.GetOptions().map_entry:
            found |= {name for row in value for name in names_in(row)}
    return found


@pytest.fixture
def twins(mac: Any, finding: Any) -> list[Any]:
    """Two that are called alike, and one that is not."""
    machines = [mac("studio"), mac("studio"), mac("mini")]
    for number, one in enumerate(machines):
        one.packages = {"torch": f"2.1{number}.0"}
        for day, status in enumerate(("pass", "fail", "pass", "fail"), 1):
            one.run(day, finding("ops", status))
    return machines


def called(machine: Any) -> str:
    return f"studio ({machine.id[:13]})"


def test_each_is_named_with_the_beginning_of_its_id(twins: list[Any], report_of: Callable[..., Any]) -> None:
    """One cause is of three machines, and no section has the bare name."""
    report = report_of()
    expected = {called(twins[0]), called(twins[1]), "mini"}
    (failing,) = report.findings
    assert set(failing.hostnames) == expected
    for section in ("health", "flaky", "verdict_changes", "drifts"):
        assert {name for row in getattr(report, section) for name in names_in(row)} <= expected, section
        assert getattr(report, section), section
    later = report_of(Period(since=100 * period.DAY_MICROSECONDS, as_of=101 * period.DAY_MICROSECONDS))
    assert names_in(later.coverage) == expected


def test_one_that_is_out_of_service_takes_no_name(twins: list[Any], report_of: Callable[..., Any]) -> None:
    """As the former installation of a Mac that was enrolled anew: it is not in the report."""
    without = Period(since=0, as_of=WHOLE.as_of, revoked=frozenset({twins[0].id}))
    assert set(report_of(without).findings[0].hostnames) == {"studio", "mini"}


def test_ids_of_one_millisecond_are_told_apart(mac: Any, finding: Any, report_of: Callable[..., Any]) -> None:
    """By the whole of them."""
    twins = [mac("studio"), mac("studio")]
    twins[1].machine.machine_id = twins[0].id[:-1] + ("0" if twins[0].id[-1] != "0" else "1")
    for one in twins:
        one.run(1, finding("ops", "fail"))
    assert set(report_of().findings[0].hostnames) == {f"studio ({one.id})" for one in twins}


def test_a_name_of_several_is_compared_by_id(twins: list[Any], store: Store) -> None:
    """The bare name is refused with how many have it; as the report writes it, it is one."""
    with store.reader() as connection:
        period.lay_out(connection, WHOLE)
        with pytest.raises(UsageError, match="names 2 machines"):
            compared_sides.named(connection, "studio")
        assert compared_sides.named(connection, called(twins[0])) == ("machine", twins[0].id)
