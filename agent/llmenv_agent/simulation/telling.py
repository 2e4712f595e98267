"""Tells the truth of a fleet: its plan in the terms that a report speaks in."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

from llmenv_agent.simulation.packages import versions_on
from llmenv_agent.simulation.suite import BY_NAME
from llmenv_agent.simulation.truth import (
    Change,
    ChangedMeasurement,
    TrueDrift,
    TrueFailure,
    TrueFlaky,
    TrueMachine,
    TrueOutlier,
    TrueRegression,
    TrueSilence,
    TrueStep,
    TrueThrottling,
    Truth,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_agent.simulation.effects import Failing, Regression
    from llmenv_agent.simulation.fleet import Fleet


def tell(fleet: Fleet) -> Truth:
    plan, names = fleet.plan, [machine.hostname for machine in fleet.machines]
    return Truth(
        seed=fleet.seed,
        begins_at=_moment(fleet, 0),
        ends_at=_moment(fleet, fleet.days),
        machines=tuple(_machines(fleet)),
        changes=tuple(_changes(fleet)),
        regressions=tuple(_regression(fleet, each) for each in plan.regressions),
        steps=tuple(
            TrueStep(
                hostname=names[each.machine],
                at=_moment(fleet, each.day),
                measurements=_changed(each.check, each.workload, each.factor),
            )
            for each in plan.steps
        ),
        redefinitions=tuple(
            TrueStep(
                hostname="", at=_moment(fleet, each.day), measurements=_changed_all(each.check, each.factor)
            )
            for each in plan.redefinitions
        ),
        outliers=tuple(
            TrueOutlier(hostname=names[each.machine], factor=each.factor) for each in plan.outliers
        ),
        drifts=tuple(
            TrueDrift(
                hostname=names[each.machine],
                since=_moment(fleet, each.from_day),
                loss_per_day=each.loss_per_day,
                most_lost=each.most_lost,
            )
            for each in plan.drifts
        ),
        throttling=tuple(
            TrueThrottling(hostname=names[each.machine], share=each.share, loss=each.loss)
            for each in plan.throttling
        ),
        flaky=tuple(
            TrueFlaky(hostname=names[each.machine], check=each.check, share=each.share) for each in plan.flaky
        ),
        failures=tuple(_failure(fleet, each) for each in plan.failing),
        silences=tuple(
            TrueSilence(hostname=names[each.machine], since=_moment(fleet, each.from_day))
            for each in plan.silences
        ),
        noise=dataclasses.asdict(plan.noise),
    )


def _moment(fleet: Fleet, day: float) -> str:
    return (fleet.begins_at + dt.timedelta(days=day)).isoformat(timespec="seconds")


def _machines(fleet: Fleet) -> Iterator[TrueMachine]:
    for machine in fleet.machines:
        yield TrueMachine(
            hostname=machine.hostname,
            machine_id=machine.id,
            chip=machine.model.chip,
            gpu_cores=machine.model.gpu_cores,
            memory_bytes=machine.memory_bytes,
            is_portable=machine.model.is_portable,
        )


def _changes(fleet: Fleet) -> Iterator[Change]:
    for machine in fleet.machines:
        for upgrade in fleet.upgrades(machine):
            yield Change(
                hostname=machine.hostname,
                at=_moment(fleet, upgrade.day),
                package=upgrade.package,
                former=upgrade.former,
                version=upgrade.version,
            )


def _regression(fleet: Fleet, planted: Regression) -> TrueRegression:
    return TrueRegression(
        package=planted.package,
        versions=planted.versions,
        chips=planted.chips,
        measurements=_changed(planted.check, planted.workload, planted.factor),
        hostnames=_with_versions(fleet, planted),
    )


def _failure(fleet: Fleet, planted: Failing) -> TrueFailure:
    return TrueFailure(
        package=planted.package,
        versions=planted.versions,
        chips=planted.chips,
        check=planted.check,
        remedy_id=planted.remedy_id,
        hostnames=_with_versions(fleet, planted),
    )


def _with_versions(fleet: Fleet, planted: Regression | Failing) -> tuple[str, ...]:
    """Machines of those chips that ever had one of those versions."""
    names = []
    for machine in fleet.machines:
        upgrades = fleet.upgrades(machine)
        had = {versions_on(upgrades, day)[planted.package] for day in (0, *(each.day for each in upgrades))}
        if had & set(planted.versions) and (not planted.chips or machine.model.chip in planted.chips):
            names.append(machine.hostname)
    return tuple(names)


def _changed(check: str, workload: str, factor: float) -> tuple[ChangedMeasurement, ...]:
    found = BY_NAME[check].workload(workload)
    return tuple(
        ChangedMeasurement(check=check, case=found.case, measurement=each.name, ratio=each.ratio(factor))
        for each in found.figures
    )


def _changed_all(check: str, factor: float) -> tuple[ChangedMeasurement, ...]:
    return tuple(
        changed for each in BY_NAME[check].workloads for changed in _changed(check, each.name, factor)
    )
