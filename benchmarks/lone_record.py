"""How long a lone record takes: from the call that spools it until the collector's acknowledgement is here.

A real collector in a process of its own, mutual TLS on loopback, an agent's reporter that is connected and
has nothing else to do. Between two records it rests, so that nothing is warm but the connection. Beside it
the same write alone, committed to a spool and not sent. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from llmenv.fleet.v1 import machine_pb2, record_pb2
from llmenv_agent.identity import load_identity
from llmenv_agent.renewal import Renewal
from llmenv_agent.reporter import Reporter
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from llmenv.fleet.v1 import agent_service_pb2

RECORDS, QUICK_RECORDS = 100, 20
REST_SECONDS = 0.2
WITHIN_SECONDS = 1.0
BIN = Path(sys.executable).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RECORDS} records instead of {RECORDS}")
    records = QUICK_RECORDS if parser.parse_args().quick else RECORDS
    with tempfile.TemporaryDirectory() as folder:
        sent, alone = measured(Path(folder), records)
    for name, times in (("acknowledged", sent), ("spooled alone", alone)):
        print(
            f"{name:>14}: median {statistics.median(times) * 1e3:7.1f} ms,"
            f" highest {max(times) * 1e3:7.1f} ms of {records}"
        )
    figure = {
        "benchmark": "lone_record",
        "figure": round(max(sent), 4),
        "unit": "s",
        "target": f"<= {WITHIN_SECONDS:g}",
        "holds": max(sent) <= WITHIN_SECONDS,
    }
    print(json.dumps(figure))
    return 0


def measured(folder: Path, records: int) -> tuple[list[float], list[float]]:
    """Seconds of each record, delivered and only spooled."""
    data = str(folder / "collector")
    environment = {**os.environ, "LLMENV_STATE_DIR": str(folder / "agent"), "LLMENV_DATA_DIR": data}
    call([str(BIN / "llmenv-collector"), "init"], environment)
    ports = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
    collector = subprocess.Popen([str(BIN / "llmenv-collector"), "serve", *ports], env=environment)
    try:
        while not (folder / "collector" / "serving.json").exists():
            time.sleep(0.05)
        token = call([str(BIN / "llmenv-collector"), "token", "create"], environment).strip()
        call([str(BIN / "llmenv-agent"), "enroll"], {**environment, "LLMENV_TOKEN": token})
        sent = asyncio.run(delivered(folder / "agent", records))
    finally:
        collector.terminate()
        collector.wait(30)
    return sent, spooled(folder / "alone.db", records)


async def delivered(state_dir: Path, records: int) -> list[float]:
    identity = load_identity(state_dir)
    spool = Spool(state_dir / "spool.db", machine_id=identity.machine_id)

    async def ignore(_command: agent_service_pb2.Command) -> None:
        """Nobody commands here."""

    renewal = Renewal(state_dir, identity)
    reporter = Reporter(spool, renewal, read_machine=machine_pb2.Machine, on_command=ignore)
    running = asyncio.create_task(reporter.run())
    await asyncio.to_thread(spool.append, outcome())
    await reporter.wait_until_delivered(30)
    times = []
    for _ in range(records):
        await asyncio.sleep(REST_SECONDS)
        began = time.perf_counter()
        await asyncio.to_thread(spool.append, outcome())
        await reporter.wait_until_delivered(30)
        times.append(time.perf_counter() - began)
    reporter.stop()
    await running
    spool.close()
    return times


def spooled(path: Path, records: int) -> list[float]:
    spool = Spool(path, machine_id="019c6120-0000-7000-8000-000000000001")
    times = []
    for _ in range(records):
        began = time.perf_counter()
        spool.append(outcome())
        times.append(time.perf_counter() - began)
    spool.close()
    return times


def outcome() -> record_pb2.Record:
    command_id = "019c6120-0000-7000-8000-000000000002"
    return record_pb2.Record(command_outcome=record_pb2.CommandOutcome(command_id=command_id))


def call(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
