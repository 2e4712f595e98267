"""How the statistics did on a fleet's own history, as a listing: a row a measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.listing import Field, Listing, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import (
        Estimate,
        FalsePositiveRow,
        PowerRow,
        SelfTestStatisticsResponse,
    )

NAMES = ("check", "case", "measurement", "device")
COUNTS = ("machines", "comparisons")
ENDS = ("false_alarms_low", "false_alarms_high")
OPTIONAL = frozenset({"device", "machines", "comparisons", "called_better", "called_worse"})
SHARES = ("false_alarms", "called_better", "called_worse")


def self_test_listing(answer: SelfTestStatisticsResponse, texts: Texts) -> Listing:
    """Shares are fractions for programs and percent for people."""
    shifts = sorted({row.shift for row in answer.power})
    found = {(key_of(row), row.shift): row.found for row in answer.power}
    keys = (*NAMES, *COUNTS, *SHARES, *ENDS, *(found_key(shift) for shift in shifts))
    return Listing(
        fields=[
            Field(
                key=key,
                title=title(key, texts),
                is_number=key not in NAMES,
                is_optional=key in OPTIONAL,
            )
            for key in keys
        ],
        rows=[
            row_of(row, {shift: found.get((key_of(row), shift)) for shift in shifts})
            for row in answer.false_positives
        ],
        hidden=frozenset(ENDS),
    )


def title(key: str, texts: Texts) -> str:
    if key.startswith("found_"):
        return texts.say("stats.found", percent=key.removeprefix("found_").removesuffix("_percent"))
    return texts.say(f"stats.{key}")


def found_key(shift: float) -> str:
    return f"found_{shift * 100:g}_percent"


def key_of(row: FalsePositiveRow | PowerRow) -> tuple[str, ...]:
    series = row.series
    return (series.check_name, series.case_name, series.measurement, series.device)


def row_of(row: FalsePositiveRow, found: Mapping[float, Estimate | None]) -> Row:
    """A measurement that only describes has no better direction, so that nothing was planted in it."""
    different = row.called_different
    shares = {
        "called_better": row.called_better,
        "called_worse": row.called_worse,
        **{found_key(shift): estimate for shift, estimate in found.items()},
    }
    return Row(
        values={
            **dict(zip(NAMES, key_of(row), strict=True)),
            "machines": row.machines,
            "comparisons": row.comparisons,
            "false_alarms": different.value,
            "false_alarms_low": different.low,
            "false_alarms_high": different.high,
            **{key: None if estimate is None else estimate.value for key, estimate in shares.items()},
        },
        shown={
            "false_alarms": f"{percent([different.value])} ({percent([different.low, different.high])})",
            **{
                key: "-" if estimate is None else percent([estimate.value])
                for key, estimate in shares.items()
            },
        },
    )


def percent(shares: Iterable[float]) -> str:
    return "-".join(f"{share * 100:.1f}" for share in shares) + " %"
