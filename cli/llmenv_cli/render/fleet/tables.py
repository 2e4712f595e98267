"""The report as flat tables for programs: a column a field of the contract, whatever a report holds.

Names are those of the .proto file; the fields of a series or chip stand without a prefix, an estimate has
`_low` and `_high` beside it, and what repeats is one cell, its parts separated by "; ".
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, cast

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_cli.fleet_verdict import verdict_words
from llmenv_cli.render import numbers
from llmenv_cli.render.listing import Field, Listing, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

    from llmenv_cli.render.listing import Value

# The table that a csv holds, by --by; without it the verdicts.
CSV_TABLES = {
    "machine": "verdicts",
    "chip": "chips",
    "package": "effects",
    "macos": "effects",
    "check": "findings",
}
# Tables of their own.
APART = frozenset({"silent", "overdue", "set_aside"})
WITHOUT_PREFIX = frozenset({"series", "variant"})
PACKAGE = "llmenv.fleet.v1"
REPEATED_ROWS: dict[str, type[Message]] = {
    "silent": messages.SilentMachine,
    "overdue": messages.OverdueMachine,
    "findings": messages.FindingRow,
    "flaky": messages.FlakyRow,
    "verdict_changes": messages.VerdictChangeRow,
    "verdict_effects": messages.VerdictEffectRow,
    "effects": messages.EffectRow,
    "changes": messages.ChangeRow,
    "outliers": messages.OutlierRow,
    "unsteady": messages.UnsteadyRow,
    "chips": messages.ChipRow,
    "packages": messages.PackageRow,
    "exposures": messages.ExposureRow,
    "drifts": messages.DriftRow,
    "set_aside": messages.SetAside,
    "known_good": messages.KnownGood,
    "explanations": messages.Explanation,
}


def tables(answer: messages.GetFleetReportResponse) -> dict[str, Listing]:
    """Every table of a report by its name, in the order that people read them."""
    where: dict[str, Iterable[Message]] = {
        "silent": answer.coverage.silent,
        "overdue": answer.coverage.overdue,
        "set_aside": answer.method.set_aside,
    }
    rest = {
        name: listing(kind, where[name] if name in where else getattr(answer, name))
        for name, kind in REPEATED_ROWS.items()
    }
    return {
        "coverage": listing(messages.Coverage, [answer.coverage]),
        "verdicts": verdicts_listing(answer),
        **rest,
        "method": listing(messages.Method, [answer.method]),
    }


def comparison_tables(answer: messages.CompareFleetResponse) -> dict[str, Listing]:
    """Every table of a comparison by its name."""
    return {
        "effects": listing(messages.EffectRow, answer.effects),
        "verdict_effects": listing(messages.VerdictEffectRow, answer.verdict_effects),
        "differences": listing(messages.DifferenceRow, answer.differences),
        **_method_tables(answer.method),
    }


def upgrade_tables(answer: messages.CheckUpgradeResponse, *, requirement: str) -> dict[str, Listing]:
    """Every table of an answer on an upgrade by its name; the answer itself is the first."""
    said: dict[str, Value] = {
        "requirement": requirement,
        "verdict": _enum_word(messages.UpgradeVerdict.DESCRIPTOR, answer.verdict),
        "reasons": "; ".join(reason.text for reason in answer.reasons),
        "untried": "; ".join(_variant_cell(chip) for chip in answer.untried),
    }
    return {
        "answer": Listing(fields=[Field(key=key, title=key) for key in said], rows=[Row(values=said)]),
        "effects": listing(messages.EffectRow, answer.effects),
        "verdict_effects": listing(messages.VerdictEffectRow, answer.verdict_effects),
        "exposures": listing(messages.ExposureRow, answer.exposures),
        **_method_tables(answer.method),
    }


def _method_tables(method: messages.Method) -> dict[str, Listing]:
    return {
        "set_aside": listing(messages.SetAside, method.set_aside),
        "method": listing(messages.Method, [method]),
    }


def verdicts_listing(answer: messages.GetFleetReportResponse) -> Listing:
    """The latest verdict of each check on each machine, environment and device."""
    keys = (
        "machine_id",
        "hostname",
        "chip",
        "environment",
        "device",
        "run_id",
        "started_at",
        "ready",
        "check",
        "status",
    )
    rows = [
        Row(
            values={
                "machine_id": row.machine_id,
                "hostname": row.hostname,
                "chip": row.chip,
                "environment": row.environment_name,
                "device": row.device,
                "run_id": row.run_id,
                "started_at": row.started_at.ToDatetime(dt.UTC),
                "ready": row.readiness.is_ready,
                "check": name,
                "status": word,
            }
        )
        for row in answer.health
        for name, word in verdict_words(row).items()
    ]
    return Listing(fields=[Field(key=key, title=key) for key in keys], rows=rows)


def listing(kind: type[Message], rows: Iterable[Message]) -> Listing:
    """A column a field, also where there is no row."""
    keys = [key for key, _ in _cells(_descriptor(kind), None)]
    return Listing(
        fields=[Field(key=key, title=key) for key in keys],
        rows=[Row(values=dict(_cells(_descriptor(kind), row))) for row in rows],
    )


def _descriptor(kind: type[Message]) -> Descriptor:
    descriptor: Any = kind.DESCRIPTOR
    return cast("Descriptor", descriptor)


def _cells(descriptor: Descriptor, message: Any, prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Key and value of each field; of no message the keys, without values."""
    for field in descriptor.fields:
        if field.name in APART:
            continue
        key = prefix + field.name
        value = _present(field, message)
        if field.is_repeated:
            yield key, None if value is None else _joined(field, value)
        elif field.message_type is None:
            yield key, _plain(field, value)
        else:
            yield from _nested(field.message_type, value, key)


def _nested(kind: Descriptor, value: Any, key: str) -> Iterator[tuple[str, Value]]:
    match kind.full_name.removeprefix(f"{PACKAGE}."):
        case "google.protobuf.Timestamp":
            yield key, None if value is None else value.ToDatetime(dt.UTC)
        case "Sentence":
            yield key, None if value is None else value.text
        case "Estimate":
            yield key, None if value is None else value.value
            # One value alone leaves its interval without ends.
            has_ends = value is not None and math.isfinite(value.high)
            yield f"{key}_low", value.low if has_ends else None
            yield f"{key}_high", value.high if has_ends else None
        case _:
            prefix = "" if key in WITHOUT_PREFIX else f"{key}_"
            yield from _cells(kind, value, prefix)


def _present(field: FieldDescriptor, message: Any) -> Any:
    """None for an absent field, and for every field of an absent message."""
    if message is None or (field.has_presence and not message.HasField(field.name)):
        return None
    return getattr(message, field.name)


def _plain(field: FieldDescriptor, value: Any) -> Value:
    if value is None or field.enum_type is None:
        plain: Value = value
        return plain
    return _enum_word(field.enum_type, value)


def _enum_word(enum: EnumDescriptor, value: int) -> str:
    """Such as "worse"; empty for the first, which says nothing, but for a status."""
    if enum.name == "Status":
        return WORDS.get(value, "unknown")  # type: ignore[call-overload, no-any-return]
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    known = enum.values_by_number.get(value)
    if known is None:
        return str(value)
    return "" if known.number == 0 else known.name.removeprefix(prefix).lower()


def _joined(field: FieldDescriptor, values: Any) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return "; ".join(f"{key}={values[key]}" for key in sorted(values))
    if field.message_type is not None:
        return "; ".join(IN_A_CELL[field.message_type.name](value) for value in values)
    return "; ".join(str(value) for value in values)


def _variant_cell(chip: messages.Variant) -> str:
    parts = [chip.chip]
    if chip.HasField("gpu_cores"):
        parts.append(f"{chip.gpu_cores} GPU cores")
    if chip.HasField("memory_bytes"):
        parts.append(numbers.memory(chip.memory_bytes))
    return ", ".join(parts)


def _cause_cell(row: messages.CauseRow) -> str:
    what = " ".join(filter(None, (row.kind, row.name)))
    return (
        f"{what}: {row.before} -> {row.after}, with it {row.changed_with} of {row.machines_with},"
        f" without it {row.changed_without} of {row.machines_without}"
    )


IN_A_CELL: dict[str, Callable[[Any], str]] = {
    "Variant": _variant_cell,
    "CauseRow": _cause_cell,
    "Sentence": lambda sentence: str(sentence.text),
}


def for_spreadsheets(table: Listing) -> Listing:
    """Texts that a spreadsheet would take for a formula begin with an apostrophe, so that it shows them."""
    return Listing(
        fields=table.fields,
        rows=[
            Row(values={key: _no_formula(value) for key, value in row.values.items()}) for row in table.rows
        ],
    )


def _no_formula(value: Value) -> Value:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def numbers_of(rows: Sequence[Row], key: str) -> bool:
    """Whether a column holds numbers, which spreadsheets align right."""
    held = [row.values[key] for row in rows if row.values[key] is not None]
    return bool(held) and all(isinstance(value, int | float) for value in held)
