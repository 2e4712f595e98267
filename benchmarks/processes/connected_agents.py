"""Many agents in one process: the real reporter, stream, backoff and certificate; their spools are in memory.

Reads one command a line and answers each with one JSON object.  `spool N` puts N records into every spool,
`listening` begins the count of refusals anew, `state` changes nothing; the end of the input ends the process.
Times are of the monotonic clock, which the processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import json
import logging
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from llmenv.fleet.v1 import machine_pb2, record_pb2
from llmenv.ids import new_id
from llmenv_agent.connection import Diagnosis, Line, Trouble, retry_seconds
from llmenv_agent.identity import Identity
from llmenv_agent.renewal import Renewal
from llmenv_agent.reporter import Reporter
from llmenv_agent.spool import Spool
from llmenv_agent.spool_bounds import Bounds
from llmenv_agent.spool_file import IN_MEMORY
from llmenv_agent.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

THREADS = 32
BOUNDS = Bounds(total_bytes=16 << 20, acknowledged_bytes=1 << 20)
ABSENT = "Connection refused"
"""Nobody listens: no answer of the collector."""


@dataclass
class CountingLine(Line):
    """Counts what streams were refused with.

    It makes no second connection to find out why, as an agent does: thousands share two cores here.
    """

    refusals: Counter[str] = field(default_factory=Counter)

    def explain(self, address: str, identity: Identity, error: grpc.aio.AioRpcError) -> Diagnosis:  # noqa: ARG002 (a Line is asked so)
        is_unavailable = error.code().name == "UNAVAILABLE"
        if ABSENT not in (error.details() or ""):
            told = " with RetryInfo" if retry_seconds(error) else ""
            self.refusals[f"{error.code().name}{told}"] += 1
        return Diagnosis(trouble=Trouble.UNREACHABLE if is_unavailable else Trouble.BROKEN, sentence="")


@dataclass
class NotedTally(Tally):
    """Also when it was welcomed, and how far its records are stored and since when."""

    watermark: int = 0
    welcomed_at: float = 0.0
    acknowledged_at: float = 0.0

    def welcomed(self) -> None:
        super().welcomed()
        self.welcomed_at = time.monotonic()

    def was_acknowledged(self, watermark: int) -> None:
        super().was_acknowledged(watermark)
        self.watermark = max(self.watermark, watermark)
        self.acknowledged_at = time.monotonic()


class ConnectedAgent:
    """Create it in the event loop."""

    def __init__(self, identity: Identity, line: Line) -> None:
        self.spool = Spool(IN_MEMORY, machine_id=identity.machine_id, bounds=BOUNDS)
        self.machine_id, self.spooled = identity.machine_id, 0
        self.tally = NotedTally()
        self.reporter = Reporter(
            self.spool,
            Renewal(Path(os.devnull), identity),
            read_machine=lambda: machine_pb2.Machine(hostname=identity.machine_id),
            on_command=ignore,
            line=line,
        )
        self.reporter.tally = self.tally

    async def run(self, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        await self.reporter.run()

    def append(self, count: int) -> None:
        self.spool.extend([a_record(self.machine_id) for _ in range(count)])
        self.spooled += count


async def ignore(_: object) -> None:
    """Commands: none are given."""


def a_record(machine_id: str) -> record_pb2.Record:
    """A small one."""
    record = record_pb2.Record(record_id=new_id(), machine_id=machine_id)
    record.command_outcome.command_id = new_id()
    record.measured_at.GetCurrentTime()
    return record


async def live(identities: Sequence[Identity], *, within: float) -> None:
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(THREADS))
    line = CountingLine()
    agents = [ConnectedAgent(identity, line) for identity in identities]
    starts = random.Random(len(agents))
    running = [asyncio.create_task(agent.run(starts.uniform(0.0, within))) for agent in agents]
    while words := (await asyncio.to_thread(sys.stdin.readline)).split():
        match words:
            case ["spool", count]:
                await asyncio.to_thread(lambda: [agent.append(int(count)) for agent in agents])
            case ["listening"]:
                line.refusals.clear()
        print(json.dumps(state_of(agents, line)), flush=True)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def state_of(agents: Sequence[ConnectedAgent], line: CountingLine) -> dict[str, object]:
    tallies = [agent.tally for agent in agents]
    return {
        "connected": sum(tally.is_connected for tally in tallies),
        "drained": sum(agent.tally.watermark >= agent.spooled for agent in agents),
        "welcomed_at": max(tally.welcomed_at for tally in tallies),
        "acknowledged_at": max(tally.acknowledged_at for tally in tallies),
        "refusals": dict(line.refusals),
    }


def read_identity(line: str) -> Identity:
    content = json.loads(line)
    return Identity(**{**content, "agent_addresses": tuple(content["agent_addresses"])})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("identities", type=Path, help="one JSON object a line")
    parser.add_argument("--within", type=float, default=0.0, help="seconds in which they start")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    identities = [read_identity(line) for line in given.identities.read_text(encoding="utf-8").splitlines()]
    asyncio.run(live(identities, within=given.within))
    return 0


if __name__ == "__main__":
    sys.exit(main())
