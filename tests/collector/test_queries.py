"""What people ask: a run comes back as it was sent, and the report counts what is stored."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmenv.fleet.v1 import machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet import queries, whole_run
from llmenv_collector.fleet.queries import Presence
from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.analysis import Analysis
from llmenv_collector.fleet_report.period import Period
from llmenv_collector.fleet_report.question import Question
from llmenv_collector.identity.standing import Standing
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

WHOLE_HISTORY = Period(since=0, as_of=10**15)
ANALYSIS = Analysis()
TEXTS = st.text(max_size=8)
NUMBERS = st.floats(allow_nan=False).map(lambda number: number + 0.0)  # -0.0 comes back as 0
IDS = {"run_id", "result_id", "schedule_id"}


class Agent:
    """A machine that delivers straight to the store."""

    def __init__(self, store: Store, **machine: Any) -> None:
        self.store = store
        self.spool_id = new_id()
        self.sequence = 0
        self.machine = machine_pb2.Machine(machine_id=new_id(), **machine)
        store.see(Sighting(self.machine.machine_id, seen_at=1, enrolled_at=1)).result()

    def deliver(self, **kind: Any) -> None:
        self.sequence += 1
        record = record_pb2.Record(record_id=new_id(), machine_id=self.machine.machine_id, **kind)
        record.measured_at.GetCurrentTime()
        arrival = Arrival(
            self.spool_id,
            self.machine.machine_id,
            1,
            self.sequence,
            record.SerializeToString(),
            received_at=1,
        )
        delivered = self.store.deliver([arrival]).result()
        assert delivered.rejections == ()

    def run(self, run: run_pb2.Run) -> None:
        """As an agent delivers it, some cases in a record of their own."""
        begun = run_pb2.Run()
        begun.CopyFrom(run)
        for field in ("results", "ended_at", "wall_seconds", "outcome"):
            begun.ClearField(field)
        self.deliver(run_started={"run": begun})
        for result in run.results:
            cut = result_pb2.Result()
            cut.CopyFrom(result)
            del cut.cases[1:], cut.remedy_trials[:]
            self.deliver(check_finished={"run_id": run.run_id, "result": cut})
            if result.cases[1:]:
                batch = {"run_id": run.run_id, "result_id": result.result_id, "cases": result.cases[1:]}
                self.deliver(case_batch=batch)
            for trial in result.remedy_trials:
                tried = {"run_id": run.run_id, "result_id": result.result_id, "trial": trial}
                self.deliver(remedy_tried=tried)
        finished = record_pb2.RunFinished(
            run_id=run.run_id, outcome=run.outcome, wall_seconds=run.wall_seconds
        )
        if run.HasField("ended_at"):
            finished.ended_at.CopyFrom(run.ended_at)
        self.deliver(run_finished=finished)

    def simple_run(
        self, *, started: int, device: str = "mps", torch: str = "2.13.0", **statuses: str
    ) -> run_pb2.Run:
        """A run whose checks have these statuses, each with a measurement."""
        run = run_pb2.Run(run_id=new_id(), machine=self.machine, device=device, suite="quick", outcome=1)
        run.started_at.FromSeconds(started)
        run.environment.name = "train"
        run.environment.packages.add(name="torch", version=torch)
        for name, status in statuses.items():
            result = run.results.add(result_id=new_id(), check_name=name, device=device)
            result.status = result_pb2.Status.Value(f"STATUS_{status.upper()}")
            if status != "pass":
                result.reason.text = f"{name} saw {started} on {self.machine.hostname}."
                result.reason.template = f"{name} saw {{value}} on {{machine}}."
            result.measurements.add(name="steps_per_second", unit="step/s", value=float(started), direction=1)
        self.run(run)
        return run


def test_no_machine_adds_to_another_ones_run(store: Store) -> None:
    """A run id belongs to a run only together with its machine: who copies one changes nothing."""
    honest, hostile = Agent(store, hostname="honest"), Agent(store, hostname="hostile")
    run = honest.simple_run(started=100, torch_basics="pass")
    with store.reader() as connection:
        before = report.fleet_report(connection, WHOLE_HISTORY, Question(), ANALYSIS)
    forged = run_pb2.Run()
    forged.CopyFrom(run)
    forged.outcome = run_pb2.RUN_OUTCOME_INTERRUPTED
    forged.results[0].status = result_pb2.STATUS_FAIL
    forged.results[0].measurements[0].value = 1e9
    forged.results[0].cases.add(name="forged")
    for result in forged.results:
        hostile.deliver(check_finished={"run_id": run.run_id, "result": result})
    hostile.deliver(run_finished={"run_id": run.run_id, "outcome": forged.outcome})
    with store.reader() as connection:
        assert run == whole_run.get_run(connection, run_id=run.run_id)
        after = report.fleet_report(connection, WHOLE_HISTORY, Question(), ANALYSIS)
        runs = queries.list_runs(connection, machine="", limit=0).runs
        assert [("honest", run.outcome)] == [(one.hostname, one.outcome) for one in runs]
    before.ClearField("generated_at")
    after.ClearField("generated_at")
    assert before == after
    hostile.run(forged)
    with store.reader() as connection:
        assert run == whole_run.get_run(connection, run_id=run.run_id)
        runs = queries.list_runs(connection, machine="", limit=0).runs
    counts = {one.machine_id: dict(one.status_counts) for one in runs}
    assert counts == {honest.machine.machine_id: {"pass": 1}, hostile.machine.machine_id: {"fail": 1}}


def test_a_whole_result_comes_back_and_its_parts_can_be_asked_for(store: Store) -> None:
    """Seed, variables, trials of remedies, stability and the remedies of cases: as a report and in SQL."""
    agent = Agent(store, hostname="m5")
    run = run_pb2.Run(run_id=new_id(), machine=agent.machine, device="mps", suite="bench", outcome=1)
    result = run.results.add(result_id=new_id(), check_name="bench_matmul", seed=2**32 - 1)
    result.status = result_pb2.STATUS_FAIL
    result.environment_variables["MLX_ENABLE_TF32"] = "1"
    result.cases.add(name="fp32", status=result_pb2.STATUS_FAIL, remedy_id="KI065")
    for stability in result_pb2.Stability.values():
        result.measurements.add(name=str(stability), value=1.0, stability=stability)
    trial = result.remedy_trials.add(
        remedy_id="KI065",
        environment_variables={"MLX_ENABLE_TF32": "0"},
        device="mps",
        status=result_pb2.STATUS_PASS,
        case_names=["fp32"],
        wall_seconds=2.5,
    )
    trial.reason.text = "Right."
    result.remedy_trials.add(remedy_id="KI072", device="cpu", status=result_pb2.STATUS_FAIL)
    agent.run(run)
    with store.reader() as connection:
        assert run == whole_run.get_run(connection, run_id=run.run_id)
        ask = connection.sql
        assert ask("SELECT seed FROM v1.results").fetchall() == [(2**32 - 1,)]
        assert ask("SELECT name, value FROM v1.result_variables").fetchall() == [("MLX_ENABLE_TF32", "1")]
        assert ask("SELECT name, remedy_id FROM v1.result_cases").fetchall() == [("fp32", "KI065")]
        words = ask("SELECT stability FROM v1.measurements ORDER BY name").fetchall()
        assert [word for (word,) in words] == [None, "stable", "unstable", "declining"]
        asked = "SELECT * EXCLUDE (result_id, machine_id) FROM v1.remedy_trials ORDER BY position"
        trials = ask(asked).fetchall()
    variables = {"MLX_ENABLE_TF32": "0"}
    assert trials == [
        (0, "KI065", variables, "mps", "pass", "Right.", ["fp32"], 2.5),
        (1, "KI072", {}, "cpu", "fail", "", [], 0.0),
    ]


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("store") / "llmenv.duckdb")
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Any) -> Iterator[Store]:
    opened = Store(tmp_path / "llmenv.duckdb")
    yield opened
    opened.close()


def values_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Any value that the contract allows for a field that is no message."""
    if field.name in IDS:
        return st.builds(new_id)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return {
        field.TYPE_DOUBLE: NUMBERS,
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_STRING: TEXTS,
        field.TYPE_UINT32: st.integers(0, 2**32 - 1),
        field.TYPE_UINT64: st.integers(0, 2**64 - 1),
        field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    }[field.type]


@st.composite
def messages(draw: st.DrawFn, kind: type[Message]) -> Any:
    """Any message of this type, each field set or not."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.name in IDS and not field.is_repeated:
            setattr(message, field.name, new_id())
        elif not draw(st.booleans()):
            continue
        elif is_map:
            getattr(message, field.name).update(draw(st.dictionaries(TEXTS, TEXTS, max_size=2)))
        elif field.message_type is not None and field.message_type.name == "Timestamp":
            getattr(message, field.name).FromMicroseconds(draw(st.integers(0, 2**51)))
        elif field.message_type is not None:
            several = field.is_repeated
            for _ in range(draw(st.integers(1, 2)) if several else 1):
                part = draw(messages(field.message_type._concrete_class))
                target = getattr(message, field.name)
                target.add().CopyFrom(part) if several else target.CopyFrom(part)
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(values_of(field), max_size=3)))
        else:
            setattr(message, field.name, draw(values_of(field)))
    return message


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(run=messages(run_pb2.Run))
def test_a_run_comes_back_as_it_was_sent(shared_store: Store, run: run_pb2.Run) -> None:
    """Field by field, times to the microsecond; the machine is the one that sent it."""
    agent = Agent(shared_store)
    agent.run(run)
    if run.HasField("machine"):
        run.machine.machine_id = agent.machine.machine_id
    with shared_store.reader() as connection:
        returned = whole_run.get_run(connection, run_id=run.run_id)
    assert json_format.MessageToDict(returned) == json_format.MessageToDict(run)
    assert returned == run


def test_a_run_is_seen_while_it_runs(store: Store) -> None:
    """Before its end a run has its results so far, and no outcome."""
    agent, run_id = Agent(store, hostname="a"), new_id()
    agent.deliver(run_started={"run": {"run_id": run_id}})
    agent.deliver(
        check_finished={"run_id": run_id, "result": {"result_id": new_id(), "check_name": "torch_basics"}}
    )
    with store.reader() as connection:
        run = whole_run.get_run(connection, run_id=run_id)
        listed = queries.list_runs(connection, machine="", limit=0)
    assert (run.outcome, [one.check_name for one in run.results]) == (0, ["torch_basics"])
    assert not listed.runs[0].HasField("ended_at")


def test_a_run_is_found_by_a_unique_prefix(store: Store) -> None:
    """Eight characters or more, of one run; anything else is one clear sentence."""
    agent = Agent(store)
    first, second = "01000000-0000-7000-8000-000000000001", "01000000-0000-7000-8000-000000000002"
    for run_id in (first, second):
        agent.deliver(run_started={"run": {"run_id": run_id}})
    with store.reader() as connection:
        assert whole_run.get_run(connection, run_id=first.upper()).run_id == first
        with pytest.raises(UsageError, match="Several runs"):
            whole_run.get_run(connection, run_id=first[:20])
        with pytest.raises(UsageError, match="at least 8"):
            whole_run.get_run(connection, run_id="0100")
        with pytest.raises(NotFoundError, match="no run"):
            whole_run.get_run(connection, run_id=new_id())


def test_runs_are_listed_newest_first_with_their_readiness(store: Store) -> None:
    """Counts by status, and which core checks block."""
    agent = Agent(store, hostname="a", is_apple_silicon=False)
    core = dict.fromkeys(("torch_basics", "torch_training", "transformers_generate", "peft_lora"), "pass")
    agent.simple_run(started=100, **core)
    agent.simple_run(started=200, **{**core, "peft_lora": "crash"})
    Agent(store, hostname="b").simple_run(started=300)
    with store.reader() as connection:
        listed = queries.list_runs(connection, machine="a", limit=0)
    assert [one.started_at.seconds for one in listed.runs] == [200, 100]
    assert dict(listed.runs[0].status_counts) == {"pass": 3, "crash": 1}
    assert dict(listed.runs[0].readiness.blocking) == {"peft_lora": "crash"}
    assert listed.runs[1].readiness.is_ready
    assert listed.total_runs == 2


def test_runs_of_a_machine_that_is_none_are_not_an_empty_list(store: Store) -> None:
    """A name that is mistyped is said; a machine without runs has none."""
    Agent(store, hostname="idle")
    with store.reader() as connection, pytest.raises(NotFoundError, match="There is no machine 'nope'"):
        queries.list_runs(connection, machine="nope", limit=0)


def test_machines_are_listed_with_their_presence(store: Store) -> None:
    """Sorted by hostname, without the revoked ones, with what the open streams know."""
    second, first, gone = Agent(store, hostname="b"), Agent(store, hostname="a"), Agent(store, hostname="c")
    run = first.simple_run(started=100)
    for agent in (second, gone):
        agent.simple_run(started=50)
    first_id = first.machine.machine_id
    presence = Presence(connected=frozenset({first_id}), last_seen={first_id: 9_000_000})
    with store.reader() as connection:
        listed = queries.list_machines(
            connection, standing=Standing(barred=frozenset({gone.machine.machine_id})), presence=presence
        )
    assert [one.machine.hostname for one in listed] == ["a", "b"]
    assert (listed[0].is_connected, listed[0].last_seen_at.seconds, listed[0].last_run_id) == (
        True,
        9,
        run.run_id,
    )
    assert not listed[1].is_connected


def report_of(store: Store, **scope: Any) -> Any:
    with store.reader() as connection:
        return report.fleet_report(
            connection, dataclasses.replace(WHOLE_HISTORY, **scope), Question(), ANALYSIS
        )


def test_an_empty_fleet_has_an_empty_report(store: Store) -> None:
    """Nothing is claimed where nothing ran."""
    Agent(store, hostname="silent")
    reported = report_of(store)
    assert (reported.coverage.machines, reported.coverage.reporting, reported.coverage.runs) == (1, 0, 0)
    assert not reported.coverage.HasField("freshest_run_at")
    assert (len(reported.health), len(reported.chips), len(reported.findings)) == (0, 0, 0)


def test_health_takes_the_latest_verdict_of_each_check(store: Store) -> None:
    """A later run of fewer checks does not make the others unknown; what never ran is unknown."""
    agent = Agent(store, hostname="a", is_apple_silicon=True)
    agent.simple_run(started=100, torch_basics="fail", torch_training="pass")
    latest = agent.simple_run(started=200, torch_basics="warn")
    (row,) = report_of(store).health
    assert dict(row.statuses) == {
        "torch_basics": result_pb2.STATUS_WARN,
        "torch_training": result_pb2.STATUS_PASS,
    }
    assert row.run_id == latest.run_id
    unknown = dict.fromkeys(("transformers_generate", "peft_lora", "mlx_native"), "unknown")
    assert dict(row.readiness.blocking) == unknown


def test_chips_compare_medians_of_machines(store: Store) -> None:
    """Each machine counts once, and what failed or ran in low-power mode does not count."""
    fast, slow = (Agent(store, hostname=name, chip="Apple M2 Ultra", gpu_cores=76) for name in "ab")
    for started in (10, 20, 30):
        fast.simple_run(started=started, torch_training="pass")
    slow.simple_run(started=4, torch_training="warn")
    slow.simple_run(started=1_000, torch_training="fail")
    run = run_pb2.Run(run_id=new_id(), machine=slow.machine, device="mps")
    run.started_at.FromSeconds(5)
    throttled = run.results.add(result_id=new_id(), check_name="torch_training", status=1)
    throttled.conditions_before.low_power_mode = True
    throttled.measurements.add(name="steps_per_second", unit="step/s", value=1e9, direction=1)
    slow.run(run)
    (row,) = report_of(store).chips
    assert (row.median.value, row.lowest, row.highest) == (12.0, 4.0, 20.0)
    assert (row.machines, row.results, row.variant.gpu_cores) == (2, 4, 76)


def test_findings_are_grouped_by_cause(store: Store) -> None:
    """Two machines with one cause are one finding, also when the values in the sentence differ."""
    for hostname, started in (("b", 1), ("a", 2)):
        Agent(store, hostname=hostname).simple_run(started=started, mlx_native="error", torch_basics="pass")
    (finding,) = report_of(store).findings
    assert (finding.check_name, finding.status, list(finding.hostnames)) == ("mlx_native", 5, ["a", "b"])
    assert finding.reason.text == "mlx_native saw 2 on a."


def test_packages_count_machines_and_verdicts(store: Store) -> None:
    """A version that was left behind keeps its verdicts and has no machine."""
    agent = Agent(store, hostname="a")
    agent.simple_run(started=1, torch="2.12.0", torch_basics="fail")
    agent.simple_run(started=2, torch="2.13.0", torch_basics="pass")
    found = {(row.version, row.machines, *row.status_counts.items()) for row in report_of(store).packages}
    assert found == {("2.12.0", 0, ("fail", 1)), ("2.13.0", 1, ("pass", 1))}


def test_the_report_can_begin_at_a_time(store: Store) -> None:
    """Runs before it count for nothing, and a revoked machine neither."""
    agent, gone = Agent(store, hostname="a"), Agent(store, hostname="gone")
    agent.simple_run(started=100, torch_basics="pass")
    agent.simple_run(started=200, torch_basics="pass")
    gone.simple_run(started=300, torch_basics="pass")
    reported = report_of(store, since=200_000_000, revoked=frozenset({gone.machine.machine_id}))
    assert (reported.coverage.machines, reported.coverage.runs, reported.coverage.results) == (1, 1, 1)
