"""settings: each setting of a training's process is a row with a verdict, and no secret leaves it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import environment_pb2, machine_pb2
from llmenv_agent import suites
from llmenv_agent.definitions import read_definitions
from llmenv_agent.execution import Execution, execute
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import CheckRunner, Observed

SECRET = "hf_" + "Zk3" * 11


@pytest.fixture
def settings(run_check_without_packages: CheckRunner) -> CheckRunner:
    """The check needs no package."""
    return run_check_without_packages


def reason_of(observed: Observed, case: str) -> str:
    return next(each.reason.text for each in observed.result.cases if each.name == case)


def remedy_of(observed: Observed, case: str) -> str:
    return next(each.remedy_id for each in observed.result.cases if each.name == case)


def without(observed: Observed, *verdicts: str) -> dict[str, str]:
    """The cases whose status is none of `verdicts`."""
    return {name: status for name, status in observed.cases.items() if status not in verdicts}


def test_usual_settings_pass(settings: CheckRunner) -> None:
    """Nothing is set, nothing is wrong, and what macOS alone has is skipped with the reason."""
    observed = settings("settings", {"least_free_gb": 0.0})
    assert observed.status == "pass", observed.reason
    assert without(observed, "pass") == {"swap": "skip", "wired_limit": "skip", "known_issues": "skip"}


def test_token_is_present_and_its_value_is_nowhere(settings: CheckRunner) -> None:
    """Not in a case, not in a fact, not in the log tail: nowhere in the result."""
    observed = settings("settings", variables={"HF_TOKEN": SECRET})
    assert reason_of(observed, "hf_token") == "A token for the hub is set in HF_TOKEN."
    assert SECRET.encode() not in observed.result.SerializeToString()
    assert SECRET not in str(observed.result)


def test_token_file_counts_and_its_content_is_nowhere(settings: CheckRunner, tmp_path: Path) -> None:
    """A login of the hub leaves a file; an empty variable does not hide it."""
    file = tmp_path / "token"
    file.write_text(SECRET)
    observed = settings("settings", variables={"HF_TOKEN": "", "HF_TOKEN_PATH": str(file)})
    assert reason_of(observed, "hf_token") == f"A token for the hub lies in {file}."
    assert SECRET.encode() not in observed.result.SerializeToString()


def test_token_that_cannot_be_read_warns(settings: CheckRunner) -> None:
    """The file of somebody else, which a test run by root could read."""
    planted = """
        open_path = Path.open
        def refuse(path, *arguments, **options):
            if path.name == "token":
                raise PermissionError(13, "Permission denied")
            return open_path(path, *arguments, **options)
        Path.open = refuse
    """
    observed = settings("settings", planted=planted)
    assert observed.cases["hf_token"] == "warn"
    assert remedy_of(observed, "hf_token") == "KI106"


def test_no_token_is_said(settings: CheckRunner) -> None:
    """Neither a variable nor a file."""
    observed = settings("settings", variables={"HF_TOKEN": " "})
    assert reason_of(observed, "hf_token").startswith("There is no token")


def test_lowering_the_high_watermark_alone_fails(settings: CheckRunner) -> None:
    """The advice of many pages, after which torch says `invalid low watermark ratio 1.4`."""
    observed = settings("settings", variables={"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0.7"})
    assert observed.status == "fail"
    assert without(observed, "pass", "skip") == {"mps_low_watermark_ratio": "fail"}
    assert remedy_of(observed, "mps_low_watermark_ratio") == "KI101"
    assert observed.result.remedy_id == "KI101"


@pytest.mark.parametrize(
    ("high", "low", "high_status", "low_status"),
    [
        ("0.7", "0.5", "pass", "pass"),
        ("0.0", None, "warn", "pass"),
        ("0.0", "2.5", "warn", "fail"),
        ("2.5", None, "fail", "pass"),
        ("-1", None, "fail", "fail"),
        ("nan", None, "fail", "fail"),
        ("seventy", None, "fail", "pass"),
        ("", None, "fail", "pass"),
        ("1.7", "high", "pass", "fail"),
    ],
)
def test_watermarks_are_judged_as_torch_reads_them(
    settings: CheckRunner, high: str, low: str | None, high_status: str, low_status: str
) -> None:
    """0 lifts the limit, more than 2 is refused, and a word is 0 to strtod."""
    variables = {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": high}
    if low is not None:
        variables["PYTORCH_MPS_LOW_WATERMARK_RATIO"] = low
    observed = settings("settings", variables=variables)
    found = observed.cases
    assert (found["mps_high_watermark_ratio"], found["mps_low_watermark_ratio"]) == (high_status, low_status)


def test_lifted_limit_names_its_remedy(settings: CheckRunner) -> None:
    """A Mac that freezes instead of a MPS out of memory."""
    observed = settings(
        "settings", {"least_free_gb": 0.0}, variables={"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0.0"}
    )
    assert observed.status == "warn"
    assert observed.result.remedy_id == "KI009"


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [("1", "pass", "is on"), ("0", "pass", "is off"), ("true", "fail", "'true'"), ("", "fail", "''")],
)
def test_fallback_variable(settings: CheckRunner, value: str, status: str, words: str) -> None:
    """torch reads a number; `true` ends its loading on a Mac."""
    observed = settings("settings", variables={"PYTORCH_ENABLE_MPS_FALLBACK": value})
    assert observed.cases["mps_fallback"] == status
    assert words in reason_of(observed, "mps_fallback")


@pytest.mark.parametrize(
    ("value", "status"), [("1", "pass"), ("1,1", "pass"), ("100000", "warn"), ("all", "warn"), ("0", "warn")]
)
def test_threads(settings: CheckRunner, value: str, status: str) -> None:
    """More threads than cores, and what is no count."""
    observed = settings("settings", variables={"OMP_NUM_THREADS": value})
    assert observed.cases["omp_num_threads"] == status
    assert observed.cases["mkl_num_threads"] == "pass"


def test_cache_is_measured(settings: CheckRunner, tmp_path: Path) -> None:
    """The bytes of its files, once each: snapshots are links to blobs."""
    blobs = tmp_path / "hf-home" / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "weights").write_bytes(bytes(12_345))
    (blobs / "link").symlink_to(blobs / "weights")
    observed = settings("settings")
    cache = next(each for each in observed.result.cases if each.name == "hf_cache")
    assert [(each.name, each.value) for each in cache.measurements] == [("cache_size", 12_345)]


def test_cache_that_cannot_be_written_fails(settings: CheckRunner, tmp_path: Path) -> None:
    """HF_HOME below something that is no folder."""
    (tmp_path / "file").touch()
    observed = settings("settings", variables={"HF_HOME": str(tmp_path / "file" / "hf")})
    assert observed.cases["hf_cache"] == "fail"


def test_little_disk_warns(settings: CheckRunner) -> None:
    """A bound above any disk stands for a disk that is nearly full."""
    observed = settings("settings", {"least_free_gb": 1e5})
    assert (observed.status, observed.result.remedy_id) == ("warn", "KI104")


def test_home_of_another_or_none_warns(settings: CheckRunner, tmp_path: Path) -> None:
    """Caches and tokens are looked for below HOME."""
    observed = settings("settings", variables={"HOME": str(tmp_path / "nobody")})
    assert observed.cases["session"] == "warn"
    assert settings("settings", planted='del os.environ["HOME"]').cases["session"] == "pass"
    observed = settings("settings", planted="os.geteuid = lambda: 54321")
    assert reason_of(observed, "session").endswith("and 54321 runs this.")


def test_names_of_target_variables_are_shown(settings: CheckRunner) -> None:
    """What the configuration sets is named, and its values are not."""
    observed = settings("settings", variables={"MY_PROXY_PASSWORD": SECRET})
    assert "MY_PROXY_PASSWORD" in reason_of(observed, "target_variables")
    assert SECRET not in str(observed.result)


def test_variable_that_did_not_arrive_fails(settings: CheckRunner) -> None:
    """The check sees its own environment, not the configuration's."""
    planted = 'del os.environ["HF_HUB_OFFLINE"]'
    observed = settings("settings", planted=planted)
    assert observed.cases["target_variables"] == "fail"
    assert reason_of(observed, "target_variables").endswith("HF_HUB_OFFLINE.")


def test_swap_in_use_warns(settings: CheckRunner) -> None:
    """More than a tenth of the memory; less is a figure."""
    planted = """
        probe.surroundings = probe.surroundings._replace(swap_used_bytes={used})
        probe.machine = probe.machine._replace(memory_bytes=8 * 10**9)
    """
    assert settings("settings", planted=planted.format(used=10**9)).cases["swap"] == "warn"
    assert settings("settings", planted=planted.format(used=10**8)).cases["swap"] == "pass"


@pytest.mark.parametrize(
    ("limit", "status"), [("0", "pass"), ("6000", "pass"), ("8192", "warn"), ("", "skip")]
)
def test_wired_limit(settings: CheckRunner, limit: str, status: str) -> None:
    """As `sysctl -n iogpu.wired_limit_mb` prints it on a Mac of 8 GiB."""
    planted = f"""
        global _sysctl
        _sysctl = lambda name: {limit!r} if name == "iogpu.wired_limit_mb" else ""
        probe.machine = probe.machine._replace(memory_bytes=8 * 2**30)
    """
    assert settings("settings", planted=planted).cases["wired_limit"] == status


def test_python_for_intel_on_apple_silicon_fails(settings: CheckRunner) -> None:
    """By its architecture, or because the kernel says that it translates."""
    foreign = """
        platform.machine = lambda: "x86_64"
        probe.machine = probe.machine._replace(is_apple_silicon=True)
    """
    translated = """
        global _sysctl
        _sysctl = lambda name: "1" if name == "sysctl.proc_translated" else ""
    """
    for planted in (foreign, translated):
        observed = settings("settings", planted=planted)
        assert observed.cases["python_architecture"] == "fail"
        assert remedy_of(observed, "python_architecture") == "KI103"


def test_bad_combinations_come_from_the_catalogue() -> None:
    """A run on an M2 with torch 2.13 warns of each issue by its id; torch 2.99 has none of them."""
    run = execute(_execution(torch="2.13.0"))
    cases = {case.name: case for case in run.results[0].cases}
    assert cases["known_issue/KI038"].remedy_id == "KI038"
    assert cases["known_issue/KI038"].reason.text == (
        "KI038 is known to spoil trainings with torch 2.13.0, Apple M2."
    )
    assert cases["known_issues"].measurements[0].value == len(cases) - len(_plain_cases(cases))
    later = execute(_execution(torch="2.99.0"))
    assert not [case.name for case in later.results[0].cases if case.name.startswith("known_issue/")]


def test_session_is_the_agents() -> None:
    """The agent was started over ssh, which it says."""
    conditions = machine_pb2.Conditions(session_type=machine_pb2.SESSION_TYPE_SSH, swap_used_bytes=0)
    run = execute(_execution(read_conditions=lambda: conditions))
    session = next(case for case in run.results[0].cases if case.name == "session")
    assert session.reason.text.startswith("Started from a remote login, running as ")
    assert {fact.name: fact.text for fact in session.facts}["session_type"] == "ssh"


def _plain_cases(cases: dict[str, object]) -> list[str]:
    return [name for name in cases if not name.startswith("known_issue/")]


def _execution(*, torch: str = "", **options: object) -> Execution:
    """On an M2 as far as the agent knows, in this interpreter."""
    packages = [environment_pb2.Package(name="torch", version=torch)] if torch else []
    return Execution(
        suite=suites.custom(("settings",), read_definitions()),
        target=target_from(sys.executable, variables={"HF_HOME": os.devnull + "-none"}),
        device="cpu",
        machine=machine_pb2.Machine(
            chip="Apple M2", os_name="macOS", os_version="15.5", is_apple_silicon=True
        ),
        environment=environment_pb2.Environment(name="lab", packages=packages),
        emit=lambda _: None,
        **options,  # type: ignore[arg-type]  # what a test sets differently
    )
