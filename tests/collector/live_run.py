"""A machine that delivers a run step by step, as an agent does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import result_pb2, run_pb2
from llmenv.ids import new_id

if TYPE_CHECKING:
    from .conftest import AgentStream, EnrolledMachine

CHECKS = ("torch_basics", "torch_training", "transformers_generate")


@dataclass
class LiveRun:
    """Each step is durable when its method returns."""

    machine: EnrolledMachine
    hostname: str
    run_id: str = field(default_factory=new_id)
    stream: AgentStream = field(init=False)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.stream = self.machine.connect(new_id())

    def begin(self) -> None:
        run = run_pb2.Run(
            run_id=self.run_id,
            suite="quick",
            device="mps",
            planned_checks=CHECKS,
            machine={
                "machine_id": self.machine.machine_id,
                "hostname": self.hostname,
                "chip": "Apple M2 Ultra",
                "gpu_cores": 76,
                "memory_bytes": 192 * 2**30,
                "os_name": "macOS",
                "os_version": "26.2",
                "is_apple_silicon": True,
            },
            environment={"name": "training"},
            agent_version="0.1.0",
        )
        run.started_at.GetCurrentTime()
        self._deliver(run_started={"run": run})

    def check_begins(self, name: str) -> str:
        """Returns the result's id."""
        result_id = new_id()
        self._deliver(check_started={"run_id": self.run_id, "result_id": result_id, "check_name": name})
        return result_id

    def check_ends(
        self, name: str, result_id: str, *, status: result_pb2.Status.ValueType, reason: str
    ) -> None:
        result = result_pb2.Result(
            result_id=result_id,
            check_name=name,
            device="mps",
            status=status,
            reason={"text": reason, "template": reason},
            wall_seconds=12.5,
            measurements=[
                {"name": "steps_per_second", "unit": "step/s", "value": 41.5, "trials": [41.0, 42.0]}
            ],
        )
        self._deliver(check_finished={"run_id": self.run_id, "result": result})

    def end(self) -> None:
        self._deliver(
            run_finished={
                "run_id": self.run_id,
                "outcome": run_pb2.RUN_OUTCOME_COMPLETED,
                "wall_seconds": 30.0,
            }
        )

    def close(self) -> None:
        self.stream.close()

    def _deliver(self, **kind: Any) -> None:
        self.sequence += 1
        self.stream.deliver([self.machine.record(**kind)], first=self.sequence)
        while self.stream.receive("acknowledged").watermark < self.sequence:
            pass
