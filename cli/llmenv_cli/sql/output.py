"""Writes an answer in each format; csv, json, arrow and parquet as it arrives, whatever its size."""

from __future__ import annotations

import csv
import io
import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from llmenv_cli.destination import opened
from llmenv_cli.render.listing import Field, Listing, Row, plain, write_listing
from llmenv_cli.sql.values import plain_value, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmenv_cli.sql.answer import Answer

ROW_GROUP_ROWS = 131_072
SINGLE, INDENTED = json.JSONEncoder(ensure_ascii=False), json.JSONEncoder(ensure_ascii=False, indent=2)


def write_answer(answer: Answer, *, output_format: str, file: Path | None) -> None:
    """In a format of listings, "arrow" or "parquet"; to stdout, or to a file that is whole or not there."""
    with opened(file) as stream:
        if file is None and output_format not in BINARY:
            _write_text(answer, sys.stdout, output_format=output_format)
        else:
            write_bytes_of(answer, stream, output_format=output_format)


def write_bytes_of(answer: Answer, stream: BinaryIO, *, output_format: str) -> None:
    """Text in UTF-8."""
    if write := BINARY.get(output_format):
        write(answer, stream)
        return
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    _write_text(answer, text, output_format=output_format)
    text.detach()


def _write_text(answer: Answer, text: TextIO, *, output_format: str) -> None:
    if write := STREAMED.get(output_format):
        write(answer, text)
    else:
        write_listing(listing_of(answer), output_format=output_format, stream=text)


def listing_of(answer: Answer) -> Listing:
    """All rows, for people."""
    import pyarrow.types as kinds

    fields = [
        Field(key=name, title=name, is_number=is_number, wraps=not is_number)
        for name, field in zip(answer.schema.names, answer.schema, strict=True)
        for is_number in [
            kinds.is_integer(field.type) or kinds.is_floating(field.type) or kinds.is_decimal(field.type)
        ]
    ]
    return Listing(fields=fields, rows=[Row(values=values) for values in _plain_rows(answer)])


def _write_csv(answer: Answer, text: TextIO) -> None:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.schema.names)
    writer.writerows([plain(value) for value in row.values()] for row in _plain_rows(answer))


def _write_json(answer: Answer, text: TextIO) -> None:
    """As json.dumps would write the list, a row at a time."""
    before = "[\n"
    for batch in answer.batches():
        for row in rows_of(batch):
            text.write(f"{before}{_json_row(row)}")
            before = ",\n"
    text.write("[]\n" if before == "[\n" else "\n]\n")


def _json_row(row: dict[str, Any]) -> str:
    """Two spaces in; written out, since most values are single and the encoder is slow when it indents."""
    members = []
    for name, value in row.items():
        if isinstance(value, list | dict):
            written = textwrap.indent(INDENTED.encode(value), "    ").lstrip()
        else:
            written = SINGLE.encode(value)
        members.append(f"    {SINGLE.encode(name)}: {written}")
    return "  {\n" + ",\n".join(members) + "\n  }"


def _plain_rows(answer: Answer) -> Iterator[dict[str, Any]]:
    for batch in answer.batches():
        for row in rows_of(batch):
            yield {name: plain_value(value) for name, value in row.items()}


def _write_arrow(answer: Answer, stream: BinaryIO) -> None:
    """Arrow's stream format, which needs no seeking."""
    import pyarrow as pa

    with pa.ipc.new_stream(stream, answer.schema) as writer:
        for batch in answer.batches():
            writer.write_batch(batch)


def _write_parquet(answer: Answer, stream: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(stream, answer.schema, compression="zstd") as writer:
        waiting: list[Any] = []
        for batch in answer.batches():
            waiting.append(batch)
            if sum(each.num_rows for each in waiting) >= ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(waiting, schema=answer.schema))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema=answer.schema))


STREAMED: dict[str, Callable[[Answer, TextIO], None]] = {"csv": _write_csv, "json": _write_json}
BINARY: dict[str, Callable[[Answer, BinaryIO], None]] = {"arrow": _write_arrow, "parquet": _write_parquet}
