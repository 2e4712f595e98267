"""A fleet report with something in every section, seeded, of as many machines as asked for."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from llmenv.catalog.status import APPLE_SILICON_CORE_CHECKS, WORDS, blocking_checks
from llmenv.catalog.texts import tables
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv.ids import new_id
from llmenv_collector.plot.time_series import Point

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_796_000_000
DAY = 86_400
CHECKS = (*APPLE_SILICON_CORE_CHECKS, *sorted(set(tables("en")["check"]) - set(APPLE_SILICON_CORE_CHECKS)))
CHIPS = (
    ("Apple M1", 8, 8),
    ("Apple M1 Max", 32, 64),
    ("Apple M2", 10, 24),
    ("Apple M2 Max", 38, 96),
    ("Apple M2 Ultra", 76, 192),
    ("Apple M3 Max", 40, 128),
    ("Apple M3 Ultra", 80, 512),
    ("Apple M4 Max", 40, 128),
)
MEASURED = (
    ("torch_training", "steps_per_second", "step/s", 40.0, True),
    ("transformers_generate", "tokens_per_second", "token/s", 55.0, True),
    ("torch_basics", "matmul_float16_rate", "FLOP/s", 2.1e13, True),
    ("torch_basics", "matmul_float32_seconds", "s", 0.0043, False),
    ("peft_lora", "steps_per_second", "step/s", 12.0, True),
    ("peft_lora", "peak_memory", "byte", 3.4e9, False),
    ("mlx_native", "tokens_per_second", "token/s", 88.0, True),
)
VERSIONS = (("torch", "2.10.0", "2.11.0"), ("mlx", "0.30.1", "0.31.0"), ("macos", "26.1", "26.2"))
STATUSES = (
    (result_pb2.STATUS_PASS, 90),
    (result_pb2.STATUS_WARN, 4),
    (result_pb2.STATUS_FAIL, 2),
    (result_pb2.STATUS_SKIP, 2),
    (result_pb2.STATUS_ERROR, 1),
    (result_pb2.STATUS_TIMEOUT, 1),
    (result_pb2.STATUS_CRASH, 1),
)


def planted_report(
    machines: int = 14, *, checks: int = 12, seed: int = 7, hostname: str = "mac"
) -> messages.GetFleetReportResponse:
    """`hostname` is what every machine's name begins with."""
    chance = random.Random(seed)
    names = [f"{hostname}-{number:03}" for number in range(machines)]
    return messages.GetFleetReportResponse(
        generated_at=moment(0),
        coverage=coverage(names),
        health=[health_row(name, checks, chance) for name in names],
        chips=list(chip_rows(chance)),
        packages=list(package_rows(machines)),
        findings=list(finding_rows(names)),
        flaky=[flaky_row(names[-1])],
        effects=list(effect_rows(chance)),
        verdict_effects=[verdict_effect()],
        outliers=list(outlier_rows(names)),
        unsteady=[unsteady_row(names[0])],
        changes=list(change_rows(names, chance)),
        verdict_changes=[verdict_change(names[-1])],
        exposures=list(exposure_rows(names)),
        drifts=list(drift_rows(names)),
        method=method(),
        explanations=[messages.Explanation(section="chips", sql="SELECT chip FROM v1.machines WHERE 1 < 2")],
    )


def planted_traces(
    report: messages.GetFleetReportResponse, *, points: int = 60, seed: int = 3
) -> dict[int, tuple[Point, ...]]:
    """For the first changes, a level on each side with noise."""
    chance = random.Random(seed)
    traces = {}
    for number, change in enumerate(report.changes[:12]):
        times = [NOW - 30 * DAY + step * 30 * DAY / points for step in range(points)]
        traces[number] = tuple(
            Point(
                time,
                (change.before if time < change.changed_at.seconds else change.after)
                * chance.gauss(1.0, 0.012),
            )
            for time in times
        )
    return traces


def moment(days_ago: float) -> Timestamp:
    return Timestamp(seconds=int(NOW - days_ago * DAY))


def coverage(names: list[str]) -> messages.Coverage:
    silent = [
        messages.SilentMachine(machine_id=new_id(), hostname="lab-mini-07", last_run_at=moment(44)),
        messages.SilentMachine(machine_id=new_id(), hostname="lab-mini-09"),
    ]
    return messages.Coverage(
        machines=len(names) + len(silent),
        reporting=len(names),
        freshest_run_at=moment(0.02),
        oldest_run_at=moment(29.4),
        silent=silent,
        overdue=[
            messages.OverdueMachine(
                machine_id=new_id(), hostname=names[0], last_run_at=moment(6), usual_seconds=DAY
            )
        ],
        runs=len(names) * 61,
        results=len(names) * 61 * 12,
        pending=1,
        since=moment(30),
        as_of=moment(0),
    )


def health_row(hostname: str, checks: int, chance: random.Random) -> messages.HealthRow:
    choices, weights = zip(*STATUSES, strict=True)
    statuses = {
        name: chance.choices(choices, weights)[0] for name in CHECKS[:checks] if chance.random() > 0.02
    }
    words = {name: WORDS[status] for name, status in statuses.items()}
    blocking = blocking_checks(words, is_apple_silicon=True)
    return messages.HealthRow(
        machine_id=new_id(),
        hostname=hostname,
        chip=chance.choice(CHIPS)[0],
        environment_name="training",
        device="mps",
        run_id=new_id(),
        started_at=moment(chance.random()),
        statuses=statuses,
        readiness=messages.Readiness(is_ready=not blocking, blocking=blocking),
    )


def variant(number: int) -> messages.Variant:
    chip, cores, gibibytes = CHIPS[number]
    return messages.Variant(chip=chip, gpu_cores=cores, memory_bytes=gibibytes * 2**30)


def series(number: int) -> messages.Series:
    check, name, unit, _, is_higher = MEASURED[number % len(MEASURED)]
    direction = result_pb2.DIRECTION_HIGHER_IS_BETTER if is_higher else result_pb2.DIRECTION_LOWER_IS_BETTER
    case = "" if number < len(MEASURED) else f"batch-{number // len(MEASURED)}"
    return messages.Series(
        check_name=check,
        case_name=case,
        measurement=name,
        unit=unit,
        direction=direction,
        device="mps",
        definition_hash="0123456789abcdef",
        parameters_json=json.dumps({"width": 64}),
    )


def estimate(value: float, spread: float) -> messages.Estimate:
    return messages.Estimate(value=value, low=value * (1 - spread), high=value * (1 + spread))


def chip_rows(chance: random.Random) -> Iterator[messages.ChipRow]:
    for number in range(len(MEASURED)):
        _, _, unit, typical, is_higher = MEASURED[number]
        for chip in range(len(CHIPS)):
            speed = (0.35 + 0.28 * chip) * chance.uniform(0.9, 1.1)
            value = typical * speed if is_higher or unit == "byte" else typical / speed
            median = estimate(value, chance.uniform(0.01, 0.09))
            yield messages.ChipRow(
                variant=variant(chip),
                series=series(number),
                median=median,
                lowest=median.low * 0.97,
                highest=median.high * 1.02,
                machines=1 + chip * 2,
                results=61 * (1 + chip * 2),
                ratio=None if chip == 4 else estimate(0.3 + 0.2 * chip, 0.05),
                share_of_limit=chance.uniform(0.5, 0.9) if unit == "FLOP/s" else None,
            )


def package_rows(machines: int) -> Iterator[messages.PackageRow]:
    for package, old, new in VERSIONS[:2]:
        for version, count in ((old, machines // 3), (new, machines - machines // 3)):
            counts = {"pass": count * 100, "warn": count * 3, "fail": count // 4}
            yield messages.PackageRow(package=package, version=version, machines=count, status_counts=counts)


def sentence(text: str) -> result_pb2.Sentence:
    return result_pb2.Sentence(text=text, template=text)


def finding_rows(names: list[str]) -> Iterator[messages.FindingRow]:
    yield messages.FindingRow(
        check_name="torch_training",
        status=result_pb2.STATUS_CRASH,
        reason=result_pb2.Sentence(
            text="Its process ended with SIGABRT without a result.",
            template="Its process {end} without a result.",
            values={"end": "ended with SIGABRT"},
        ),
        remedy_id="KI001",
        hostnames=names[: max(len(names) // 3, 1)],
        first_seen_at=moment(6),
    )
    yield messages.FindingRow(
        check_name="peft_lora",
        status=result_pb2.STATUS_FAIL,
        reason=sentence("loss falls: expected <= 1.151, observed 1.420."),
        hostnames=names[-2:],
        first_seen_at=moment(2),
    )
    yield messages.FindingRow(
        check_name="mlx_native",
        status=result_pb2.STATUS_WARN,
        reason=sentence("Works, with a known limitation."),
        remedy_id="KI072",
        hostnames=names[:1],
        acknowledgement=messages.Acknowledgement(
            reason="Waits for the next release of MLX",
            acknowledged_by="anna",
            acknowledged_at=moment(3),
            expires_at=moment(-11),
        ),
        first_seen_at=moment(20),
    )


def flaky_row(hostname: str) -> messages.FlakyRow:
    return messages.FlakyRow(
        machine_id=new_id(),
        hostname=hostname,
        environment_name="training",
        device="mps",
        check_name="transformers_generate",
        changes=7,
        results=61,
        status_counts={"pass": 52, "timeout": 9},
    )


def effect_rows(chance: random.Random) -> Iterator[messages.EffectRow]:
    plan = (
        (messages.JUDGEMENT_WORSE, 0.88),
        (messages.JUDGEMENT_BETTER, 1.14),
        (messages.JUDGEMENT_SAME, 1.002),
        (messages.JUDGEMENT_INCONCLUSIVE, 0.97),
    )
    for package, baseline, candidate in VERSIONS:
        for number in range(len(MEASURED) * 2):
            judgement, ratio = plan[(number * 3 + len(package)) % 4]
            if judgement == messages.JUDGEMENT_SAME or number % 3:
                judgement, ratio = (messages.JUDGEMENT_SAME, chance.uniform(0.99, 1.01))
            one = series(number)
            if one.direction == result_pb2.DIRECTION_LOWER_IS_BETTER:
                ratio = 1 / ratio
            is_wide = judgement == messages.JUDGEMENT_INCONCLUSIVE
            yield messages.EffectRow(
                package=package,
                baseline=baseline,
                candidate=candidate,
                series=one,
                ratio=estimate(ratio, 0.12 if is_wide else 0.015),
                p_value=0.31 if is_wide else 0.0004,
                q_value=0.48 if is_wide else 0.003,
                judgement=judgement,
                pairing=messages.PAIRING_WITHIN_MACHINE if number % 2 else messages.PAIRING_WITHIN_COHORT,
                candidate_machines=9,
                baseline_machines=9,
                candidate_results=211,
                baseline_results=198,
                variants=[variant(3), variant(4)],
                confounded_with=["macos"] if package == "mlx" else [],
            )


def verdict_effect() -> messages.VerdictEffectRow:
    return messages.VerdictEffectRow(
        package="torch",
        baseline="2.10.0",
        candidate="2.11.0",
        check_name="torch_training",
        device="mps",
        candidate_failing=5,
        candidate_machines=9,
        baseline_failing=0,
        baseline_machines=11,
        p_value=0.004,
        q_value=0.021,
        judgement=messages.JUDGEMENT_WORSE,
        pairing=messages.PAIRING_WITHIN_COHORT,
    )


def outlier_rows(names: list[str]) -> Iterator[messages.OutlierRow]:
    for place, (hostname, ratio) in enumerate(((names[0], 0.89), (names[-1], 1.06))):
        yield messages.OutlierRow(
            machine_id=new_id(),
            hostname=hostname,
            variant=variant(3),
            series=series(place),
            ratio=ratio,
            others=7,
            p_value=0.0004,
            q_value=0.004,
            judgement=messages.JUDGEMENT_WORSE if ratio < 1 else messages.JUDGEMENT_BETTER,
            versions={"torch": "2.11.0", "macos": "26.2"},
        )


def unsteady_row(hostname: str) -> messages.UnsteadyRow:
    return messages.UnsteadyRow(
        machine_id=new_id(),
        hostname=hostname,
        variant=variant(0),
        check_name="torch_training",
        declining=18,
        unstable=3,
        under_thermal_pressure=21,
        results=61,
    )


def cause(kind: str, name: str, before: str, after: str, changed_with: int) -> messages.CauseRow:
    return messages.CauseRow(
        kind=kind,
        name=name,
        before=before,
        after=after,
        machines_with=9,
        changed_with=changed_with,
        machines_without=5,
        changed_without=0,
    )


def change_rows(names: list[str], chance: random.Random) -> Iterator[messages.ChangeRow]:
    for number in range(max(len(names) // 4, 2)):
        one = series(number % len(MEASURED))
        _, _, _, typical, is_higher = MEASURED[number % len(MEASURED)]
        is_suspected = number % 3 == 2
        ratio = chance.choice((0.87, 0.91, 1.12))
        is_worse = (ratio < 1) == is_higher
        yield messages.ChangeRow(
            machine_id=new_id(),
            hostname=names[number % len(names)],
            environment_name="training",
            series=one,
            changed_at=moment(2 + number % 19),
            ratio=estimate(ratio, 0.02),
            before=typical,
            after=typical * ratio,
            p_value=0.0005,
            q_value=0.006,
            judgement=messages.JUDGEMENT_INCONCLUSIVE
            if is_suspected
            else messages.JUDGEMENT_WORSE
            if is_worse
            else messages.JUDGEMENT_BETTER,
            is_suspected=is_suspected,
            points=4 if is_suspected else 22,
            causes=[
                cause("package", "torch", "2.10.0", "2.11.0", 8),
                cause("macos", "", "26.1", "26.2", 3),
                cause("variable", "PYTORCH_ENABLE_MPS_FALLBACK", "", "1", 1),
            ]
            if number % 2 == 0
            else [],
        )


def verdict_change(hostname: str) -> messages.VerdictChangeRow:
    return messages.VerdictChangeRow(
        machine_id=new_id(),
        hostname=hostname,
        environment_name="training",
        device="mps",
        check_name="torch_training",
        before=result_pb2.STATUS_PASS,
        after=result_pb2.STATUS_CRASH,
        changed_at=moment(5),
        causes=[cause("package", "torch", "2.10.0", "2.11.0", 5)],
    )


def exposure_rows(names: list[str]) -> Iterator[messages.ExposureRow]:
    yield messages.ExposureRow(
        issue_id="KI001", exposed=names[:6], reproduced=names[:4], versions=["torch 2.11.0"]
    )
    yield messages.ExposureRow(
        issue_id="KI039", exposed=names[:9], not_reproduced=names[:5], versions=["torch 2.10.0"]
    )
    yield messages.ExposureRow(issue_id="KI072", exposed=names[1:3], versions=["mlx 0.30.1", "mlx 0.31.0"])


def drift_rows(names: list[str]) -> Iterator[messages.DriftRow]:
    third = len(names) // 3
    yield messages.DriftRow(
        package="torch",
        wanted="==2.11.0",
        versions={"2.10.0": third, "2.11.0": len(names) - third},
        differing=names[:third],
        missing=names[-1:],
    )
    yield messages.DriftRow(package="transformers", versions={"5.1.0": len(names)})


def method() -> messages.Method:
    return messages.Method(
        confidence=0.95,
        minimum_effect=0.03,
        false_discovery_rate=0.05,
        tests=412,
        set_aside=[
            messages.SetAside(reason="battery", results=310),
            messages.SetAside(reason="thermal", results=82),
            messages.SetAside(reason="other_definition", results=1204),
        ],
        limits=[sentence("Effects of 3 packages with one version each could not be told.")],
        reference=variant(4),
        changes_analysed_at=moment(0.01),
    )
