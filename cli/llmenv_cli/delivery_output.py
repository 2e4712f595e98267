"""The ledger of delivery as a listing: a row a spool, or a row a machine and day."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

from llmenv.harmless import harmless

from llmenv_cli.render import numbers
from llmenv_cli.render.listing import Field, Listing, Row, write_listing
from llmenv_cli.render.sections.wording import when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_service_pb2 import DayDelivery, SpoolDelivery

    from llmenv_cli.render.listing import Value

COUNTS = ("minted", "stored", "rejected", "waiting", "dropped", "lost_by_restore", "unexplained")
DAY_COUNTS = ("stored", "rejected", "dropped")
DELAYS = ("median_delay_seconds", "highest_delay_seconds")


def print_spools(
    spools: Sequence[SpoolDelivery], texts: Texts, *, output_format: str, stream: TextIO
) -> None:
    """In a terminal the reasons stand below the table, where there is room for sentences."""
    listing = spools_listing(spools, texts)
    if output_format != "table":
        write_listing(listing, output_format=output_format, stream=stream)
        return
    narrow = dataclasses.replace(listing, hidden=listing.hidden | {"reasons"})
    write_listing(narrow, output_format=output_format, stream=stream)
    lines = [
        harmless(texts.say("delivery.reason", what=spool.hostname, why=_reason(reason, texts)))
        for spool in spools
        for reason in spool.reasons
    ]
    if lines:
        stream.write("\n" + "\n".join(lines) + "\n")


def spools_listing(spools: Iterable[SpoolDelivery], texts: Texts) -> Listing:
    """minted = stored + rejected + waiting + dropped + lost_by_restore, and unexplained beside it."""
    keys = ("machine_id", "hostname", "spool_id", *COUNTS, "said_at", "reasons")
    return Listing(
        fields=_fields(keys, texts, numeric=COUNTS),
        rows=[_spool_row(spool, texts) for spool in spools],
        hidden=frozenset({"machine_id", "spool_id"}),
    )


def days_listing(days: Iterable[DayDelivery], texts: Texts) -> Listing:
    """What arrived, newest day first."""
    keys = ("machine_id", "hostname", "day", *DAY_COUNTS, *DELAYS)
    return Listing(
        fields=_fields(keys, texts, numeric=(*DAY_COUNTS, *DELAYS)),
        rows=[_day_row(day) for day in days],
        hidden=frozenset({"machine_id"}),
    )


def _fields(keys: Sequence[str], texts: Texts, *, numeric: Sequence[str]) -> list[Field]:
    return [
        Field(
            key=key,
            title=texts.say(f"column.{key}") if key != "machine_id" else key,
            is_number=key in numeric,
            wraps=key == "reasons",
            is_optional=key in {"said_at", "lost_by_restore"},
        )
        for key in keys
    ]


def _spool_row(spool: SpoolDelivery, texts: Texts) -> Row:
    has_spoken = spool.HasField("said_at")
    values: dict[str, Value] = {
        "machine_id": spool.machine_id,
        "hostname": spool.hostname,
        "spool_id": spool.spool_id,
        **{name: int(getattr(spool, name)) for name in COUNTS},
        "said_at": spool.said_at.ToDatetime(dt.UTC) if has_spoken else None,
        "reasons": "; ".join(spool.reasons),
    }
    shown = {
        **{name: numbers.count(getattr(spool, name)) for name in COUNTS},
        **({"said_at": when_in_column(spool.said_at)} if has_spoken else {}),
        "reasons": "; ".join(_reason(reason, texts) for reason in spool.reasons),
    }
    return Row(values=values, shown=shown)


def _day_row(day: DayDelivery) -> Row:
    values: dict[str, Value] = {
        "machine_id": day.machine_id,
        "hostname": day.hostname,
        "day": day.day,
        **{name: int(getattr(day, name)) for name in DAY_COUNTS},
        **{name: float(getattr(day, name)) for name in DELAYS},
    }
    shown = {
        **{name: numbers.count(getattr(day, name)) for name in DAY_COUNTS},
        **{name: numbers.duration(getattr(day, name)) for name in DELAYS},
    }
    return Row(values=values, shown=shown)


def _reason(reason: str, texts: Texts) -> str:
    """Such as "3 dropped: the spool reached 3,000 bytes", both parts in this language."""
    what, _, why = reason.partition(": ")
    if not why:
        return texts.phrase(what)
    return texts.say("delivery.reason", what=texts.phrase(what), why=texts.phrase(why))
