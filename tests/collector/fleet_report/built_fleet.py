"""Fleets whose truth a test writes down: machines, versions and values, delivered as agents deliver them."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.fleet_report.analysis import Analysis
from llmenv_collector.fleet_report.period import DAY_MICROSECONDS, Period
from llmenv_collector.fleet_report.question import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmenv_collector.storage.store import Store

DAY_SECONDS = 86_400
FIRST_DAY = 20_000
"""Since 1970: what is built happens in 2024."""
WHOLE_HISTORY = Period(since=0, as_of=(FIRST_DAY + 10_000) * DAY_MICROSECONDS)
VERSIONS = {"torch": "2.10.0", "transformers": "5.0.0"}


class Here(Analysis):
    """Judges in the process of the test: what is tested is what is judged."""

    def judge(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def begin(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(self.judge(function, *args, **kwargs))
        return done


class BuiltFleet:
    """Delivers to a store when `deliver` is called."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.arrivals: dict[str, list[Arrival]] = {}
        self.spools: dict[str, str] = {}
        self.delivered: dict[str, int] = {}

    def machine(self, hostname: str, chip: str = "Apple M2 Ultra", **facts: Any) -> machine_pb2.Machine:
        machine = machine_pb2.Machine(
            machine_id=new_id(),
            hostname=hostname,
            chip=chip,
            **{
                "gpu_cores": 76,
                "memory_bytes": 64 << 30,
                "os_name": "macOS",
                "os_version": "26.1",
                "os_build": "25B78",
                "is_apple_silicon": True,
                **facts,
            },
        )
        self.store.see(Sighting(machine.machine_id, seen_at=1, enrolled_at=1)).result()
        self.spools[machine.machine_id] = new_id()
        self.arrivals[machine.machine_id] = []
        return machine

    def run(
        self,
        machine: machine_pb2.Machine,
        day: float,
        values: Mapping[str, float] | None = None,
        *,
        versions: Mapping[str, str] | None = None,
        statuses: Mapping[str, str] | None = None,
        lower_is_better: bool = False,
        unit: str = "step/s",
        definition: str = "d1",
        variables: Mapping[str, str] | None = None,
        stability: int = 0,
        conditions: Mapping[str, Any] | None = None,
        remedy_id: str = "",
    ) -> None:
        """One run of check `torch_training` with these measurements, and of checks with these statuses."""
        run = run_pb2.Run(run_id=new_id(), machine=machine, device="mps", suite="bench")
        run.started_at.FromSeconds(int((FIRST_DAY + day) * DAY_SECONDS))
        run.environment.name = "train"
        for name, version in {**VERSIONS, **(versions or {})}.items():
            run.environment.packages.add(name=name, version=version)
        results = []
        for check_name, status in {
            **({"torch_training": "pass"} if values else {}),
            **(statuses or {}),
        }.items():
            result = result_pb2.Result(
                result_id=new_id(),
                check_name=check_name,
                device="mps",
                definition_hash=definition,
                parameters_json="{}",
                environment_variables=variables or {},
                remedy_id="" if status == "pass" else remedy_id,
                status=result_pb2.Status.Value(f"STATUS_{status.upper()}"),
            )
            for name, value in (conditions or {}).items():
                setattr(result.conditions_before, name, value)
            if check_name == "torch_training":
                for name, value in (values or {}).items():
                    direction = 2 if lower_is_better else 1
                    result.measurements.add(
                        name=name, unit=unit, value=value, direction=direction, stability=stability
                    )
            results.append(result)
        self._add(machine, run_started={"run": run})
        for result in results:
            self._add(machine, check_finished={"run_id": run.run_id, "result": result})

    def deliver(self, *, received_at: int = 1) -> None:
        """Everything that was built since the last time."""
        for machine_id, arrivals in self.arrivals.items():
            new = arrivals[self.delivered.get(machine_id, 0) :]
            timed = [one._replace(received_at=received_at) for one in new]
            if timed:
                assert self.store.deliver(timed).result().rejections == ()
            self.delivered[machine_id] = len(arrivals)

    def _add(self, machine: machine_pb2.Machine, **kind: Any) -> None:
        arrivals = self.arrivals[machine.machine_id]
        record = record_pb2.Record(record_id=new_id(), machine_id=machine.machine_id, **kind)
        record.measured_at.GetCurrentTime()
        spool_id = self.spools[machine.machine_id]
        arrivals.append(
            Arrival(spool_id, machine.machine_id, 1, len(arrivals) + 1, record.SerializeToString(), 1)
        )

    def ask(self, answer: Callable[..., Any], *, period: Period = WHOLE_HISTORY, **question: Any) -> Any:
        """What an answer of the servicer says of the whole history."""
        with self.store.reader() as connection:
            return answer(connection, period, Question(**question), Here())
