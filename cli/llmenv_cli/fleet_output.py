"""Prints the fleet report: as sections for people, as JSON or one CSV row a verdict for programs."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse

    from llmenv_cli.render.listing import Listing


def print_report(answer: GetFleetReportResponse, *, output_format: str, language: str) -> None:
    match output_format:
        case "json":
            from llmenv_cli.render.message_json import write_message

            write_message(answer, sys.stdout)
        case "csv":
            from llmenv_cli.render.listing import write_listing

            write_listing(verdicts_listing(answer), output_format="csv", stream=sys.stdout)
        case "md":
            from llmenv_cli.render.fleet_report import fleet_report
            from llmenv_cli.render.markdown import markdown

            sys.stdout.write(markdown(fleet_report(answer, language=language)))
        case _:
            from llmenv_cli.render.fleet_report import fleet_report
            from llmenv_cli.render.terminal import write_report

            write_report(fleet_report(answer, language=language), sys.stdout)


def verdicts_listing(answer: GetFleetReportResponse) -> Listing:
    """The latest verdict of each check on each machine, environment and device."""
    from llmenv_cli.render.fleet_report import verdict_words
    from llmenv_cli.render.listing import Field, Listing, Row

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
