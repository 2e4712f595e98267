"""The three programs as people start them: processes on loopback, each with folders of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import psutil
import pytest
from llmenv.fleet.v1.record_pb2 import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
START_SECONDS = 90.0


@dataclasses.dataclass(frozen=True)
class SpooledRow:
    """A record as the agent's spool holds it."""

    sequence: int
    record_id: str
    kind: str


class Fleet:
    """A collector, an agent and an admin in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "LLMENV_DATA_DIR": str(folder / "collector"),
            "LLMENV_STATE_DIR": str(folder / "agent"),
            "LLMENV_CONFIG_DIR": str(folder / "admin"),
            "LLMENV_RUN_LOCK": str(folder / "run.lock"),
            "COLUMNS": "100",
            # An analyst's statement runs at a low priority: beside training it may wait long for its turn.
            "LLMENV_SQL_SECONDS": "200",
            "LLMENV_TIMEOUT_SECONDS": "200",
        }
        self.people_port, self.agents_port = free_ports()
        self.collector: subprocess.Popen[bytes] | None = None

    def call(
        self, program: str, *arguments: str, token: str = "", codes: tuple[int, ...] = (0,)
    ) -> subprocess.CompletedProcess[str]:
        """Run `program` to its end; fails the test for an exit code not in `codes` or a traceback."""
        environment = {**self.environment, **({"LLMENV_TOKEN": token} if token else {})}
        ended = subprocess.run(
            [str(BIN / program), *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=240,
            check=False,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode in codes, (
            f"{program} {arguments} exited with {ended.returncode}: {ended.stderr}"
        )
        return ended

    def initialise(self) -> None:
        self.call("llmenv-collector", "init")
        self.start_collector()
        self.call("llmenv-agent", "enroll", token=self.token())
        self.call("llmenv", "login", token=self.token("--role", "admin"))

    def token(self, *options: str) -> str:
        return self.call("llmenv-collector", "token", "create", *options).stdout.strip()

    def start_collector(self) -> None:
        serving = self.folder / "collector" / "serving.json"
        serving.unlink(missing_ok=True)
        log = (self.folder / "collector.log").open("ab")
        addresses = (
            "--listen",
            f"127.0.0.1:{self.people_port}",
            "--agents-listen",
            f"127.0.0.1:{self.agents_port}",
        )
        self.collector = subprocess.Popen(
            [str(BIN / "llmenv-collector"), "serve", *addresses], env=self.environment, stderr=log
        )
        log.close()
        end = time.monotonic() + START_SECONDS
        while not serving.exists():
            assert self.collector.poll() is None, (self.folder / "collector.log").read_text()
            assert time.monotonic() < end, "the collector did not start"
            time.sleep(0.02)

    def end_collector(self, number: signal.Signals) -> None:
        assert self.collector is not None
        self.collector.send_signal(number)
        self.collector.wait(timeout=90)

    def configure(self, python: Path, *lines: str) -> Path:
        """The agent's configuration: one target, then `lines`."""
        path = self.folder / "agent.toml"
        target = ["[[target]]", 'name = "target"', f'python = "{python}"']
        # Tests run on machines that are in use.
        policy = ["[policy]", "only_when_idle = false"]
        path.write_text("\n".join([*target, *lines, *policy]) + "\n")
        return path

    def start_agent(self, configuration: Path, *options: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "agent.log").open("ab")
        command = [str(BIN / "llmenv-agent"), "run", "--config", str(configuration), "--once", *options]
        with log:
            return subprocess.Popen(command, env=self.environment, stderr=log)

    def spooled(self) -> list[SpooledRow]:
        """Every record that the spool holds, oldest first."""
        with contextlib.closing(sqlite3.connect(self.folder / "agent" / "spool.db")) as connection:
            rows = connection.execute("SELECT sequence, record FROM record ORDER BY sequence").fetchall()
        records = [(sequence, Record.FromString(record)) for sequence, record in rows]
        return [
            SpooledRow(sequence, record.record_id, record.WhichOneof("kind") or "")
            for sequence, record in records
        ]

    def stored(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of the store; the collector must have ended."""
        with contextlib.closing(
            duckdb.connect(str(self.folder / "collector" / "llmenv.duckdb"), read_only=True)
        ) as store:
            return list(store.execute(sql).fetchall())


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def check_processes(agent: int) -> list[psutil.Process]:
    """Processes in which a check of the agent with this pid runs."""
    try:
        children = psutil.Process(agent).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [
        child for child in children if any(word.endswith("probe/__main__.py") for word in command_line(child))
    ]


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A serving collector, an enrolled agent and a logged-in admin."""
    fleet = Fleet(tmp_path)
    try:
        fleet.initialise()
        yield fleet
    finally:
        if fleet.collector is not None and fleet.collector.poll() is None:
            fleet.end_collector(signal.SIGKILL)
