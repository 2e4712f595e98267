"""One collector, one agent and what lies between, as processes that can be killed, stopped and started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from llmenv.failpoints import VARIABLE
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import record_pb2
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.printed_token import PrintedToken
from llmenv_agent.spool import Spool

from tests.chaos.proxy import FAIR, Proxy
from tests.chaos.surroundings import Clock, Disk, Link

if TYPE_CHECKING:
    from collections.abc import Mapping

START_SECONDS = 60.0
CHECKS = Path(__file__).parent / "checks"
CONFIGURATION = """
[agent]
checks_folders = ["{checks}"]
[[target]]
name = "bare"
python = "{python}"
[suite.chaos]
checks = ["tick", "table"]
[schedule.chaos]
every = "24h"
"""


class World:
    """Lives in one folder. `link` comes first: every process belongs to its network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link()
        self.disks = {name: Disk(folder / name) for name in ("agent", "collector")}
        self.clocks = {name: Clock(folder, name) for name in ("agent", "collector")}
        self.agent: subprocess.Popen[bytes] | None = None
        self.collector: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, str] = {}
        self._kept: dict[str, Path] = {}
        self.went_back = False
        """Whether the collector has an older database than the agent has heard of."""
        self._build()

    def _build(self) -> None:
        admin = self._call("llmenv_collector", "init")
        self.start_collector()
        if not self._ports:
            raise RuntimeError((self.folder / "collector.log").read_text())
        self._call("llmenv_agent", "enroll", token=self._call("llmenv_collector", "token", "create"))
        identity = self.folder / "agent" / "identity.json"
        content = json.loads(identity.read_text())
        self.proxy = Proxy(int(self._ports["agents"].rpartition(":")[2]))
        content["agent_addresses"] = [f"127.0.0.1:{self.proxy.port}"]
        identity.write_text(json.dumps(content))
        self.machine_id: str = content["machine_id"]
        (self.folder / "agent.toml").write_text(
            CONFIGURATION.format(checks=CHECKS, python=sys.executable), encoding="utf-8"
        )
        self.metadata = (("authorization", f"Bearer {PrintedToken.parse(admin).secret}"),)
        trusted = grpc.ssl_channel_credentials((self.folder / "collector" / "ca.pem").read_bytes())
        self._channel = grpc.secure_channel(self._ports["people"], trusted)
        self.people = FleetServiceStub(self._channel)

    def close(self) -> None:
        for process in (self.agent, self.collector):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self._channel.close()
        self.proxy.close()
        for disk in self.disks.values():
            disk.close()

    @property
    def spool(self) -> Path:
        return self.folder / "agent" / "spool.db"

    @property
    def database(self) -> Path:
        return self.folder / "collector" / "llmenv.duckdb"

    def start_collector(self, failpoints: str = "") -> None:
        """Returns when it serves, or has already died of a failpoint."""
        serving = self.folder / "collector" / "serving.json"
        serving.unlink(missing_ok=True)
        listen = [self._ports.get(name, "127.0.0.1:0") for name in ("people", "agents")]
        # The least reserve: what is tested is a disk without a byte, not the refusal before it comes to that.
        arguments = ("serve", "--listen", listen[0], "--agents-listen", listen[1], "--min-free-mb", "1")
        self._is_armed = bool(failpoints)
        self.collector = self._start("llmenv_collector", *arguments, failpoints=failpoints)
        deadline = time.monotonic() + START_SECONDS
        while not serving.exists() and self.collector.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The collector does not start: see {self.folder}/collector.log")
            time.sleep(0.01)
        if serving.exists():
            written = json.loads(serving.read_text())
            self._ports = {"people": written["people_address"], "agents": written["agents_address"]}

    def start_agent(self, failpoints: str = "", *, deliver_within: float = 30.0) -> None:
        """Runs its suite once, delivers everything, and ends."""
        self._start_agent("--once", "--deliver-within", f"{deliver_within:g}s", failpoints=failpoints)

    def start_service(self, failpoints: str = "") -> None:
        """As a service has it: runs what is due and what is asked for, until it is ended."""
        self._start_agent(failpoints=failpoints)

    def _start_agent(self, *options: str, failpoints: str) -> None:
        file = str(self.folder / "agent.toml")
        arguments = ("run", "--config", file, "--log-format", "json", *options)
        self.agent = self._start("llmenv_agent", *arguments, failpoints=failpoints)

    def kill(self, name: str) -> None:
        process = self.process(name)
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def stop(self, name: str) -> None:
        process = self.process(name)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        process = self.process(name)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)

    def end(self, name: str) -> None:
        """In order, or with force where it hangs."""
        process = self.process(name)
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill(name)

    def process(self, name: str) -> subprocess.Popen[bytes] | None:
        return self.agent if name == "agent" else self.collector

    def is_running(self, name: str) -> bool:
        process = self.process(name)
        return process is not None and process.poll() is None

    def is_stopped(self, name: str) -> bool:
        process = self.process(name)
        if process is None or process.poll() is not None:
            return False
        return "State:\tT" in Path(f"/proc/{process.pid}/status").read_text()

    def calm(self) -> None:
        """Lift every disturbance; a collector that is dead, or has a failpoint left, is started anew."""
        self.proxy.weather = FAIR
        self.proxy.cut()
        self.link.set(up=True)
        for name in ("agent", "collector"):
            self.disks[name].empty()
            self.clocks[name].set(0)
            self.go_on(name)
        if self._is_armed:
            self.kill("collector")
        if not self.is_running("collector"):
            self.start_collector()

    def poison(self) -> None:
        """Spool a record that no collector can accept; the agent must not run."""
        spool = Spool(self.spool, machine_id=self.machine_id)
        spool.append(record_pb2.Record(command_outcome=record_pb2.CommandOutcome(command_id="no UUID")))
        spool.close()

    def held_schedules(self) -> list[str]:
        """Names of those of the collector that are on the machine's disk."""
        file = self.folder / "agent" / "collector_schedules.json"
        if not file.exists():
            return []
        return [each["schedule"]["name"] for each in json.loads(file.read_text())["schedules"]]

    def has_started(self, schedule: str) -> bool:
        """Whether the machine has noted a start of a schedule of the collector."""
        file = self.folder / "agent" / "schedule.json"
        return file.exists() and f"collector:{schedule}" in json.loads(file.read_text())

    def copy_database(self, folder: Path) -> Path:
        """As it is on the disk at this moment, whatever the collector has in memory."""
        self.stop("collector")
        try:
            return _copied(self.database, folder, ending=".wal")
        finally:
            self.go_on("collector")

    def _put_back(self, copy: Path, *, over: Path, ending: str) -> None:
        """An older copy takes the place of a file that no process uses."""
        over.with_name(over.name + ending).unlink(missing_ok=True)
        over.with_name(over.name + "-shm").unlink(missing_ok=True)
        shutil.copyfile(copy, over)
        log = copy.with_name(copy.name + ending)
        if log.exists():
            shutil.copyfile(log, over.with_name(over.name + ending))

    def keep_spool(self) -> None:
        """As it is now, to go back to; the agent must not run."""
        self._kept["spool"] = _copied(self.spool, self.folder / "kept_spool", ending="-wal")

    def keep_database(self) -> None:
        self._kept["database"] = self.copy_database(self.folder / "kept_database")

    def restore_spool(self) -> None:
        """The agent must not run. Only one side goes back: what both forget nobody can know."""
        if "spool" in self._kept:
            self._put_back(self._kept["spool"], over=self.spool, ending="-wal")
            self._kept = {}

    def restore_database(self) -> None:
        if "database" in self._kept:
            self.end("collector")
            self._put_back(self._kept["database"], over=self.database, ending=".wal")
            self.went_back = True
            self._kept = {}
            self.start_collector()

    def ledger(self) -> fleet.GetDeliveryResponse:
        return self.people.GetDelivery(
            fleet.GetDeliveryRequest(), metadata=self.metadata, timeout=20, wait_for_ready=True
        )

    def checkpoint(self) -> None:
        """An analyst's statement has the collector put its log into the file; it may die of that."""
        request = fleet.QueryRequest(sql="SELECT count(*) FROM machines")
        try:
            list(self.people.Query(request, metadata=self.metadata, timeout=2))
        except grpc.RpcError:
            return

    def _start(self, module: str, *arguments: str, failpoints: str) -> subprocess.Popen[bytes]:
        name = module.removeprefix("llmenv_")
        environment = {**self._environment(), **self.clocks[name].environment}
        if failpoints:
            environment[VARIABLE] = failpoints
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"{module}.main", *arguments], env=environment, stdout=log, stderr=log
            )

    def _call(self, module: str, *arguments: str, token: str = "") -> str:
        environment = {**self._environment(), **({"LLMENV_TOKEN": token} if token else {})}
        command = [sys.executable, "-m", f"{module}.main", *arguments]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if ended.returncode:
            raise RuntimeError(f"{module} {arguments}: {ended.stderr}")
        return ended.stdout.strip()

    def _environment(self) -> Mapping[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("LLMENV_")},
            "LLMENV_DATA_DIR": str(self.folder / "collector"),
            "LLMENV_STATE_DIR": str(self.folder / "agent"),
            "LLMENV_RUN_LOCK": str(self.folder / "run.lock"),
        }


def _copied(file: Path, folder: Path, *, ending: str) -> Path:
    """The database and its log, as one crash would leave them."""
    folder.mkdir(exist_ok=True)
    copy = folder / file.name
    log = file.with_name(file.name + ending)
    copied_log = copy.with_name(copy.name + ending)
    copied_log.unlink(missing_ok=True)
    shutil.copyfile(file, copy)
    if log.exists():
        shutil.copyfile(log, copied_log)
    return copy
