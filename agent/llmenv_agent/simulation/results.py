"""A result of a played check, as the message that the agent makes of the real one."""

from __future__ import annotations

import functools
import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2

from llmenv_agent.probe.trials import Series
from llmenv_agent.simulation import noise
from llmenv_agent.simulation.quick_checks import DEVICE
from llmenv_agent.simulation.suite import BY_NAME
from llmenv_agent.simulation.workloads import Requirement, ValueOf, VersionOf
from llmenv_agent.verdict import spoken

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

    from llmenv.catalog.chips import ChipVariant

    from llmenv_agent.simulation.circumstances import Circumstances
    from llmenv_agent.simulation.noise import Noise
    from llmenv_agent.simulation.workloads import CaseRow, Figure, PlayedCheck, Words, Workload

_STABILITY = {
    None: result_pb2.STABILITY_UNSPECIFIED,
    "stable": result_pb2.STABILITY_STABLE,
    "unstable": result_pb2.STABILITY_UNSTABLE,
    "declining": result_pb2.STABILITY_DECLINING,
}
_MOST_STABLE = 0.05
"""A series whose trials lie within this share of their median is called stable without the full judgement."""
_FAILED = "{name}: expected {expected}, observed {observed}."


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a run has in common for all its checks; `speeds` by check and workload."""

    variant: ChipVariant
    versions: Mapping[str, str]
    """Of all packages."""
    speeds: Mapping[tuple[str, str], float]
    circumstances: Circumstances
    noise: Noise
    draw: random.Random


def play(check: PlayedCheck, scene: Scene, failed: Requirement | None = None) -> result_pb2.Result:
    """The verdict with its figures; ids, times, conditions and definition are the caller's."""
    result = result_pb2.Result()
    result.CopyFrom(_unchanging(check.name))
    measured = _measurements(check, scene, with_speeds=failed is None)
    own = measured.get("", [])
    result.measurements.extend(own)
    result.expectations.extend(_expectations(check, own, failed))
    result.facts.extend(_facts(_version_facts(check, scene)))
    for row in check.cases:
        _add_case(result.cases.add(), check, row, measured.get(row.name, []), scene)
    if failed is None:
        result.reason.CopyFrom(_said(check.words, own, scene))
        result.remedy_id = check.remedy_id
    else:
        _fail(result, failed)
    return result


def _fail(result: result_pb2.Result, failed: Requirement) -> None:
    result.status = result_pb2.STATUS_FAIL
    result.reason.CopyFrom(
        spoken(_FAILED, name=failed.name, expected=failed.expected, observed=failed.failed)
    )


def _measurements(
    check: PlayedCheck, scene: Scene, *, with_speeds: bool
) -> dict[str, list[result_pb2.Measurement]]:
    """By case, "" for the check itself; constants first."""
    found = {case: list(constants) for case, constants in _constants(check.name, scene.variant).items()}
    for workload in check.workloads if with_speeds else ():
        found.setdefault(workload.case, []).extend(_figures(check.name, workload, scene))
    return found


@functools.lru_cache(maxsize=4096)
def _constants(check: str, variant: ChipVariant) -> dict[str, list[result_pb2.Measurement]]:
    """Not to be changed: whoever adds to it copies it."""
    found: dict[str, list[result_pb2.Measurement]] = {}
    for constant in BY_NAME[check].constants:
        measurement = result_pb2.Measurement(
            name=constant.name,
            unit=constant.unit,
            value=constant.on(variant),
            direction=constant.direction,
        )
        found.setdefault(constant.case, []).append(measurement)
    return found


def _figures(check: str, workload: Workload, scene: Scene) -> Iterator[result_pb2.Measurement]:
    speed = scene.speeds[check, workload.name]
    loss = scene.circumstances.heat_loss
    factors = noise.trials(scene.noise, scene.draw, count=workload.trials, declines_by=loss)
    trials = [speed * each for each in factors]
    stability = _stability(trials)
    median = statistics.median(trials) if trials else speed * (1 - loss / 2)
    for figure in workload.figures:
        value = figure.value(median, scene.variant)
        if value is None:
            continue
        measurement = result_pb2.Measurement(
            name=figure.name, unit=figure.unit, value=value, direction=figure.direction
        )
        if figure.has_trials and trials:
            _add_trials(measurement, figure, trials, scene, warmups=workload.warmups)
            measurement.value = statistics.median(measurement.trials)
            measurement.stability = stability
        yield measurement


def _add_trials(
    measurement: result_pb2.Measurement, figure: Figure, speeds: list[float], scene: Scene, *, warmups: int
) -> None:
    work, draw = figure.work, scene.draw
    cold = [speeds[0] * (1 - 0.6 * 0.5**number) * draw.uniform(0.97, 1.03) for number in range(warmups)]
    if figure.is_duration:
        measurement.trials.extend([work / each for each in speeds])
        measurement.warmups.extend([work / each for each in cold])
    else:
        measurement.trials.extend([work * each for each in speeds])
        measurement.warmups.extend([work * each for each in cold])


def _stability(speeds: list[float]) -> result_pb2.Stability.ValueType:
    """By the rules of the real checks, for raw trials of a tenth of a second."""
    if len(speeds) < 10:
        return result_pb2.STABILITY_UNSPECIFIED
    low, high = min(speeds), max(speeds)
    if high - low < _MOST_STABLE * low:
        return result_pb2.STABILITY_STABLE
    return _STABILITY[Series(tuple(0.1 * high / each for each in speeds)).stability]


def _expectations(
    check: PlayedCheck, measured: list[result_pb2.Measurement], failed: Requirement | None
) -> Iterator[result_pb2.Expectation]:
    """In order; a check ends at the first that is not met."""
    values = {each.name: each.value for each in measured}
    for requirement in check.requirements:
        is_met = requirement is not failed
        observed = requirement.observed
        if requirement.observed_of:
            observed = f"{values[requirement.observed_of]:.3g}"
        yield result_pb2.Expectation(
            name=requirement.name,
            met=is_met,
            expected=requirement.expected,
            observed=observed if is_met else requirement.failed,
            source=requirement.source,
        )
        if not is_met:
            return


def _add_case(
    case: result_pb2.Case,
    check: PlayedCheck,
    row: CaseRow,
    measured: list[result_pb2.Measurement],
    scene: Scene,
) -> None:
    case.CopyFrom(_unchanging_case(check.name, row.name))
    case.reason.CopyFrom(_said(row.words, measured, scene))
    case.measurements.extend(measured)
    case.duration_seconds = row.seconds * scene.draw.uniform(0.95, 1.05)


@functools.cache
def _unchanging_case(check: str, name: str) -> result_pb2.Case:
    row = next(each for each in BY_NAME[check].cases if each.name == name)
    return result_pb2.Case(
        name=row.name,
        parameters_json=json.dumps(row.parameters, sort_keys=True),
        status=result_pb2.STATUS_PASS,
        facts=_facts(row.facts),
    )


def _said(words: Words, measured: list[result_pb2.Measurement], scene: Scene) -> result_pb2.Sentence:
    values: dict[str, str | float] = {}
    has_value = False
    for name, source in words.values.items():
        if isinstance(source, ValueOf):
            has_value = True
            values[name] = source.scale * _value_of(source.measurement, measured)
        else:
            values[name] = scene.versions[source.package] if isinstance(source, VersionOf) else source
    return spoken(words.template, **values) if has_value else _said_often(words.template, *values.items())


@functools.lru_cache(maxsize=4096)
def _said_often(template: str, *values: tuple[str, str | float]) -> result_pb2.Sentence:
    return spoken(template, **dict(values))


def _value_of(name: str, measured: list[result_pb2.Measurement]) -> float:
    return next(each.value for each in measured if each.name == name)


def _version_facts(check: PlayedCheck, scene: Scene) -> dict[str, str]:
    """The check of packages and the first of each framework say which version they saw."""
    packages = {"torch_basics": "torch", "mlx_native": "mlx"}
    if check.name not in packages:
        return {}
    package = packages[check.name]
    return {f"{package}_version": scene.versions[package]}


def _facts(facts: Mapping[str, str | float | bool]) -> Iterator[result_pb2.Fact]:
    for name, value in facts.items():
        if isinstance(value, bool):
            yield result_pb2.Fact(name=name, flag=value)
        elif isinstance(value, str):
            yield result_pb2.Fact(name=name, text=value)
        else:
            yield result_pb2.Fact(name=name, number=value)


@functools.cache
def _unchanging(name: str) -> result_pb2.Result:
    """What every result of a check has in common."""
    check = BY_NAME[name]
    result = result_pb2.Result(
        check_name=name, device=DEVICE, status=check.status, log_tail=check.log, facts=_facts(check.facts)
    )
    result.process_end.exit_code = 0
    result.peak_memory.process_bytes = check.process_bytes
    result.peak_memory.process_source = "phys_footprint"
    if check.accelerator_bytes:
        result.peak_memory.accelerator_allocated_bytes = check.accelerator_bytes
        result.peak_memory.accelerator_driver_bytes = 1.2 * check.accelerator_bytes
        result.peak_memory.accelerator_source = "torch.mps.driver_allocated_memory"
    return result
