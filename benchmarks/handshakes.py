"""How many may knock in a second, and how soon a revoked machine is out.

A real collector in a process of its own, on loopback.  First processes connect with mutual TLS, as agents do,
and leave, as fast as they can: what such a flood costs the collector in processor time and memory, and how
long a lone record waits for its acknowledgement meanwhile.  Then machines with an open stream are revoked one
after the other: the time from the revocation until the stream has ended.  The last line is a list of JSON
objects.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import psutil
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import machine_pb2, record_pb2
from llmenv.fleet.v1.agent_service_pb2_grpc import AgentServiceStub
from llmenv.ids import new_id
from llmenv_agent.connection import client_context
from llmenv_agent.enrollment import enroll
from llmenv_collector.identity.identity_file import Identity as IdentityFile
from llmenv_collector.storage.data_folder import DataFolder

if TYPE_CHECKING:
    from llmenv_agent.identity import Identity

BIN = Path(sys.executable).parent
CLIENTS = 2
SECONDS, QUICK_SECONDS = 30.0, 5.0
MACHINES, QUICK_MACHINES = 40, 8
WITHIN_SECONDS = 5.0
LEAST_RATE = 100.0
MOST_GROWTH_MB = 64.0


@dataclass(frozen=True)
class Flood:
    """What so many handshakes did."""

    handshakes: int
    seconds: float
    processor_seconds: float
    growth_bytes: int
    longest_acknowledgement_seconds: float


class Stream:
    """An agent's stream, welcomed."""

    def __init__(self, identity: Identity) -> None:
        credentials = grpc.ssl_channel_credentials(
            identity.ca_pem.encode(), identity.key_pem.encode(), identity.certificate_pem.encode()
        )
        self.machine_id = identity.machine_id
        self._channel = grpc.secure_channel(identity.agent_addresses[0], credentials)
        self._outgoing: queue.SimpleQueue[wire.ConnectRequest | None] = queue.SimpleQueue()
        self._sequence = 0
        hello = wire.Hello(machine_id=self.machine_id, spool_id=new_id(), protocol_revision=1)
        self._outgoing.put(wire.ConnectRequest(hello=hello))
        self._answers = AgentServiceStub(self._channel).Connect(iter(self._outgoing.get, None))
        self._until("welcome")

    def acknowledged_within(self) -> float:
        """Seconds from the sending of one record to its acknowledgement."""
        self._sequence += 1
        record = record_pb2.Record(record_id=new_id(), machine_id=self.machine_id)
        record.command_outcome.command_id = new_id()
        record.measured_at.GetCurrentTime()
        spooled = record_pb2.SpooledRecord(sequence=self._sequence, record=record.SerializeToString())
        began = time.perf_counter()
        self._outgoing.put(wire.ConnectRequest(records=wire.RecordBatch(records=[spooled])))
        self._until("acknowledged")
        return time.perf_counter() - began

    def ended(self) -> grpc.StatusCode:
        """Waits for the end."""
        try:
            for _ in self._answers:
                pass
        except grpc.RpcError as error:
            return error.code()
        finally:
            self._outgoing.put(None)
            self._channel.close()
        return grpc.StatusCode.OK

    def _until(self, kind: str) -> None:
        while next(self._answers).WhichOneof("message") != kind:
            pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_SECONDS:g} s, {QUICK_MACHINES} machines"
    )
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        data = DataFolder(Path(folder))
        call("init", "--data", folder)
        ports = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
        collector = subprocess.Popen(
            [BIN / "llmenv-collector", "serve", "--data", folder, *ports], stderr=subprocess.DEVNULL
        )
        try:
            while not data.serving.exists():
                time.sleep(0.05)
            flood = flooded(folder, collector.pid, QUICK_SECONDS if quick else SECONDS)
            times = revoked(data, QUICK_MACHINES if quick else MACHINES)
        finally:
            collector.terminate()
            collector.wait(60)
    report(flood, times)
    return 0


def flooded(folder: str, pid: int, seconds: float) -> Flood:
    identity, stream = enrolled(folder), Stream(enrolled(folder))
    process = psutil.Process(pid)
    stream.acknowledged_within()
    before, memory = sum(process.cpu_times()[:2]), process.memory_info().rss
    longest, began = 0.0, time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(CLIENTS, mp_context=spawn) as pool:
        clients = [pool.submit(knock, identity, seconds) for _ in range(CLIENTS)]
        while not all(client.done() for client in clients):
            longest = max(longest, stream.acknowledged_within())
            time.sleep(0.2)
        counts = [client.result() for client in clients]
    spent = sum(process.cpu_times()[:2]) - before
    grown = process.memory_info().rss - memory
    return Flood(sum(counts), min(time.perf_counter() - began, seconds), spent, grown, longest)


def knock(identity: Identity, seconds: float) -> int:
    """Handshakes that the collector took, a count: it speaks HTTP/2 after each."""
    host, _, port = identity.agent_addresses[0].rpartition(":")
    context = client_context(identity)
    count, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        with (
            socket.create_connection((host, int(port)), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            count += bool(connection.recv(1))
    return count


def revoked(data: DataFolder, machines: int) -> list[float]:
    """Seconds from each revocation to the end of the machine's stream."""
    streams = [Stream(enrolled(str(data.path))) for _ in range(machines)]
    identity, times = IdentityFile(data.identity), []
    for number, stream in enumerate(streams):
        time.sleep(0.1 + 0.07 * (number % 13))  # at every moment between two looks
        identity.revoke_machine(stream.machine_id)
        began = time.perf_counter()
        code = stream.ended()
        times.append(time.perf_counter() - began)
        if code != grpc.StatusCode.PERMISSION_DENIED:
            raise SystemExit(f"a revoked machine's stream ended with {code.name}")
    return times


def enrolled(folder: str) -> Identity:
    token = call("token", "create", "--data", folder).strip()
    return enroll(token, machine=machine_pb2.Machine(hostname="bench"))


def call(*arguments: str) -> str:
    done = subprocess.run([BIN / "llmenv-collector", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def report(flood: Flood, times: list[float]) -> None:
    rate, growth = flood.handshakes / flood.seconds, flood.growth_bytes / 1e6
    each = flood.processor_seconds / flood.handshakes * 1e3
    print(f"handshakes       {flood.handshakes} in {flood.seconds:.0f} s: {rate:.0f} a second")
    print(f"of the collector {each:.2f} ms of processor time each, memory {growth:+.1f} MB")
    print(
        f"a lone record    acknowledged after {flood.longest_acknowledgement_seconds:.3f} s at most meanwhile"
    )
    print(
        f"revocation       median {statistics.median(times):.2f} s, longest {max(times):.2f} s"
        f" of {len(times)} machines"
    )
    rows = [
        ("handshakes", rate, "1/s", f">= {LEAST_RATE:g}", rate >= LEAST_RATE),
        ("handshakes_memory", growth, "MB", f"<= {MOST_GROWTH_MB:g}", growth <= MOST_GROWTH_MB),
        ("revocation", max(times), "s", f"<= {WITHIN_SECONDS:g}", max(times) <= WITHIN_SECONDS),
    ]
    keys = ("benchmark", "figure", "unit", "target", "holds")
    print(json.dumps([dict(zip(keys, (n, round(f, 3), *rest), strict=True)) for n, f, *rest in rows]))


if __name__ == "__main__":
    sys.exit(main())
