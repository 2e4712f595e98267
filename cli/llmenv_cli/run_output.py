"""Prints a run: as a report for people, as JSON or CSV for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmenv.fleet.v1.run_pb2 import Run

    from llmenv_cli.render.listing import Listing


def print_run(run: Run, *, output_format: str, language: str) -> None:
    """`table` is the short report for a terminal, `md` the whole one."""
    match output_format:
        case "json":
            from llmenv.message_json import text_of

            sys.stdout.write(text_of(run))
        case "csv":
            from llmenv_cli.render.listing import write_listing

            write_listing(results_listing(run), output_format="csv", stream=sys.stdout)
        case "md":
            from llmenv_cli.render.markdown import markdown
            from llmenv_cli.render.run_report import whole_report

            sys.stdout.write(markdown(whole_report(run, language=language)))
        case _:
            from llmenv_cli.render.run_report import short_report
            from llmenv_cli.render.terminal import write_report

            write_report(short_report(run, language=language), sys.stdout)


def results_listing(run: Run) -> Listing:
    """A row a check, those that never ran included."""
    from llmenv_cli.render.listing import Field, Listing, Row
    from llmenv_cli.render.run_view import RunView

    keys = (
        "run_id",
        "check",
        "status",
        "is_core",
        "device",
        "reason",
        "remedy_id",
        "wall_seconds",
        "peak_bytes",
    )
    rows = []
    for check in RunView(run).checks:
        result = check.result
        values = (
            run.run_id,
            check.name,
            check.word,
            check.is_core,
            result.device if result else run.device,
            result.reason.text if result else "",
            result.remedy_id if result else "",
            result.wall_seconds if result else None,
            result.peak_memory.process_bytes or None if result else None,
        )
        rows.append(Row(values=dict(zip(keys, values, strict=True))))
    return Listing(fields=[Field(key=key, title=key) for key in keys], rows=rows)
