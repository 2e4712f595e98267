"""A store with machines that deliver runs, and the work on notices, round by round."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_collector import clock
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.notices.outbox import Outbox
from llmenv_collector.notices.sender import Sender
from llmenv_collector.notices.watch import Watch
from llmenv_collector.notices.webhook import Webhook
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .receiver import Receiver

DAY = 86_400 * clock.MICROSECONDS


class Lab:
    """Its folder is kept when it is closed, so that another can go on with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "llmenv.duckdb")
        file = folder / "identity.db"
        self.identity = Identity(file) if file.exists() else Identity.create(file)
        self.at: int | None = None
        self.watch = self.watching()

    def close(self) -> None:
        self.store.close()

    def webhook(self, receiver: Receiver, **more: Any) -> Webhook:
        secret = self.folder / "secret"
        secret.write_text("a-secret-of-the-tests-0123456789")
        secret.chmod(0o600)
        given: dict[str, Any] = {
            "name": "lab",
            "url": receiver.url,
            "secret_file": secret,
            "timeout_seconds": 60.0,
        } | more
        return Webhook(**given)

    def watching(self, *webhooks: Webhook, gather_seconds: float = 0.0) -> Watch:
        return Watch(
            self.store,
            self.identity,
            webhooks,
            gather_seconds=gather_seconds,
            wake=lambda: None,
            now=lambda: clock.now() if self.at is None else self.at,
        )

    def look(self, at: int | None = None) -> None:
        """One round, as if at this time: changes found, notices made."""
        self.at = at
        asyncio.run(self.watch.round())

    def send(self, *webhooks: Webhook) -> float:
        """One round of sending; seconds until the next."""

        async def round_() -> float:
            return await Outbox(self.store, self.identity, webhooks, Sender()).round()

        return asyncio.run(round_())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.reader() as connection:
            return connection.execute(query).fetchall()

    def audited(self, action: str) -> list[str]:
        """Details."""
        with contextlib.closing(sqlite3.connect(self.folder / "identity.db")) as connection:
            rows = connection.execute("SELECT detail FROM audit WHERE action = ?", [action]).fetchall()
        return [detail for (detail,) in rows]


class Mac:
    def __init__(self, lab: Lab, hostname: str) -> None:
        self.store, self.spool_id, self.sequence = lab.store, new_id(), 0
        self.machine = machine_pb2.Machine(machine_id=new_id(), hostname=hostname, chip="Apple M2 Ultra")
        self.store.see(Sighting(self.id, seen_at=1, enrolled_at=1)).result()

    @property
    def id(self) -> str:
        return self.machine.machine_id

    def run(self, at: int | None = None, **verdicts: str) -> None:
        """One run with a result of each check, received now; `at` is its start by the machine's clock."""
        run = run_pb2.Run(run_id=new_id(), machine=self.machine, device="mps", suite="quick")
        run.environment.name = "train"
        run.started_at.FromMicroseconds(at or clock.now())
        kinds: list[dict[str, Any]] = [{"run_started": {"run": run}}]
        for check_name, status in verdicts.items():
            kinds.append({"check_finished": {"run_id": run.run_id, "result": result(check_name, status)}})
        self.deliver(kinds)

    def measured(self, at: int, value: float, *, torch: str) -> list[dict[str, Any]]:
        """Records of one run of a check that measured a rate, with this version of torch."""
        run = run_pb2.Run(run_id=new_id(), machine=self.machine, device="mps", suite="bench")
        run.environment.name = "train"
        run.environment.packages.add(name="torch", version=torch)
        run.started_at.FromMicroseconds(at)
        measured = result("torch_training", "pass")
        measured.measurements.add(name="steps_per_second", unit="step/s", value=value, direction=1)
        return [
            {"run_started": {"run": run}},
            {"check_finished": {"run_id": run.run_id, "result": measured}},
        ]

    def deliver(self, kinds: Sequence[dict[str, Any]]) -> None:
        arrivals = []
        for kind in kinds:
            self.sequence += 1
            record = record_pb2.Record(record_id=new_id(), machine_id=self.id, **kind)
            record.measured_at.GetCurrentTime()
            arrivals.append(
                Arrival(
                    self.spool_id,
                    self.id,
                    1,
                    self.sequence,
                    record.SerializeToString(),
                    received_at=clock.now(),
                )
            )
        assert self.store.deliver(arrivals).result().rejections == ()


def result(check_name: str, status: str) -> result_pb2.Result:
    made = result_pb2.Result(result_id=new_id(), check_name=check_name, device="mps")
    made.status = result_pb2.Status.Value(f"STATUS_{status.upper()}")
    made.reason.template = f"{check_name} says {status}: {{name}}."
    made.reason.values["name"] = "mlx"
    made.reason.text = f"{check_name} says {status}: mlx."
    return made
