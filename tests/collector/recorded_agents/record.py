"""Record what an agent says: a real llmenv-agent enrols, runs a suite once and delivers it to a collector.

    python record.py WORK_FOLDER agent-0.1.0.bin

Each release adds the recording of its agent, and the collector is tested with those of the last two minor
versions.  The file has each ConnectRequest with its length before it (protobuf's delimited form), streams one
after the other.  The hostname is replaced.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from google.protobuf import proto
from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest
from llmenv.fleet.v1.record_pb2 import Record

CHECKS = ("packages", "settings")
# A collector that keeps every message of an agent before it takes it.
KEEPING = """
import sys
from google.protobuf import proto
from llmenv_collector.delivery import session

class Keeping(session.Session):
    async def serve(self, requests):
        async def kept():
            async for request in requests:
                with open(sys.argv[-1], "ab") as file:
                    proto.serialize_length_prefixed(request, file)
                yield request
        await super().serve(kept())

from llmenv_collector.delivery import servicer as agent_servicer
agent_servicer.Session = Keeping
from llmenv_collector.main import main
main(sys.argv[1:-1])
"""


def record(work: Path) -> bytes:
    """All messages of one agent, with another hostname."""
    kept = work / "kept"
    environment = {
        **os.environ,
        "LLMENV_DATA_DIR": str(work / "collector"),
        "LLMENV_STATE_DIR": str(work / "agent"),
        "LLMENV_RUN_LOCK": str(work / "lock"),
    }
    programs = Path(sys.executable).parent

    def call(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [programs / program, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()

    call("python", "-m", "venv", "--without-pip", str(work / "training"))
    call("llmenv-collector", "init")
    ports = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
    collector = subprocess.Popen([sys.executable, "-c", KEEPING, "serve", *ports, str(kept)], env=environment)
    try:
        while not (work / "collector" / "serving.json").exists():
            time.sleep(0.1)
        environment["LLMENV_TOKEN"] = call("llmenv-collector", "token", "create")
        call("llmenv-agent", "enroll")
        call("llmenv-agent", "run", "--once", "--config", str(configured(work)))
    finally:
        collector.terminate()
        collector.wait()
    return renamed(kept)


def configured(work: Path) -> Path:
    file = work / "agent.toml"
    file.write_text(
        f'[[target]]\nname = "training"\npython = "{work}/training"\n'
        f'[suite.recorded]\nchecks = {list(CHECKS)}\n[schedule.recorded]\nsplay = "0s"\n'
        "[policy]\nonly_when_idle = false\n"
    )
    return file


def renamed(kept: Path) -> bytes:
    target = kept.with_suffix(".bin")
    with kept.open("rb") as source, target.open("wb") as file:
        while request := proto.parse_length_prefixed(ConnectRequest, source):
            if request.hello.machine.hostname:
                request.hello.machine.hostname = "studio"
            for spooled in request.records.records:
                spooled.record = with_hostname(spooled.record)
            proto.serialize_length_prefixed(request, file)
    return target.read_bytes()


def with_hostname(content: bytes) -> bytes:
    record = Record.FromString(content)
    for holder in (record.run_started.run, record.environment_snapshot):
        if holder.machine.hostname:
            holder.machine.hostname = "studio"
    return content if record == Record.FromString(content) else record.SerializeToString()


if __name__ == "__main__":
    folder, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    folder.mkdir(parents=True)
    output.write_bytes(record(folder))
