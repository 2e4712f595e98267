"""`llmenv-agent replay`: a recorded result again as it was, and what is the same or different."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import environment_pb2, machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_agent.comparison import case_differences, circumstances, outcome_differences
from llmenv_agent.definitions import read_definition
from llmenv_agent.execution import Event, Execution, execute
from llmenv_agent.recorded import Recorded, by_id
from llmenv_agent.saved_runs import MOST_RUNS, save_run, saved_runs
from llmenv_agent.spool import Spool
from llmenv_agent.suites import Suite
from llmenv_agent.targets import target_from
from llmenv_agent.work import as_record

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from conftest import AgentFolder

HEADER = '''
"""Does it come out as the file says?"""
import os, random, time
from pathlib import Path
SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 30
CASE_TIMEOUT_SECONDS = 20
PARAMETERS = {"word": Path}
def run(probe):
    word = Path(probe.parameters["word"]).read_text().strip()
'''
VERDICTS = """
    random.seed(probe.seed)
    probe.fact("drawn", random.random())
    probe.fact("threads", os.environ.get("OMP_NUM_THREADS", "(absent)"))
    probe.measure("seconds", time.time(), "s")
    probe.expect("word", word != "unmet", "not unmet", word)
    if word == "crash":
        os.abort()
    if word == "kill":
        os.kill(os.getpid(), 9)
    if word == "hang":
        time.sleep(60)
    probe.passed("It says {word}.", word=word)
"""
ROWS = """
    for name in ("one", "two", "three"):
        if probe.is_completed(name):
            continue
        with probe.case(name) as case:
            if name == word:
                case.fail("It is {word}.", word=word)
            case.passed("Right.")
"""


class Replayer:
    """Runs a check whose outcome a file decides, changes the file, and replays."""

    def __init__(self, agent: AgentFolder, body: str) -> None:
        self._agent = agent
        self.word = agent.path / "word.txt"
        self.word.write_text("this")
        self.checks = agent.path / "checks"
        self.checks.mkdir()
        self.check = self.checks / "as_told.py"
        source = (
            textwrap.dedent(HEADER).lstrip().replace('"word": Path', f'"word": {str(self.word)!r}') + body
        )
        self.check.write_text(source)
        self.file = agent.path / "run.json"

    def record(self, *arguments: str, **variables: str) -> dict[str, Any]:
        done = self._agent.call(
            "check", "--checks", str(self.checks), "--check", "as_told", *arguments, **variables
        )
        self.file.write_text(done.stdout)
        result: dict[str, Any] = json.loads(done.stdout)["results"][0]
        return result

    def replay(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self._agent.call(
            "replay", str(self.file), "--checks", str(self.checks), *arguments, **variables
        )

    def replayed(self, *arguments: str, **variables: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.replay("--format", "json", *arguments, **variables).stdout)
        return content


@pytest.fixture
def verdicts(agent: AgentFolder) -> Replayer:
    return Replayer(agent, VERDICTS)


@pytest.fixture
def rows(agent: AgentFolder) -> Replayer:
    return Replayer(agent, ROWS)


def what(content: dict[str, Any], kind: str = "differences") -> dict[str, tuple[str, str]]:
    return {each["what"]: (each["was"], each["now"]) for each in content[kind]}


def test_the_same_again(verdicts: Replayer) -> None:
    """Exit code 0, though a measurement is another one: timings are not compared."""
    verdicts.record()
    done = verdicts.replay()
    assert (done.returncode, done.stdout) == (0, "same: as_told on cpu: pass  It says this.\n")


def test_it_runs_with_the_seed_and_the_variables_of_the_result(verdicts: Replayer) -> None:
    """Those of the moment are put aside: what was drawn and what was set is the same."""
    recorded = verdicts.record("--seed", "99", OMP_NUM_THREADS="2")
    again = verdicts.replayed(OMP_NUM_THREADS="5", MLX_ENABLE_TF32="0")
    assert (again["verdict"], again["circumstances"]) == ("same", [])
    assert again["result"]["seed"] == 99
    assert again["result"]["facts"] == recorded["facts"]
    assert {"name": "threads", "text": "2"} in recorded["facts"]


def test_different_says_how(verdicts: Replayer) -> None:
    """Status, reason and what is unmet now; exit code 1."""
    verdicts.record()
    verdicts.word.write_text("unmet")
    done = verdicts.replay()
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "different: as_told on cpu: fail  word: expected not unmet, observed unmet.",
        "  status: was pass, is fail",
        "  reason: was It says this., is word: expected not unmet, observed unmet.",
        "  unmet expectations: was (none), is word",
    ]


def test_other_figures_in_the_same_reason_are_the_same(verdicts: Replayer) -> None:
    """The template decides: a figure in it may differ from run to run."""
    verdicts.record()
    verdicts.word.write_text("that")
    assert verdicts.replay().stdout == "same: as_told on cpu: pass  It says that.\n"


@pytest.mark.parametrize(("word", "status"), [("crash", "STATUS_CRASH"), ("hang", "STATUS_TIMEOUT")])
def test_a_crash_and_a_timeout_come_again(verdicts: Replayer, word: str, status: str) -> None:
    """A result without a result file is replayed like any other."""
    verdicts.check.write_text(verdicts.check.read_text().replace("= 30", "= 5"))
    verdicts.word.write_text(word)
    assert verdicts.record()["status"] == status
    assert verdicts.replayed()["verdict"] == "same"


def test_another_signal_is_another_crash(verdicts: Replayer) -> None:
    """What ended the process is part of the outcome."""
    verdicts.word.write_text("crash")
    verdicts.record()
    verdicts.word.write_text("kill")
    assert what(verdicts.replayed())["end of the process"] == ("SIGABRT", "SIGKILL")


def test_a_changed_check_is_said(verdicts: Replayer) -> None:
    """The same outcome of another check is the same outcome, and it says so."""
    recorded = verdicts.record()
    verdicts.check.write_text(verdicts.check.read_text() + "\n# changed\n")
    done = verdicts.replay()
    assert done.returncode == 0
    assert "Not as it was recorded:\n  the check itself: was " + recorded["definition_hash"] in done.stdout


def test_cases_are_compared_by_name(rows: Replayer) -> None:
    """Each with both statuses."""
    rows.record()
    rows.word.write_text("two")
    assert what(rows.replayed())["case two"] == ("pass", "fail")


def test_one_case_alone(rows: Replayer) -> None:
    """The others are not run, and the check's own verdict is not compared."""
    rows.word.write_text("two")
    rows.record()
    again = rows.replayed("--case", "two")
    assert (again["verdict"], [case["name"] for case in again["result"]["cases"]]) == ("same", ["two"])
    rows.word.write_text("three")
    assert rows.replay("--case", "one").stdout == "same: as_told one on cpu: pass  Right.\n"
    assert what(rows.replayed("--case", "two"))["status"] == ("fail", "pass")


def test_a_result_of_the_spool_is_named_by_its_id(agent: AgentFolder, verdicts: Replayer) -> None:
    """The beginning of it is enough; the run around it says which interpreter."""
    verdicts.record()
    state = agent.path / "state"
    state.mkdir(exist_ok=True)
    spool = Spool(state / "spool.db", machine_id=new_id())

    def keep(event: Event) -> None:
        spool.append(as_record(event))

    run = execute(
        Execution(
            suite=Suite("custom", (read_definition(verdicts.check),)),
            target=target_from(sys.executable),
            device="cpu",
            machine=machine_pb2.Machine(),
            environment=environment_pb2.Environment(python_path=sys.executable),
            emit=keep,
        )
    )
    spool.close()
    result_id = run.results[0].result_id
    done = agent.call("replay", result_id[:-4], "--checks", str(verdicts.checks))
    assert (done.returncode, done.stdout) == (0, "same: as_told on cpu: pass  It says this.\n")
    assert "no result with that id is kept in " in agent.call("replay", "ffffffff").stderr


def test_a_run_in_the_foreground_is_replayed_by_the_id_of_its_result(
    agent: AgentFolder, verdicts: Replayer
) -> None:
    """What a report says can be pasted: no file, no check, and no folder of a lab's own checks is needed."""
    result_id = verdicts.record()["result_id"]
    verdicts.file.unlink()
    done = agent.call("replay", result_id)
    assert (done.returncode, done.stdout) == (0, "same: as_told on cpu: pass  It says this.\n")


def test_the_last_runs_are_kept(tmp_path: Path) -> None:
    """The newest, each with the folders of its checks; one that was damaged is passed over."""
    runs = [run_pb2.Run(run_id=f"run-{number:02}", suite="quick") for number in range(MOST_RUNS + 3)]
    for run in runs:
        save_run(run, tmp_path, checks_folders=[tmp_path / "own"])
    (tmp_path / "runs" / f"{runs[-2].run_id}.json").write_text("{")
    kept = [run for run in reversed(runs[3:]) if run != runs[-2]]
    assert list(saved_runs(tmp_path)) == [(run, (tmp_path / "own",)) for run in kept]


def test_a_run_that_cannot_be_kept_is_as_good(agent: AgentFolder, verdicts: Replayer) -> None:
    """One sentence on stderr, and the run on stdout all the same."""
    (agent.path / "state").mkdir()
    (agent.path / "state" / "runs").write_text("in the way")
    done = agent.call("check", "--checks", str(verdicts.checks), "--check", "as_told")
    assert (done.returncode, json.loads(done.stdout)["suite"]) == (0, "custom")
    assert f"The run cannot be kept for replay in {agent.path / 'state'}: File exists." in done.stderr


def test_cases_in_records_of_their_own_belong_to_the_result(tmp_path: Path) -> None:
    """A result of many cases is spooled as several records."""
    spool = Spool(tmp_path / "spool.db", machine_id=new_id())
    result = result_pb2.Result(result_id=new_id(), check_name="ops", log_tail="x")
    spool.append(as_record(run_started("a run")))
    spool.append(as_record(finished("a run", result)))
    spool.append(as_record(batch("a run", result.result_id, "late case")))
    spool.close()
    found = by_id(result.result_id[:30], tmp_path)
    assert [case.name for case in found.result.cases] == ["late case"]
    assert found.run.environment.python_path == "/env/bin/python"


def run_started(run_id: str) -> record_pb2.RunStarted:
    environment = environment_pb2.Environment(python_path="/env/bin/python")
    return record_pb2.RunStarted(run=run_pb2.Run(run_id=run_id, environment=environment))


def finished(run_id: str, result: result_pb2.Result) -> record_pb2.CheckFinished:
    return record_pb2.CheckFinished(run_id=run_id, result=result)


def batch(run_id: str, result_id: str, name: str) -> record_pb2.CaseBatch:
    return record_pb2.CaseBatch(run_id=run_id, result_id=result_id, cases=[result_pb2.Case(name=name)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.json"], "nothing.json cannot be read: No such file"),
        (["{file}", "--check", "other"], "has no result of 'other'; it has: as_told"),
        (["{file}", "--result", "ffff"], "has no result of 'ffff'"),
        (
            ["{file}", "--case", "seven"],
            "as_told has no case 'seven' in this result; it has: one, two, three.",
        ),
        (["{file}", "--target", "/nowhere"], "/nowhere is no Python interpreter"),
        (["{word}"], "holds no run as `llmenv-agent check` prints it"),
        (["abc"], "A result is a file, or 8 or more characters of its id; 'abc' is neither."),
        (["0190aaaa"], "There is no file '0190aaaa', and no result with that id is kept in "),
        (["0190aaaa", "--check", "as_told"], "--check and --result choose from a file"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    rows: Replayer, agent: AgentFolder, arguments: list[str], sentence: str
) -> None:
    """Exit code 2, nothing on stdout, no traceback."""
    rows.record()
    named = [each.format(file=rows.file, word=rows.word) for each in arguments]
    done = agent.call("replay", *named, "--checks", str(rows.checks))
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("parameters", ["[1]", "{half", "7"])
def test_parameters_that_are_none_are_one_sentence(verdicts: Replayer, parameters: str) -> None:
    """Of a file that somebody has edited."""
    verdicts.record()
    run = json.loads(verdicts.file.read_text())
    run["results"][0]["parameters_json"] = parameters
    verdicts.file.write_text(json.dumps(run))
    done = verdicts.replay()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "llmenv-agent: The parameters of as_told in this result are no JSON object.\n"


@pytest.mark.parametrize(
    ("edited", "sentence"),
    [
        ({"environment_variables": {"OMP_X": "\0"}}, "has 'OMP_X', which no variable can be"),
        ({"environment_variables": {"OMP=X": "1"}}, "has 'OMP=X', which no variable can be"),
        ({"device": "gpu"}, "is of the device 'gpu'; there are mps, cuda, cpu"),
    ],
    ids=["nul", "equals", "device"],
)
def test_what_no_process_can_be_started_with_is_one_sentence(
    verdicts: Replayer, edited: dict[str, Any], sentence: str
) -> None:
    """Of a file that somebody has edited."""
    verdicts.record()
    run = json.loads(verdicts.file.read_text())
    run["results"][0].update(edited)
    verdicts.file.write_text(json.dumps(run))
    done = verdicts.replay()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"llmenv-agent: The result of as_told {sentence}.\n"


def test_a_check_that_is_not_there_is_one_sentence(rows: Replayer, agent: AgentFolder) -> None:
    """A lab's own check needs its folder."""
    rows.record()
    done = agent.call("replay", str(rows.file))
    assert done.returncode == 2
    assert "There is no check 'as_told'; there are: " in done.stderr


def environment(**packages: str) -> environment_pb2.Environment:
    listed = [environment_pb2.Package(name=name, version=version) for name, version in packages.items()]
    return environment_pb2.Environment(python_version="3.12.1", packages=listed)


def test_packages_and_the_machine_are_circumstances() -> None:
    """They explain a difference; they are none of the outcome."""
    result = result_pb2.Result(definition_hash="a", environment_variables={"MLX_ENABLE_TF32": "0"})
    machine = machine_pb2.Machine(chip="Apple M2 Ultra", os_name="macOS", os_version="26.2")
    recorded = Recorded(
        result, run_pb2.Run(machine=machine, environment=environment(torch="2.10.0", peft="0.18"))
    )
    newer = machine_pb2.Machine(chip="Apple M2 Ultra", os_name="macOS", os_version="26.4")
    seen = circumstances(
        recorded,
        result_pb2.Result(definition_hash="a"),
        environment=environment(torch="2.11.0", mlx="0.31"),
        machine=newer,
    )
    assert {each.what: (each.was, each.now) for each in seen} == {
        "system": ("macOS 26.2", "macOS 26.4"),
        "package mlx": ("(none)", "0.31"),
        "package peft": ("0.18", "(none)"),
        "package torch": ("2.10.0", "2.11.0"),
        "variable MLX_ENABLE_TF32": ("0", "(none)"),
    }


def test_what_was_cut_from_a_record_is_not_compared() -> None:
    """Expectations that were left out to keep it small are not missing now."""
    unmet = [result_pb2.Expectation(name="loss_falls", met=False)]
    was = result_pb2.Result(status=result_pb2.STATUS_FAIL, cut=["the last 3 expectations"])
    now = result_pb2.Result(status=result_pb2.STATUS_FAIL, expectations=unmet)
    assert outcome_differences(was, now) == ()
    assert outcome_differences(result_pb2.Result(status=result_pb2.STATUS_FAIL), now) != ()


def test_a_case_that_does_not_come_up_again_is_a_difference() -> None:
    """Such as one that an earlier case kept from being run."""
    was = result_pb2.Case(name="one", status=result_pb2.STATUS_PASS)
    assert [(each.was, each.now) for each in case_differences(was, None)] == [("pass", "(none)")]
