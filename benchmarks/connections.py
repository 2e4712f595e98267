"""What ten thousand connected machines cost a collector, and how soon all are back after it was gone.

A real collector in a process of its own, on loopback, and machines in two others
(`processes/connected_agents.py`): each has the real reporter, a certificate of its own and one mutual TLS
connection with one stream.  First they connect, half of them and then the rest, which gives the memory of
one; then they only send heartbeats.  Then the collector is killed, every machine spools a record, and after
the outage it is started again: the time from its listening until all are connected and all records
acknowledged, and what streams were refused with.

A connection takes a file descriptor of the collector: where fewer are allowed, there are fewer machines, and
memory and processor time are stated for ten thousand by the figures of one.  The last line is a list of JSON
objects.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from llmenv.ids import new_id
from llmenv_agent.identity import Identity, renewal_due
from llmenv_collector.identity import rotation
from llmenv_collector.identity.certificates import key_pem
from llmenv_collector.identity.identity_file import Identity as IdentityFile
from llmenv_collector.identity.identity_file import add_certificate, enter
from llmenv_collector.serving.open_files import most_connections
from llmenv_collector.storage.data_folder import DataFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BIN = Path(sys.executable).parent
AGENTS = Path(__file__).parent / "processes" / "connected_agents.py"
MACHINES, QUICK_MACHINES = 10_000, 400
IDLE_SECONDS, QUICK_IDLE_SECONDS = 90.0, 10.0
OUTAGE_SECONDS, QUICK_OUTAGE_SECONDS = 5.0, 1.0
STARTS_A_SECOND = 150.0
PATIENCE_SECONDS, QUICK_PATIENCE_SECONDS = 600.0, 200.0
SETTLE_SECONDS = 5.0
SPARE_CONNECTIONS = 72
"""Of the agents' port."""
MOST_MB, MOST_PERCENT, MOST_SECONDS = 1_200.0, 25.0, 120.0
RETRY_INFO = "with RetryInfo"


@dataclass(frozen=True)
class Seen:
    """Bytes, processor seconds by the second, and seconds since the collector listened again."""

    machines: int
    bare: int
    half: int
    whole: int
    rest: float
    """Without any machine."""
    idle: float
    connected: float
    drained: float
    processor: float
    """Seconds, while they came back."""
    refusals: dict[str, int]

    @property
    def of_one(self) -> float:
        return (self.whole - self.half) / (self.machines - self.machines // 2)

    @property
    def megabytes(self) -> float:
        """Of ten thousand."""
        return (self.whole + (MACHINES - self.machines) * self.of_one) / 1e6

    @property
    def percent(self) -> float:
        """Of ten thousand, of one core."""
        return 100.0 * (self.rest + (self.idle - self.rest) * MACHINES / self.machines)

    @property
    def refused(self) -> int:
        """Streams that were ended without a time to come again."""
        return sum(count for kind, count in self.refusals.items() if RETRY_INFO not in kind)


@dataclass
class Served:
    """The collector, which can be killed and started again at the same addresses."""

    data: DataFolder
    addresses: tuple[str, str] = ("127.0.0.1:0", "127.0.0.1:0")
    process: psutil.Popen = field(init=False)

    def start(self) -> None:
        """Returns when it listens."""
        self.data.serving.unlink(missing_ok=True)
        people, agents = self.addresses
        flags = ["--data", str(self.data.path), "--listen", people, "--agents-listen", agents]
        self.process = psutil.Popen([BIN / "llmenv-collector", "serve", *flags], stderr=subprocess.DEVNULL)
        while not self.data.serving.exists():
            if self.process.poll() is not None:
                raise SystemExit("the collector did not start")
            time.sleep(0.02)
        serving = self.data.read_serving()
        if serving is not None:
            self.addresses = (serving.people_address, serving.agents_address)

    def kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it was killed before
            self.process.kill()
        self.process.wait()

    @property
    def bytes(self) -> int:
        return int(self.process.memory_info().rss)

    @property
    def processor_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


class Agents:
    """Processes of machines."""

    def __init__(self, *, patience: float) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._patience = patience
        self.machines = 0

    def start(self, identities: Sequence[Identity], folder: Path) -> None:
        path = folder / f"agents-{len(self._processes)}.jsonl"
        lines = [json.dumps(dataclasses.asdict(identity)) for identity in identities]
        path.write_text("\n".join(lines), encoding="utf-8")
        within = str(len(identities) / STARTS_A_SECOND)
        command = [sys.executable, AGENTS, path, "--within", within]
        self._processes.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        self.machines += len(identities)

    def ask(self, command: str) -> dict[str, Any]:
        """The sum of what all answer; of times the last."""
        answers = [self._ask(process, command) for process in self._processes]
        counts = {name: sum(one[name] for one in answers) for name in ("connected", "drained")}
        times = {name: max(one[name] for one in answers) for name in ("welcomed_at", "acknowledged_at")}
        return {**counts, **times, "refusals": sum((Counter(one["refusals"]) for one in answers), Counter())}

    def wait(self) -> dict[str, Any]:
        """Until all are connected and have delivered everything."""
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            state = self.ask("state")
            if state["connected"] == state["drained"] == self.machines:
                return state
            time.sleep(0.5)
        raise SystemExit(f"after {self._patience:g} s of {self.machines} machines: {state}")

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _ask(self, process: subprocess.Popen[str], command: str) -> dict[str, Any]:
        if process.stdin is None or process.stdout is None:
            raise SystemExit("agents without pipes")
        process.stdin.write(command + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MACHINES} machines")
    parser.add_argument("--machines", type=int, help=f"how many  [default: {MACHINES}]")
    parser.add_argument(
        "--idle", type=float, help=f"seconds of heartbeats alone  [default: {IDLE_SECONDS:g}]"
    )
    given = parser.parse_args()
    idle = given.idle or (QUICK_IDLE_SECONDS if given.quick else IDLE_SECONDS)
    wanted = given.machines or (QUICK_MACHINES if given.quick else MACHINES)
    allowed = most_connections(ports=2) - SPARE_CONNECTIONS
    if wanted > allowed:
        print(f"{wanted} machines are {allowed}: more files are not allowed to a process here (ulimit -Hn)")
    outage = QUICK_OUTAGE_SECONDS if given.quick else OUTAGE_SECONDS
    patience = QUICK_PATIENCE_SECONDS if given.quick else PATIENCE_SECONDS
    report(measured(min(wanted, allowed), idle=idle, outage=outage, patience=patience))
    return 0


def measured(machines: int, *, idle: float, outage: float, patience: float) -> Seen:
    with served(patience) as (collector, agents):
        rest, bare = processor_share(collector, idle / 3), collector.bytes
        made = identities(collector, machines)
        half = connected(collector, agents, made[: machines // 2])
        whole = connected(collector, agents, made[machines // 2 :])
        share = processor_share(collector, idle)
        collector.kill()
        agents.ask("spool 1")
        time.sleep(outage)
        collector.start()
        listening, spent = time.monotonic(), collector.processor_seconds
        agents.ask("listening")
        state = agents.wait()
        return Seen(
            machines,
            bare,
            half,
            whole,
            rest,
            share,
            state["welcomed_at"] - listening,
            state["acknowledged_at"] - listening,
            collector.processor_seconds - spent,
            state["refusals"],
        )


@contextlib.contextmanager
def served(patience: float) -> Iterator[tuple[Served, Agents]]:
    with tempfile.TemporaryDirectory() as folder:
        data, agents = DataFolder(Path(folder)), Agents(patience=patience)
        subprocess.run([BIN / "llmenv-collector", "init", "--data", folder], check=True, capture_output=True)
        collector = Served(data)
        try:
            collector.start()
            yield collector, agents
        finally:
            agents.end()
            collector.kill()


def connected(collector: Served, agents: Agents, identities: Sequence[Identity]) -> int:
    """The collector's bytes with these as well."""
    agents.start(identities, collector.data.path)
    agents.wait()
    time.sleep(SETTLE_SECONDS)
    return collector.bytes


def processor_share(collector: Served, seconds: float) -> float:
    began, before = time.monotonic(), collector.processor_seconds
    time.sleep(seconds)
    return (collector.processor_seconds - before) / (time.monotonic() - began)


def identities(collector: Served, count: int) -> list[Identity]:
    """Certified by the collector's own authority, and entered as by enrolment."""
    authority, address = rotation.load(collector.data), collector.addresses[1]
    made = []
    with IdentityFile(collector.data.identity).changes() as connection:
        for _ in range(count):
            key, machine_id = ec.generate_private_key(ec.SECP256R1()), new_id()
            request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
            signed = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
            lifetime = dt.timedelta(days=30)
            certificate = authority.sign_machine(signed, machine_id=machine_id, lifetime=lifetime)
            enter(connection, machine_id)
            add_certificate(connection, machine_id, certificate)
            made.append(
                Identity(
                    machine_id=machine_id,
                    key_pem=key_pem(key).decode(),
                    certificate_pem=certificate.pem.decode(),
                    ca_pem=authority.pem.decode(),
                    enrollment_address=collector.addresses[0],
                    agent_addresses=(address,),
                    not_after=certificate.not_after.isoformat(),
                    renew_at=renewal_due(certificate.not_after),
                )
            )
    return made


def report(seen: Seen) -> None:
    each = 1e3 * seen.processor / seen.machines
    refusals = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.refusals.items())) or "none"
    print(f"machines    {seen.machines:,}")
    print(f"memory      {seen.bare / 1e6:.0f} MB without any, {seen.whole / 1e6:.0f} MB with all")
    print(f"            {seen.of_one / 1e3:.0f} kB each: {seen.megabytes:.0f} MB with {MACHINES:,}")
    print(f"heartbeats  {100 * seen.idle:.1f} % of a core: {seen.percent:.1f} % with {MACHINES:,}")
    print(f"return      all connected after {seen.connected:.1f} s, all delivered after {seen.drained:.1f} s")
    print(f"            {each:.1f} ms of the collector's processor time each")
    print(f"refused     {refusals}")
    back = max(seen.connected, seen.drained)
    rows = [
        ("connections_memory", seen.megabytes, "MB", f"<= {MOST_MB:g}", seen.megabytes <= MOST_MB),
        (
            "connections_idle",
            seen.percent,
            "% of a core",
            f"<= {MOST_PERCENT:g}",
            seen.percent <= MOST_PERCENT,
        ),
        ("connections_return", back, "s", f"<= {MOST_SECONDS:g}", back <= MOST_SECONDS),
        ("connections_refused", float(seen.refused), "streams", "<= 0", seen.refused == 0),
    ]
    keys = ("benchmark", "figure", "unit", "target", "holds")
    print(json.dumps([dict(zip(keys, (n, round(f, 3), *rest), strict=True)) for n, f, *rest in rows]))


if __name__ == "__main__":
    sys.exit(main())
