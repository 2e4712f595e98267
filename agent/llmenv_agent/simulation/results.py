"""A result of a played check, as the message that the agent makes of the real one."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2

from llmenv_agent.probe.trials import Series
from llmenv_agent.simulation import noise
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
_MOST_STABLE = 0.04
"""A series whose trials lie within this share of their median is called stable without the full judgement."""
_FAILED = "{name}: expected {expected}, observed {observed}."


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a run has in common for all its checks; `speeds` by check and workload."""

    variant: ChipVariant
    versions: Mapping[str, str]
    """Of all packages."""
    system: str
    speeds: Mapping[tuple[str, str], float]
    circumstances: Circumstances
    noise: Noise
    draw: random.Random

    def surroundings(self) -> str:
        """What decides errors and losses: chip, torch, mlx and system."""
        variant = f"{self.variant.chip}/{self.variant.gpu_cores}"
        return f"{variant}/{self.versions['torch']}/{self.versions['mlx']}/{self.system}"


def play(check: PlayedCheck, scene: Scene, failed: Requirement | None = None) -> result_pb2.Result:
    """The verdict with its figures; ids, times, conditions and definition are the caller's."""
    result = result_pb2.Result(check_name=check.name, device="mps", status=check.status, log_tail=check.log)
    measured = dict(_measurements(check, scene, with_speeds=failed is None))
    own = measured.get("", [])
    result.measurements.extend(own)
    result.expectations.extend(_expectations(check, own, failed))
    result.facts.extend(_facts({**check.facts, **_version_facts(check, scene)}))
    result.cases.extend(_case(row, measured.get(row.name, []), scene) for row in check.cases)
    result.process_end.exit_code = 0
    _note_peak(result, check)
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
) -> Iterator[tuple[str, list[result_pb2.Measurement]]]:
    """By case, "" for the check itself; constants first."""
    found: dict[str, list[result_pb2.Measurement]] = {}
    surroundings = scene.surroundings()
    for constant in check.constants:
        found.setdefault(constant.case, []).append(
            result_pb2.Measurement(
                name=constant.name,
                unit=constant.unit,
                value=constant.on(surroundings),
                direction=constant.direction,
            )
        )
    for workload in check.workloads if with_speeds else ():
        found.setdefault(workload.case, []).extend(_figures(check.name, workload, scene))
    yield from found.items()


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


def _case(row: CaseRow, measured: list[result_pb2.Measurement], scene: Scene) -> result_pb2.Case:
    return result_pb2.Case(
        name=row.name,
        parameters_json=json.dumps(row.parameters, sort_keys=True),
        status=result_pb2.STATUS_PASS,
        reason=_said(row.words, measured, scene),
        measurements=measured,
        facts=_facts(row.facts),
        duration_seconds=row.seconds * scene.draw.uniform(0.95, 1.05),
    )


def _said(words: Words, measured: list[result_pb2.Measurement], scene: Scene) -> result_pb2.Sentence:
    values: dict[str, str | float] = {}
    for name, source in words.values.items():
        if isinstance(source, ValueOf):
            values[name] = source.scale * next(
                each.value for each in measured if each.name == source.measurement
            )
        else:
            values[name] = scene.versions[source.package] if isinstance(source, VersionOf) else source
    return spoken(words.template, **values)


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


def _note_peak(result: result_pb2.Result, check: PlayedCheck) -> None:
    result.peak_memory.process_bytes = check.process_bytes
    result.peak_memory.process_source = "phys_footprint"
    if check.accelerator_bytes:
        result.peak_memory.accelerator_allocated_bytes = check.accelerator_bytes
        result.peak_memory.accelerator_driver_bytes = 1.2 * check.accelerator_bytes
        result.peak_memory.accelerator_source = "torch.mps.driver_allocated_memory"
