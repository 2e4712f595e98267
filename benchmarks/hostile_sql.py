"""What a collector and its agents notice of hostile statements: memory, and the time to an acknowledgement.

Every statement of tests/collector/hostile_statements.py is asked of a real collector, by four threads of
two analysts, while an agent delivers records one after the other; before, it delivers alone. The last line is
JSON: how much the collector's memory grew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.collector import hostile_statements
from tests.collector.conftest import RunningCollector
from tests.fuzz.rpc_fuzz import resident_bytes

TARGET_BYTES = 100_000_000
ALONE_SECONDS = 20.0
SECONDS, MEMORY_MB = 5, 400


class Acknowledgements:
    """Of an agent that delivers one record after the other."""

    def __init__(self, collector: RunningCollector) -> None:
        self._machine = collector.enrol()
        self._stream = self._machine.connect(new_id())
        self._is_over = False
        self.took: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._is_over:
            number += 1
            begin = time.monotonic()
            self._stream.deliver([self._machine.check_started()], first=number)
            self._stream.receive("acknowledged")
            self.took.append(time.monotonic() - begin)
            time.sleep(0.02)

    def stop(self) -> None:
        self._is_over = True
        self._thread.join()
        self._stream.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every eighth statement")
    every = 8 if parser.parse_args().quick else 1
    kinds = {**hostile_statements.REFUSED, **hostile_statements.ENDED}
    statements = [(kind, sql) for kind, each in kinds.items() for sql in each[::every]]
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--sql-seconds", str(SECONDS), "--sql-memory-mb", str(MEMORY_MB))
        collector = RunningCollector(Path(folder) / "data", *flags)
        try:
            measure(collector, statements)
        finally:
            collector.stop()
    return 0


def measure(collector: RunningCollector, statements: list[tuple[str, str]]) -> None:
    secrets = [collector.secret("--role", "analyst") for _ in range(2)]
    with collector.people_channel() as channel, ThreadPoolExecutor(4) as analysts:
        ask(channel, secrets[0], "SELECT 1")  # the first copy, and a process that waits
        acknowledgements = Acknowledgements(collector)
        time.sleep(ALONE_SECONDS)
        alone, before = len(acknowledgements.took), resident_bytes(collector.process.pid)
        begin = time.monotonic()
        codes = analysts.map(lambda one: ask(channel, secrets[one[0] % 2], one[1][1]), enumerate(statements))
        ends = Counter(zip((kind for kind, _ in statements), codes, strict=True))
        seconds = time.monotonic() - begin
        after = resident_bytes(collector.process.pid)
        acknowledgements.stop()
        assert ask(channel, secrets[0], "SELECT 1") == "OK"
    took = acknowledgements.took
    show(ends, seconds, alone=took[:alone], beside=took[alone:], before=before, after=after)


def ask(channel: grpc.Channel, secret: str, sql: str) -> str:
    """How it ended."""
    try:
        call = FleetServiceStub(channel).Query(
            fleet.QueryRequest(sql=sql), metadata=[("authorization", f"Bearer {secret}")]
        )
        for _ in call:
            pass
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def show(
    ends: Counter[Any], seconds: float, *, alone: list[float], beside: list[float], before: int, after: int
) -> None:
    print(f"{sum(ends.values())} statements in {seconds:.0f} s")
    for (kind, code), count in sorted(ends.items()):
        print(f"  {kind:10} {code:20} {count:4}")
    for name, took in (("alone", alone), ("beside them", beside)):
        print(
            f"{len(took)} acknowledgements {name}: median {statistics.median(took):.4f} s,"
            f" 99 % {sorted(took)[int(0.99 * len(took))]:.4f} s, longest {max(took):.4f} s"
        )
    print(f"collector's memory: {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after")
    figure = {
        "benchmark": "hostile_sql",
        "figure": after - before,
        "unit": "B",
        "target": f"<= {TARGET_BYTES}",
        "holds": after - before <= TARGET_BYTES,
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    sys.exit(main())
