"""What may stand in agent.toml, and how a mistake in it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from llmenv.cron import parse_cron
from llmenv_agent.configuration import (
    TargetSettings,
    load_configuration,
    parse_configuration,
)
from llmenv_agent.errors import UsageError
from llmenv_agent.schedule_settings import DAILY_QUICK, ScheduleSettings

FILE = Path("agent.toml")


def test_everything_that_may_be_said() -> None:
    """Every key of the module's example arrives."""
    configuration = parse_configuration(
        """
        [agent]
        state_dir = "/var/lib/llmenv"
        device = "mps"
        discover = ["/projects"]
        log_format = "json"
        [[target]]
        name = "training"
        python = "/venv"
        variables = { HF_HOME = "/models" }
        env_file = "/venv/.env"
        [schedule.quick]
        every = "12h"
        splay = "5m"
        [schedule.bench]
        at = "0 3 * * 1-5"
        [checks.torch_training]
        steps = 50
        """,
        path=FILE,
    )
    assert Path("/var/lib/llmenv") == configuration.state_dir
    assert ("mps", "json", (Path("/projects"),)) == (
        configuration.device,
        configuration.log_format,
        configuration.discover,
    )
    target = TargetSettings(
        name="training", python="/venv", variables={"HF_HOME": "/models"}, env_file="/venv/.env"
    )
    assert (target,) == configuration.targets
    assert (
        ScheduleSettings(suite="quick", every_seconds=43_200, splay_seconds=300),
        ScheduleSettings(suite="bench", at=parse_cron("0 3 * * 1-5"), splay_seconds=600),
    ) == configuration.schedules
    assert configuration.parameters == {"torch_training": {"steps": 50}}


def test_an_empty_file_runs_quick_once_a_day() -> None:
    """The default schedule is the quick suite, and one that has no times is said."""
    (never,) = parse_configuration('[schedule.quick]\nevery = "never"', path=FILE).schedules
    assert (never.suite, never.is_on_demand, DAILY_QUICK.is_on_demand) == ("quick", True, False)
    assert parse_configuration("", path=FILE).schedules == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[agent]\n\nstate = 1", "agent.toml:3: agent.state is not known here"),
        ('[[target]]\npython = "a"\n[[target]]\npython = "b"\npyton = "c"', "agent.toml:5: target.pyton"),
        ('[[target]]\nname = "x"', "agent.toml:1: target needs python"),
        ('[[target]]\npython = "x"\nvariables = { "A=B" = "1" }', "agent.toml:3: target.variables has 'A=B'"),
        ('[target]\npython = "x"', "agent.toml:1: target is written [[target]]"),
        ('[schedule.quick]\nevery = "1y"', "agent.toml:2: schedule.quick.every cannot be read"),
        ('[schedule.quick]\nat = "0 3 * *"', "agent.toml:2: schedule.quick.at cannot be read"),
        ('[schedule.quick]\nevery = "1h"\nat = "0 3 * * *"', "agent.toml:3: schedule.quick.at stands beside"),
        ('[schedule.quick]\nevery = "1s"', "agent.toml:2: schedule.quick.every must be a minute or more"),
        ("[schedul.quick]", "agent.toml:1: schedul is not known here"),
        ('[agent]\ndevice = "gpu"', "agent.toml:2: agent.device is 'gpu'"),
        ("[checks.torch_basic]", "agent.toml:1: checks.torch_basic is no check"),
        ("[checks.torch_training]\n\nstep = 1", "agent.toml:3: checks.torch_training.step is refused"),
        ("x =", "agent.toml is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, sentence: str) -> None:
    """The person sees the file, the line, and what may stand there."""
    with pytest.raises(UsageError) as caught:
        parse_configuration(text, path=FILE)
    assert str(caught.value).startswith(sentence)


def test_flags_win_over_variables_and_these_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One order for every setting."""
    file = tmp_path / "agent.toml"
    file.write_text('[agent]\nstate_dir = "/of/file"\ndevice = "cpu"')
    monkeypatch.delenv("LLMENV_STATE_DIR", raising=False)
    monkeypatch.setenv("LLMENV_CONFIG", str(file))
    assert Path("/of/file") == load_configuration().state_dir
    monkeypatch.setenv("LLMENV_STATE_DIR", "/of/variable")
    monkeypatch.setenv("LLMENV_DEVICE", "cuda")
    assert Path("/of/variable") == load_configuration().state_dir
    assert load_configuration().device == "cuda"
    assert Path("/of/flag") == load_configuration(state_dir=Path("/of/flag")).state_dir


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    """The usual file may be missing; one that somebody named may not."""
    with pytest.raises(UsageError, match="There is no configuration file"):
        load_configuration(tmp_path / "missing.toml")


def test_targets_on_the_command_line_are_the_only_ones(tmp_path: Path) -> None:
    """Those of the file and the discovered ones give way; without any, the file's stay."""
    text = '[agent]\ndiscover = ["~/projects"]\n[[target]]\npython = "/opt/env"\n'
    configuration = parse_configuration(text, path=tmp_path / "agent.toml", state_dir=tmp_path)
    assert configuration.with_targets(()) == configuration
    told = configuration.with_targets(("/a/bin/python", "/b"))
    assert [target.python for target in told.targets] == ["/a/bin/python", "/b"]
    assert told.discover == ()
