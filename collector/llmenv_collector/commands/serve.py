"""llmenv-collector serve: the running collector."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.command("serve")
@data_option
@click.option(
    "--store",
    metavar="STORE",
    help="file, or ducklake, which several collectors share.  [default: file]",
)
@click.option(
    "--lake-data",
    metavar="DIR|s3://BUCKET/PREFIX",
    help="Where ducklake has its files; its catalog is told by LLMENV_LAKE_CATALOG or in collector.toml.",
)
@click.option("--listen", metavar="HOST:PORT", help="For people and enrolment.  [default: 127.0.0.1:7443]")
@click.option("--agents-listen", metavar="HOST:PORT", help="For agents.  [default: 127.0.0.1:7444]")
@click.option(
    "--advertise",
    metavar="HOST[,HOST...]",
    help="Hosts that others reach it by, the preferred one first.  [default: the one it listens on]",
)
@click.option("--heartbeat-seconds", metavar="SECONDS", help="Between heartbeats to an agent.  [default: 30]")
@click.option("--log-format", metavar="FORMAT", help="text or json, on stderr.  [default: text]")
@click.option(
    "--metrics-listen", metavar="HOST:PORT", help="For Prometheus, without TLS.  [default: nowhere]"
)
@click.option(
    "--http-listen", metavar="HOST:PORT", help="For browsers, with TLS and a login.  [default: nowhere]"
)
@click.option(
    "--min-free-mb", metavar="MB", help="Free disk below which deliveries are refused.  [default: 256]"
)
@click.option(
    "--keep-trials",
    metavar="DAYSd|forever",
    help="Raw trials are removed when they are older.  [default: 90d]",
)
@click.option(
    "--keep-logs", metavar="DAYSd|forever", help="Log tails are removed when they are older.  [default: 365d]"
)
@click.option(
    "--keep-refused",
    metavar="DAYSd|forever",
    help="Bytes of refused records are removed when they are older.  [default: 365d]",
)
@click.option(
    "--keep-notices",
    metavar="DAYSd|forever",
    help="Notices and changes that were told are removed when they are older.  [default: 365d]",
)
@click.option(
    "--retention-seconds", metavar="SECONDS", help="Between rounds that remove them.  [default: 3600]"
)
@click.option(
    "--compact-percent",
    metavar="PERCENT",
    help="Free room of the database at which it is written anew; 100 for never.  [default: 30]",
)
@click.option(
    "--changes-seconds", metavar="SECONDS", help="Between looks for changed measurements.  [default: 60]"
)
@click.option("--sql-seconds", metavar="SECONDS", help="Time an analyst's statement may take.  [default: 30]")
@click.option(
    "--sql-memory-mb", metavar="MB", help="Memory an analyst's statement may take.  [default: 1024]"
)
@click.option(
    "--sql-rows", metavar="ROWS", help="Rows an analyst's statement may return.  [default: 1000000]"
)
@click.option(
    "--read-only", is_flag=True, help="Serve a snapshot, or a lake, on loopback, and change nothing."
)
@click.option(
    "--snapshot",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="With --read-only: a backup, a copy of the database, or an export in Parquet.",
)
def command(folder: DataFolder, *, read_only: bool, snapshot: Path | None, **flags: str | None) -> None:
    """Receive what agents deliver, and answer people.

    --read-only --store ducklake answers people from a lake, and needs no right to change it.
    --read-only --snapshot answers people from a copy while the collector is down, with the same views, roles
    and clients.

    Says "ready" on stderr once both ports listen.  Port 0 lets the system choose;
    serving.json in the data folder says what it chose.  SIGTERM ends it in order.
    """
    # gRPC's own lines about a stranger's handshake mean nothing to people.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from llmenv import failpoints
    from llmenv.logs import configure_logging

    from llmenv_collector import settings
    from llmenv_collector.errors import UsageError
    from llmenv_collector.notices.webhook import webhooks_of
    from llmenv_collector.scheduled.scheduled_report import reports_of
    from llmenv_collector.serving.server import serve

    chosen = settings.load(folder.configuration, flags=flags)
    webhooks = webhooks_of(settings.read_tables(folder.configuration, "webhook"))
    by_name = {one.name: one for one in webhooks}
    reports = reports_of(settings.read_tables(folder.configuration, "report"), by_name)
    configure_logging(chosen.log_format)
    try:
        failpoints.arm()
    except ValueError as error:
        raise UsageError(str(error)) from error
    is_lake = chosen.store != "file"
    if snapshot is None and read_only and not is_lake:
        raise UsageError("--read-only needs --snapshot, or --store ducklake.")
    if snapshot is not None and not read_only:
        raise UsageError("--snapshot needs --read-only.")
    if read_only:
        from llmenv_collector.serving import offline

        if snapshot is not None:
            offline.serve_snapshot(folder, chosen, snapshot)
        else:
            offline.serve_lake(folder, chosen)
        return
    serve(folder, chosen, webhooks=webhooks, reports=reports)
