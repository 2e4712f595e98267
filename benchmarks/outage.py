"""A collector that is away for 30 days while its agent runs 48 suites a day: what comes back, and how fast.

Real programs on loopback, with certificates that live for seconds and really end on both sides during the
outage.  The runs are one real run of the `quick` suite, spooled again with ids of their own for every half
hour of the outage (1,440 runs, with --quick 96).  Then the collector starts with a certificate of its own
renewed, the agent renews its by the key of the one that ended, and delivers.  Afterwards the store is opened
and every record is counted: each once, in the order of the spool.

The last line is a list of JSON objects.  The drain is timed from the first acknowledgement to the last.  The
return before it is that of an agent that has tried for seconds; one that has for days waits up to 60 s more.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from cryptography import x509
from llmenv.fleet.v1.record_pb2 import Record
from llmenv.ids import new_id
from llmenv_agent.identity import load_identity
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).resolve().parent.parent
TRAINING = REPOSITORY / ".venv-train" / "bin" / "python"
CERTIFICATE_SECONDS = 30
START_SECONDS = 60.0
RETURN_SECONDS = 180.0
DRAIN_SECONDS = 600.0
TARGET_SECONDS = 60.0
CONFIGURATION = """
[policy]
only_when_idle = false
[schedule.quick]
every = "720h"
[[target]]
name = "target"
python = "{python}"
"""


@dataclass(frozen=True)
class Outcome:
    """Seconds, and counts of records."""

    return_seconds: float
    drain_seconds: float
    spooled: int
    lost: int
    repeated: int
    out_of_order: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 days in place of 30")
    parser.add_argument("--days", type=int, help="length of the outage")
    parser.add_argument("--runs-a-day", type=int, default=48)
    parser.add_argument(
        "--target", type=Path, default=TRAINING if TRAINING.exists() else Path(sys.executable)
    )
    options = parser.parse_args()
    days = options.days or (2 if options.quick else 30)
    with tempfile.TemporaryDirectory(prefix="llmenv-") as name:
        outcome = Outage(Path(name)).play(options.target, days=days, runs_a_day=options.runs_a_day)
    print(f"{days} days at {options.runs_a_day} runs a day: {outcome.spooled:,} records")
    print(f"{'back at the collector':<24}{outcome.return_seconds:>8.1f} s after its start")
    print(f"{'drained':<24}{outcome.drain_seconds:>8.1f} s after the first acknowledgement")
    print(f"{'lost':<24}{outcome.lost:>8}\n{'stored more than once':<24}{outcome.repeated:>8}")
    print(f"{'out of order':<24}{outcome.out_of_order:>8}")
    print(json.dumps(figures(outcome)))
    return 0


def figures(outcome: Outcome) -> list[dict[str, object]]:
    rows = (
        ("outage_drain", round(outcome.drain_seconds, 1), "s", TARGET_SECONDS),
        ("outage_lost", outcome.lost, "1", 0),
        ("outage_repeated", outcome.repeated, "1", 0),
        ("outage_out_of_order", outcome.out_of_order, "1", 0),
    )
    return [
        {"benchmark": name, "figure": figure, "unit": unit, "target": f"<= {most:g}", "holds": figure <= most}
        for name, figure, unit, most in rows
    ]


class Outage:
    """A collector and an agent in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LLMENV_")},
            "LLMENV_DATA_DIR": str(folder / "collector"),
            "LLMENV_STATE_DIR": str(folder / "agent"),
            "LLMENV_CONFIG": str(folder / "agent.toml"),
            "LLMENV_RUN_LOCK": str(folder / "run.lock"),
            "LLMENV_CERTIFICATE_SECONDS": str(CERTIFICATE_SECONDS),
            "LLMENV_SERVER_CERTIFICATE_SECONDS": str(CERTIFICATE_SECONDS),
        }

    def play(self, target: Path, *, days: int, runs_a_day: int) -> Outcome:
        (self._folder / "agent.toml").write_text(CONFIGURATION.format(python=target))
        self._call("llmenv-collector", "init")
        with self._collector():
            self._call("llmenv-agent", "enroll", token=self._call("llmenv-collector", "token", "create"))
            self._call("llmenv-agent", "run", "--once")
        self._spool_again(days=days, runs_a_day=runs_a_day)
        self._wait_for_both_ends()
        with contextlib.ExitStack() as stack:
            agent = self._start("llmenv-agent", "run")
            stack.callback(end, agent)
            spool = Spool(self._folder / "agent" / "spool.db")
            stack.callback(spool.close)
            before = spool.marks().watermark
            wait_for(lambda: "cannot be reached" in self._log("llmenv-agent"), START_SECONDS, "the outage")
            stack.enter_context(self._collector())
            began = time.monotonic()
            wait_for(lambda: spool.marks().watermark > before, RETURN_SECONDS, "the agent's return")
            returned = time.monotonic()
            wait_for(spool.is_delivered, DRAIN_SECONDS, "the delivery")
            drained = time.monotonic()
            end(agent)
            rows = [(record.record_id, record.measured_at.ToNanoseconds()) for record in spool.records()]
        return self._counted(rows, return_seconds=returned - began, drain_seconds=drained - returned)

    def _spool_again(self, *, days: int, runs_a_day: int) -> None:
        """The run that was executed, once more for each time that it would have been."""
        machine_id = load_identity(self._folder / "agent").machine_id
        spool = Spool(self._folder / "agent" / "spool.db", machine_id=machine_id)
        executed = list(spool.records())
        began = time.monotonic()
        count = days * runs_a_day
        start = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
        for number in range(count):
            for record in another(executed, began=start + number * dt.timedelta(days=1) / runs_a_day):
                spool.append(record)
        spool.close()
        seconds = time.monotonic() - began
        print(f"spooled {count:,} runs of {len(executed)} records each in {seconds:.0f} s", file=sys.stderr)

    def _wait_for_both_ends(self) -> None:
        identity = load_identity(self._folder / "agent")
        pems = (identity.certificate_pem.encode(), (self._folder / "collector" / "server.pem").read_bytes())
        ends = max(x509.load_pem_x509_certificate(pem).not_valid_after_utc for pem in pems)
        wait_for(
            lambda: dt.datetime.now(dt.UTC) > ends, 2 * CERTIFICATE_SECONDS, "the end of the certificates"
        )

    def _counted(self, rows: Sequence[tuple[str, int]], **seconds: float) -> Outcome:
        spooled = [record_id for record_id, _ in rows]
        query = "SELECT record_id::VARCHAR FROM store.record ORDER BY received_at, sequence"
        with contextlib.closing(duckdb.connect(str(self._folder / "collector" / "llmenv.duckdb"))) as store:
            stored = [record_id for (record_id,) in store.execute(query).fetchall()]
        place = {record_id: number for number, record_id in enumerate(spooled)}
        arrived = [place[record_id] for record_id in stored if record_id in place]
        return Outcome(
            spooled=len(spooled),
            lost=len(set(spooled) - set(stored)),
            repeated=len(stored) - len(set(stored)),
            out_of_order=sum(later <= earlier for earlier, later in itertools.pairwise(arrived)),
            **seconds,
        )

    @contextlib.contextmanager
    def _collector(self) -> Iterator[None]:
        people, agents = (f"127.0.0.1:{port}" for port in self._ports)
        process = self._start("llmenv-collector", "serve", "--listen", people, "--agents-listen", agents)
        try:
            wait_for((self._folder / "collector" / "serving.json").exists, START_SECONDS, "the collector")
            yield
        finally:
            end(process)

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen([str(BIN / program), *arguments], env=self._environment, stderr=log)

    def _log(self, program: str) -> str:
        return (self._folder / f"{program}.log").read_text(encoding="utf-8")

    def _call(self, program: str, *arguments: str, token: str = "") -> str:
        ended = subprocess.run(
            [str(BIN / program), *arguments],
            env={**self._environment, **({"LLMENV_TOKEN": token.strip()} if token else {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise SystemExit(
                f"{program} {' '.join(arguments)} ended with {ended.returncode}:\n{ended.stderr}"
            )
        return ended.stdout


def another(records: Sequence[Record], *, began: dt.datetime) -> Iterator[Record]:
    """The same records with new ids of records, runs and results, from another time."""
    names = {name: new_id() for record in records for name in ids_of(record)}
    first = records[0].measured_at.ToDatetime(tzinfo=dt.UTC)
    for record in records:
        content = record.SerializeToString()
        for old, new in names.items():
            content = content.replace(old.encode(), new.encode())
        copy = Record.FromString(content)
        copy.measured_at.FromDatetime(began + (record.measured_at.ToDatetime(tzinfo=dt.UTC) - first))
        yield copy


def ids_of(record: Record) -> Iterator[str]:
    yield record.record_id
    kind = getattr(record, record.WhichOneof("kind") or "", None)
    for holder in (kind, getattr(kind, "run", None), getattr(kind, "result", None)):
        for field in ("run_id", "result_id"):
            if name := getattr(holder, field, ""):
                yield name


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come within {seconds:g} s")
        time.sleep(0.1)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
