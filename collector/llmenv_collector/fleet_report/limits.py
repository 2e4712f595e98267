"""Everything that cuts a report short, said in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2

from llmenv_collector.fleet_report.period import DEFAULT_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.fleet_report.period import Period

MAX_BYTES = 3_900_000
"""Of one answer: gRPC takes 4 MiB."""
NEVER_CUT = {"coverage", "method", "generated_at"}


def sentence(template: str, **values: object) -> result_pb2.Sentence:
    words = {name: str(value) for name, value in values.items()}
    return result_pb2.Sentence(text=template.format(**words), template=template, values=words)


def limits_of(period: Period) -> Iterator[result_pb2.Sentence]:
    """What the question left out, or what cannot be known of the past."""
    if period.is_default:
        yield sentence(
            "Only runs of the {days} days before count, since nobody said from when.", days=DEFAULT_DAYS
        )
    if not period.is_now and period.where:
        yield sentence("The condition chose machines by what they are now, not by what they were then.")


def cut(response: messages.GetFleetReportResponse, *, max_bytes: int = MAX_BYTES) -> None:
    """Leaves out the last rows of the largest sections until the answer can be sent, and says so."""
    rows = {
        field.name: len(getattr(response, field.name))
        for field in response.DESCRIPTOR.fields
        if field.is_repeated and field.name not in NEVER_CUT
    }
    kept = dict(rows)
    while response.ByteSize() > max_bytes and any(kept.values()):
        name = max(kept, key=lambda one: sum(row.ByteSize() for row in getattr(response, one)))
        kept[name] //= 2
        del getattr(response, name)[kept[name] :]
    for name, count in rows.items():
        if kept[name] < count:
            response.method.limits.append(
                sentence(
                    "Of {rows} rows of {section} the first {kept} are shown, since one answer holds"
                    " {megabytes} MB: ask for fewer machines or checks.",
                    rows=count,
                    section=name,
                    kept=kept[name],
                    megabytes=f"{max_bytes / 1e6:g}",
                )
            )
