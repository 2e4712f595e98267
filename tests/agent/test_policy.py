"""When the machine is idle enough for a check, and what is said where it is not."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import machine_pb2
from llmenv_agent.configuration import parse_configuration
from llmenv_agent.errors import UsageError
from llmenv_agent.facts import notifyutil, sysctl
from llmenv_agent.facts.hid_idle import parse_hid_idle
from llmenv_agent.gpu_use import GpuProcess
from llmenv_agent.machine_use import Use, read_use
from llmenv_agent.policy import FRESH_SECONDS, Policy
from llmenv_agent.policy_settings import MEMORY_LEVELS, THERMAL_LEVELS, PolicySettings

from .set_clocks import SetClocks

if TYPE_CHECKING:
    from collections.abc import Iterator

IDLE = Use(cpu_percent=3.0)
ON_MAINS = {"power_source": "ac", "thermal_pressure": "nominal", "memory_pressure": "normal"}
TRAINING = GpuProcess(pid=4245, name="python3.12", share=0.93)


def objection(settings: dict[str, Any], conditions: dict[str, Any], use: Use = IDLE) -> str:
    policy = Policy(
        PolicySettings(**settings),
        read_conditions=lambda: machine_pb2.Conditions(**{**ON_MAINS, **conditions}),
        read_use=lambda: use,
    )
    sentence = policy.objection()
    return sentence.text if sentence else ""


@pytest.mark.parametrize(
    ("settings", "conditions", "use", "expected"),
    [
        ({}, {}, IDLE, ""),
        ({}, {"power_source": "battery"}, IDLE, "The machine is on battery."),
        ({"on_battery": True}, {"power_source": "battery"}, IDLE, ""),
        ({}, {"power_source": ""}, IDLE, ""),
        ({}, {"low_power_mode": True}, IDLE, ""),
        ({"in_low_power_mode": False}, {"low_power_mode": True}, IDLE, "The machine is in low-power mode."),
        (
            {},
            {"thermal_pressure": "moderate"},
            IDLE,
            "The machine is hot: thermal pressure is moderate.",
        ),
        ({"thermal_pressure": "moderate"}, {"thermal_pressure": "moderate"}, IDLE, ""),
        (
            {"thermal_pressure": "moderate"},
            {"thermal_pressure": "trapping"},
            IDLE,
            "The machine is hot: thermal pressure is trapping.",
        ),
        ({}, {"thermal_pressure": ""}, IDLE, ""),
        ({}, {"memory_pressure": "warn"}, IDLE, "Memory is short: memory pressure is warn."),
        (
            {},
            {},
            Use(gpu_processes=(TRAINING,)),
            "Another process uses the GPU: python3.12, 93 % of the time.",
        ),
        ({"gpu_percent": 95.0}, {}, Use(gpu_processes=(TRAINING,)), ""),
        ({}, {}, Use(cpu_percent=71.4), "Other processes use 71 % of all cores."),
        ({}, {}, Use(user_idle_seconds=4.0), ""),
        (
            {"user_idle_seconds": 300.0},
            {},
            Use(user_idle_seconds=4.0),
            "Somebody used the machine 4 s ago.",
        ),
        ({"user_idle_seconds": 300.0}, {}, Use(user_idle_seconds=None), ""),
        ({"only_when_idle": False}, {"power_source": "battery"}, Use(cpu_percent=100.0), ""),
    ],
)
def test_what_stands_against_a_check(
    settings: dict[str, Any], conditions: dict[str, Any], use: Use, expected: str
) -> None:
    """By the defaults and by every setting; what could not be read holds nobody up."""
    assert objection(settings, conditions, use) == expected


def test_it_looks_once_for_checks_that_follow_closely() -> None:
    """An idle answer holds for a moment, a busy one not at all."""
    looks: list[str] = []
    clocks = SetClocks()
    use = IDLE

    def read() -> Use:
        looks.append("look")
        return use

    policy = Policy(
        PolicySettings(), read_conditions=machine_pb2.Conditions, read_use=read, clocks=clocks.clocks
    )
    assert policy.objection() is None
    use = Use(cpu_percent=99.0)
    assert (policy.objection(), len(looks)) == (None, 1)
    clocks.sleep(FRESH_SECONDS)
    assert policy.objection() is not None
    assert policy.objection() is not None
    assert len(looks) == 3


def test_levels_are_those_that_are_read() -> None:
    """A level under another name would be above nothing."""
    assert notifyutil.LEVELS == THERMAL_LEVELS
    assert tuple(sysctl.PRESSURE_LEVELS.values()) == MEMORY_LEVELS


def test_every_key_arrives() -> None:
    """Each in its own unit, the others at their defaults."""
    text = """
        [policy]
        only_when_idle = false
        on_battery = true
        in_low_power_mode = false
        thermal_pressure = "heavy"
        memory_pressure = "critical"
        gpu_percent = 5
        cpu_percent = 12.5
        user_idle = "5m"
    """
    assert parse_configuration(text, path=Path("agent.toml")).policy == PolicySettings(
        only_when_idle=False,
        on_battery=True,
        in_low_power_mode=False,
        thermal_pressure="heavy",
        memory_pressure="critical",
        gpu_percent=5.0,
        cpu_percent=12.5,
        user_idle_seconds=300.0,
    )
    assert parse_configuration("", path=Path("agent.toml")).policy == PolicySettings()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("on_batery = true", "agent.toml:2: policy.on_batery is not known here"),
        ('on_battery = "no"', "agent.toml:2: policy.on_battery must be true or false"),
        ("gpu_percent = 0", "agent.toml:2: policy.gpu_percent must be a number above 0, at most 100"),
        ("cpu_percent = true", "agent.toml:2: policy.cpu_percent must be a number above 0, at most 100"),
        ('thermal_pressure = "hot"', "agent.toml:2: policy.thermal_pressure is 'hot'; it must be one of"),
        ("memory_pressure = 1", "agent.toml:2: policy.memory_pressure must be a text in quotes"),
        ('user_idle = "soon"', "agent.toml:2: policy.user_idle cannot be read"),
    ],
)
def test_a_mistake_is_said_with_its_line(line: str, problem: str) -> None:
    """As everywhere in the file."""
    with pytest.raises(UsageError) as caught:
        parse_configuration(f"[policy]\n{line}\n", path=Path("agent.toml"))
    assert problem in str(caught.value)


def test_the_last_touch_of_a_key_is_read() -> None:
    """In nanoseconds, as ioreg prints it."""
    assert parse_hid_idle('    "HIDIdleTime" = 74500000000\n') == 74.5
    assert parse_hid_idle("") is None


def _burn(_: int) -> None:
    while True:
        pass


@pytest.fixture
def _all_cores_busy() -> Iterator[None]:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_burn, args=(core,), daemon=True)
        for core in range(os.cpu_count() or 1)
    ]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.kill()
        process.join()


@pytest.mark.usefixtures("_all_cores_busy")
def test_work_on_all_cores_is_seen() -> None:
    """Real processes on this machine, read as the daemon reads, once they have begun."""
    deadline = time.monotonic() + 120
    while (busy := read_use().cpu_percent) <= 50 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert busy > 50
