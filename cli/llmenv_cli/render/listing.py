"""Lists of rows in the four formats: table and md for people, json and csv with plain values for programs."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING, TextIO

from llmenv.harmless import harmless
from llmenv.machine_names import machine_names

from llmenv_cli.render.blocks import Column, Grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOSTNAME = "hostname"
Value = str | int | float | bool | dt.datetime | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """One column: `key` in json and csv, `title` for people, and how a terminal may treat it."""

    key: str
    title: str
    is_number: bool = False
    wraps: bool = False
    is_optional: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """`values` are what programs read; `shown` what people read, where it differs."""

    values: Mapping[str, Value]
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def cell(self, key: str) -> str:
        return self.shown[key] if key in self.shown else plain(self.values[key])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """Rows under fields. `hidden` names fields that only json and csv have."""

    fields: Sequence[Field]
    rows: Sequence[Row]
    hidden: frozenset[str] = frozenset()

    def grid(self) -> Grid:
        """For people, who do not see the ids of machines that are called alike."""
        names = machine_names(_machine(row) for row in self.rows if HOSTNAME in row.values)
        fields = [field for field in self.fields if field.key not in self.hidden]
        return Grid(
            columns=tuple(
                Column(field.title, field.is_number, field.wraps, field.is_optional) for field in fields
            ),
            rows=tuple(tuple(_cell(row, field.key, names) for field in fields) for row in self.rows),
        )


def _machine(row: Row) -> tuple[str, str]:
    return str(row.values.get("machine_id", "")), str(row.values[HOSTNAME])


def _cell(row: Row, key: str, names: Mapping[str, str]) -> str:
    if key == HOSTNAME and HOSTNAME not in row.shown and (name := names.get(_machine(row)[0])):
        return harmless(name)
    return row.cell(key)


def write_listing(listing: Listing, *, output_format: str, stream: TextIO) -> None:
    """`output_format` is "table", "json", "csv" or "md"."""
    match output_format:
        case "json":
            write_json([_json_values(listing, row) for row in listing.rows], stream)
        case "csv":
            _write_csv(listing, stream)
        case "md":
            from llmenv_cli.render.markdown import grid_lines

            stream.write("\n".join(grid_lines(listing.grid())) + "\n")
        case _:
            from llmenv_cli.render.terminal import write_grid

            write_grid(listing.grid(), stream)


def write_json(content: object, stream: TextIO) -> None:
    """Indented, in UTF-8, ending with a newline."""
    stream.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def plain(value: Value) -> str:
    """A value as csv has it: times in ISO 8601, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, dt.datetime) else harmless(str(value))


def _json_values(listing: Listing, row: Row) -> dict[str, Value]:
    values = {field.key: row.values[field.key] for field in listing.fields}
    return {
        key: value.isoformat() if isinstance(value, dt.datetime) else value for key, value in values.items()
    }


def _write_csv(listing: Listing, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(field.key for field in listing.fields)
    writer.writerows([plain(row.values[field.key]) for field in listing.fields] for row in listing.rows)
