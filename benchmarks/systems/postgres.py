"""Plain PostgreSQL, fed by COPY through psql: two tables, with an index for the question or without."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from systems.feeding import feed
from systems.runs import ASKED_CHECK, ASKED_NAME, PACKAGES
from systems.server import (
    LOOPBACK,
    UNPACKED,
    NotInstalledError,
    NotMeasuredError,
    Server,
    free_ports,
    program,
    served,
)
from systems.system import Shape, batches

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from systems.runs import Answer, Run

USER = "postgres"
_PACKAGE = "postgresql"
TABLES = f"""
CREATE TABLE run (run_id uuid PRIMARY KEY, machine text, chip text, gpu_cores integer, os_version text,
  {", ".join(f"{name} text" for name in PACKAGES)}, started_at timestamptz);
CREATE TABLE measurement (run_id uuid, check_name text, case_name text, name text, unit text, value float8);
"""
INDEX = "CREATE INDEX ON measurement (check_name, name);"
QUESTION = f"""
SELECT chip, torch, percentile_cont(0.5) WITHIN GROUP (ORDER BY value)
FROM measurement JOIN run USING (run_id)
WHERE check_name = '{ASKED_CHECK}' AND name = '{ASKED_NAME}' AND started_at >= '{{since}}'
GROUP BY chip, torch
"""
SIZE = """
SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = 'public' AND relkind = 'r'
"""
_KEPT = "kept"
_COMMITS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class Postgres:
    """As Debian packages it, with its default settings."""

    durability = "fsync of its log at each commit (fsync, synchronous_commit and full_page_writes on)"
    shapes = (Shape.ONE_RUN, Shape.BULK)

    def __init__(self, *, is_indexed: bool) -> None:
        self._index = INDEX if is_indexed else ""
        self.name = "PostgreSQL, indexed" if is_indexed else "PostgreSQL"

    def version(self) -> str:
        return version()

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[RunningPostgres]:
        with postmaster(folder) as (server, port):
            psql = Psql(port)
            psql.tell(TABLES + self._index)
            yield RunningPostgres(port, psql, pids=[server.pid])
            psql.close()


class RunningPostgres:
    """See `Running`."""

    def __init__(self, port: int, psql: Psql, *, pids: Sequence[int]) -> None:
        self._port, self._psql = port, psql
        self._clients: list[Psql] = []
        self._queues: list[list[str]] = []
        self.pids = pids

    def prepare(self, histories: Sequence[Sequence[Run]], shape: Shape) -> None:
        self._queues = [[copied(batch) for batch in batches(history, shape)] for history in histories]
        self._clients = [Psql(self._port) for _ in histories]
        for client in self._clients:
            client.tell("")

    def ingest(self) -> None:
        feed([client.tell for client in self._clients], self._queues)
        for client in self._clients:
            client.close()

    def settle(self) -> None:
        self._psql.tell("VACUUM ANALYZE; CHECKPOINT;")

    def ask(self, since: dt.datetime) -> Answer:
        rows = self._psql.ask(QUESTION.format(since=since.isoformat()))
        return {(chip, torch): float(value) for chip, torch, value in rows}

    def stored_bytes(self) -> int:
        return table_bytes(self._psql)


def copied(runs: Sequence[Run]) -> str:
    """One transaction."""
    of_runs, of_figures = io.StringIO(), io.StringIO()
    run_rows, figure_rows = (csv.writer(table, lineterminator="\n") for table in (of_runs, of_figures))
    for run in runs:
        run_rows.writerow([run.run_id, *run.labels().values(), run.started_at.isoformat()])
        figure_rows.writerows(
            [run.run_id, each.check, each.case, each.name, each.unit, each.value] for each in run.figures
        )
    tables = {"run": of_runs, "measurement": of_figures}
    copies = (f"COPY {name} FROM STDIN CSV;\n{rows.getvalue()}\\.\n" for name, rows in tables.items())
    return f"BEGIN;\n{''.join(copies)}COMMIT;\n"


def version() -> str:
    runs_as()
    said = subprocess.run([binary("postgres"), "--version"], capture_output=True, text=True, check=True)
    return f"PostgreSQL {said.stdout.split()[2]}"


def binary(name: str) -> Path:
    """Of the newest PostgreSQL. Debian keeps the server's programs off PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name))
    return program(name, package=_PACKAGE, folder=(folders or [UNPACKED])[-1])


def runs_as() -> str | None:
    """PostgreSQL refuses to run as root: there it runs as the user of Debian's package, who has to exist."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam(USER).pw_name
    except KeyError:
        raise NotInstalledError(f"not installed: the user {USER}, of Debian's package {_PACKAGE}") from None


@contextlib.contextmanager
def postmaster(folder: Path) -> Iterator[tuple[Server, int]]:
    user = runs_as()
    data, (port,) = folder / "postgresql", free_ports(1)
    data.mkdir()
    if user:
        shutil.chown(data, user, user)
    made = subprocess.run(
        [binary("initdb"), "--pgdata", data, "--username", USER, "--auth", "trust", "--locale", "C.UTF-8"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    if made.returncode:
        raise NotMeasuredError(f"initdb: {made.stderr.strip()}")
    command = [binary("postgres"), "-D", data, "-h", LOOPBACK, "-p", str(port), "-k", data]
    connections = ["-c", "max_connections=300"]
    with served(*command, *connections, folder=folder, user=user, end_by=signal.SIGINT) as server:
        ready = [str(binary("pg_isready")), "-q", "-h", LOOPBACK, "-p", str(port)]
        server.wait_until(lambda: not subprocess.run(ready, check=False).returncode, "PostgreSQL")
        require_durable(port)
        yield server, port


def require_durable(port: int) -> None:
    """Read back from the server, whatever its configuration says."""
    psql = Psql(port)
    for name, wanted in _COMMITS.items():
        ((found,),) = psql.ask(f"SHOW {name}")
        if found != wanted:
            raise NotMeasuredError(f"PostgreSQL has {name} {found}: no commit would be durable")
    psql.close()


def table_bytes(psql: Psql) -> int:
    """Tables with their indexes, without the catalogue and the log."""
    ((size,),) = psql.ask(SIZE)
    return int(size)


class Psql:
    """One connection, by PostgreSQL's own client."""

    def __init__(self, port: int, database: str = "postgres") -> None:
        address = ["-h", LOOPBACK, "-p", str(port), "-U", USER, "-d", database]
        self._process = subprocess.Popen(
            [str(binary("psql")), "-X", "-q", "--csv", "-t", "-v", "ON_ERROR_STOP=1", *address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, script: str) -> None:
        """Returns when all of it is done. Raises NotMeasuredError."""
        self._say(script)
        self._lines()

    def ask(self, query: str) -> list[list[str]]:
        self._say(f"{query.strip().rstrip(';')};\n")
        return list(csv.reader(self._lines()))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    def _say(self, script: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # what it says of it is read next
            self._process.stdin.write(f"{script}\n\\echo {_KEPT}\n")
            self._process.stdin.flush()

    def _lines(self) -> list[str]:
        lines: list[str] = []
        for line in self._process.stdout:
            if line.strip() == _KEPT:
                return lines
            lines.append(line)
        raise NotMeasuredError(f"psql: {self._process.stderr.read().strip().splitlines()[0]}")
