"""What an idle agent takes: memory, processor, connections and writes, beside two agents of other kinds.

All three run at once for the same time on loopback: `llmenv-agent run`, connected with mutual TLS to a
collector and with nothing to do; Debian's prometheus-node-exporter, scraped once a heartbeat; and an agent of
psutil and requests (processes/polling_agent.py) that posts what it sees over TLS once a heartbeat.  An agent
that is not installed has no row.

Resident memory is the highest of readings taken every few seconds; processor time is that of the whole window
as a share of one core; writes are what the kernel counts as written to storage for the process (write_bytes
of /proc/PID/io).  Ten minutes by default, 40 s with --quick.  The last line is JSON with targets for our own.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIN = Path(sys.executable).parent
POLLING = Path(__file__).resolve().parent / "processes" / "polling_agent.py"
NODE_EXPORTER = shutil.which("prometheus-node-exporter")
HEARTBEAT_SECONDS = 30.0
START_SECONDS = 30.0
SETTLE_SECONDS = 10.0
READING_SECONDS = 2.0
RESIDENT_MIB, CORE_SHARE = 64.0, 0.001
NEVER_LOADED = ("libtorch", "libmlx", "transformers", "cryptography")
# One check that only passes, so that the agent has been at work before it rests.
CHECK = """\"\"\"Is anything there?\"\"\"

SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {}


def run(probe):
    probe.passed("Something is.")
"""
CONFIGURATION = """
[agent]
checks_folders = ["{folder}/checks"]
[policy]
only_when_idle = false
[suite.once]
checks = ["present"]
[schedule.once]
every = "720h"
[[target]]
name = "target"
python = "{python}"
"""


@dataclasses.dataclass(frozen=True)
class Usage:
    """Of one process over the window: MiB, a share of one core, counts."""

    name: str
    resident_mib: float
    core_share: float
    connections: int
    written_bytes: int
    write_calls: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 seconds instead of ten minutes")
    parser.add_argument("--seconds", type=float, help="length of the window")
    options = parser.parse_args()
    seconds = options.seconds or (40.0 if options.quick else 600.0)
    with tempfile.TemporaryDirectory(prefix="llmenv-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        ours = stack.enter_context(llmenv_agent(folder))
        processes = {"llmenv-agent": ours}
        if NODE_EXPORTER:
            processes["node-exporter"] = stack.enter_context(node_exporter())
        processes["psutil + requests"] = stack.enter_context(polling_agent(folder / "collector"))
        time.sleep(SETTLE_SECONDS)
        usages = observe(processes, seconds)
        loaded = loaded_by(ours)
    show(usages, seconds)
    print(json.dumps(figures(usages[0], loaded)))
    return 0


def show(usages: list[Usage], seconds: float) -> None:
    print(f"{seconds:g} s idle, a heartbeat, a scrape and a post every {HEARTBEAT_SECONDS:g} s")
    print(f"{'agent':<20}{'resident MiB':>14}{'% of a core':>13}{'connections':>13}{'written bytes':>15}")
    for one in usages:
        share = f"{one.core_share * 100:.3f}"
        print(
            f"{one.name:<20}{one.resident_mib:>14.1f}{share:>13}{one.connections:>13}{one.written_bytes:>15,}"
        )


def figures(ours: Usage, loaded: list[str]) -> list[dict[str, object]]:
    rows = (
        ("agent_resident_memory", round(ours.resident_mib, 1), "MiB", RESIDENT_MIB),
        ("agent_core_share", round(ours.core_share, 5), "1", CORE_SHARE),
        ("agent_connections", ours.connections, "1", 1),
        ("agent_written_bytes", ours.written_bytes, "byte", 0),
        ("agent_libraries_of_training", len(loaded), "1", 0),
    )
    return [
        {"benchmark": name, "figure": figure, "unit": unit, "target": f"<= {most}", "holds": figure <= most}
        for name, figure, unit, most in rows
    ]


def observe(processes: dict[str, psutil.Process], seconds: float) -> list[Usage]:
    """Readings of all processes in turn until the window ends."""
    before = {name: (core_seconds(one), one.io_counters()) for name, one in processes.items()}
    began = time.monotonic()
    resident = dict.fromkeys(processes, 0.0)
    while time.monotonic() - began < seconds:
        for name, process in processes.items():
            resident[name] = max(resident[name], process.memory_info().rss / 2**20)
        time.sleep(READING_SECONDS)
    window = time.monotonic() - began
    usages = []
    for name, process in processes.items():
        spent, counters = before[name]
        now = process.io_counters()
        usages.append(
            Usage(
                name=name,
                resident_mib=resident[name],
                core_share=(core_seconds(process) - spent) / window,
                connections=sum(
                    one.status == psutil.CONN_ESTABLISHED for one in process.net_connections("tcp")
                ),
                written_bytes=now.write_bytes - counters.write_bytes,
                write_calls=now.write_count - counters.write_count,
            )
        )
    return usages


def core_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def loaded_by(process: psutil.Process) -> list[str]:
    """Of what an agent must never load, what its address space holds."""
    paths = [one.path for one in process.memory_maps()]
    return [name for name in NEVER_LOADED if any(name in path for path in paths)]


@contextlib.contextmanager
def llmenv_agent(folder: Path) -> Iterator[psutil.Process]:
    """An enrolled agent that has done its one run and delivered it, beside its collector."""
    people, agents = free_port(), free_port()
    environment = {
        **os.environ,
        "LLMENV_DATA_DIR": str(folder / "collector"),
        "LLMENV_STATE_DIR": str(folder / "agent"),
        "LLMENV_RUN_LOCK": str(folder / "run.lock"),
    }
    call(environment, "llmenv-collector", "init")
    listen = ("--listen", f"127.0.0.1:{people}", "--agents-listen", f"127.0.0.1:{agents}")
    with running([str(BIN / "llmenv-collector"), "serve", *listen], environment):
        wait_for((folder / "collector" / "serving.json").exists, "the collector")
        token = call(environment, "llmenv-collector", "token", "create").strip()
        call({**environment, "LLMENV_TOKEN": token}, "llmenv-agent", "enroll")
        (folder / "checks").mkdir()
        (folder / "checks" / "present.py").write_text(CHECK)
        configuration = folder / "agent.toml"
        configuration.write_text(CONFIGURATION.format(folder=folder, python=sys.executable))
        command = [str(BIN / "llmenv-agent"), "run", "--config", str(configuration)]
        with running(command, environment) as agent:
            wait_for(lambda: is_delivered(environment), "the first run's delivery")
            yield agent


def is_delivered(environment: dict[str, str]) -> bool:
    status = json.loads(call(environment, "llmenv-agent", "status", "--format", "json"))
    spool = status["spool"] or {"stored": 0, "waiting": 0}
    return bool(spool["stored"] >= 5 and spool["waiting"] == 0)


@contextlib.contextmanager
def node_exporter() -> Iterator[psutil.Process]:
    port = free_port()
    command = [str(NODE_EXPORTER), f"--web.listen-address=127.0.0.1:{port}"]
    with running(command, dict(os.environ)) as process:
        url = f"http://127.0.0.1:{port}/metrics"
        wait_for(lambda: is_listening(port), "node-exporter")
        with every_heartbeat(lambda: scrape(url)):
            yield process


def scrape(url: str) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        answer.read()


@contextlib.contextmanager
def polling_agent(data_folder: Path) -> Iterator[psutil.Process]:
    """Posts to a server of ours that shows the collector's certificate."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(data_folder / "server.pem", data_folder / "server-key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_port}/"
    command = [sys.executable, str(POLLING), url, str(data_folder / "ca.pem"), str(HEARTBEAT_SECONDS)]
    with running(command, dict(os.environ)) as process:
        yield process
    server.shutdown()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[psutil.Process]:
    """Ends the benchmark with what the process said when it did not last."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        try:
            yield psutil.Process(process.pid)
        finally:
            ended_by_itself = process.poll() is not None
            process.terminate()
            process.wait(timeout=30)
            if ended_by_itself:
                said.seek(0)
                print(f"{command[0]} ended:\n{said.read().decode()}", file=sys.stderr)


@contextlib.contextmanager
def every_heartbeat(action: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            action()

    threading.Thread(target=repeat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def call(environment: dict[str, str], program: str, *arguments: str) -> str:
    ended = subprocess.run(
        [str(BIN / program), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"{program} {' '.join(arguments)} ended with {ended.returncode}:\n{ended.stderr}")
    return ended.stdout


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {START_SECONDS:g} s")
        time.sleep(1.0)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
