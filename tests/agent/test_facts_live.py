"""Reading this machine, and reading a Mac whose tools stand on PATH as scripts."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from llmenv.fleet.v1 import machine_pb2
from llmenv_agent.facts import linux, read_conditions, read_machine, session
from llmenv_agent.facts.conditions import read_mac_conditions
from llmenv_agent.facts.machine import read_mac
from llmenv_agent.facts.recording import to_json
from llmenv_agent.facts.tool import read_tools

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
on_linux = pytest.mark.skipif(platform.system() != "Linux", reason="compares with Linux's /proc")


def proc_value(name: str, key: str) -> str:
    """The value behind a key of a `key : value` file in /proc."""
    lines = Path("/proc", name).read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == key), "")


@on_linux
def test_facts_of_this_machine_are_those_of_proc() -> None:
    """Processor, memory, kernel and cores agree with /proc, uname and psutil."""
    machine = read_machine()
    assert machine.chip == proc_value("cpuinfo", "model name")
    assert machine.is_virtual == ("hypervisor" in proc_value("cpuinfo", "flags").split())
    assert machine.memory_bytes == int(proc_value("meminfo", "MemTotal").split()[0]) * 1024
    assert [(tier.name, tier.cores) for tier in machine.cpu_tiers] == [
        ("CPU", psutil.cpu_count(logical=False))
    ]
    assert (machine.os_name, machine.kernel_version, machine.architecture) == tuple(
        os.uname()[index] for index in (0, 2, 4)
    )
    assert machine.os_version == platform.freedesktop_os_release()["PRETTY_NAME"]
    assert machine.hostname == os.uname().nodename
    assert not machine.is_apple_silicon


@on_linux
def test_conditions_of_this_machine_are_those_of_proc(tmp_path: Path) -> None:
    """Load, uptime, memory, swap and disk agree with what the system says a moment later."""
    conditions = read_conditions(folder=tmp_path)
    load, uptime = (
        float(Path("/proc", name).read_text("utf-8").split()[0]) for name in ("loadavg", "uptime")
    )
    assert conditions.load_1m == pytest.approx(load, abs=1)
    assert conditions.uptime_seconds == pytest.approx(uptime, abs=5)
    assert conditions.available_memory_bytes == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert conditions.swap_used_bytes == pytest.approx(psutil.swap_memory().used, abs=2**28)
    assert conditions.free_disk_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


@on_linux
def test_what_linux_does_not_tell_is_absent() -> None:
    """No thermal or memory pressure is made up, nor a Mac's memory limits."""
    conditions, machine = read_conditions(), read_machine()
    assert (conditions.thermal_pressure, conditions.memory_pressure) == ("", "")
    assert not conditions.HasField("low_power_mode")
    assert not machine.HasField("gpu_cores")
    assert not machine.HasField("recommended_working_set_bytes")


def test_a_folder_that_is_gone_costs_only_its_free_space(tmp_path: Path) -> None:
    """The other conditions are still read."""
    conditions = read_conditions(folder=tmp_path / "gone")
    assert not conditions.HasField("free_disk_bytes")
    assert conditions.HasField("uptime_seconds")


@pytest.fixture
def mac_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts, first on PATH, that print the recordings of one M2 Ultra."""
    answers = {
        "sysctl": {"*pressure*": "sysctl/memory_pressure.txt", "*": "sysctl/ultra.txt"},
        "ioreg": {"*IOAccelerator*": "ioreg/gpu.txt", "*product*": "ioreg/product.txt"},
        "pmset": {"*batt*": "pmset/battery.txt", "*": "pmset/powermode_low.txt"},
        "notifyutil": {"*": "notifyutil/heavy.txt"},
    }
    for tool, outputs in answers.items():
        cases = [f'{pattern}) cat "{RECORDINGS / name}" ;;' for pattern, name in outputs.items()]
        write_tool(tmp_path / tool, 'case "$*" in', *cases, "esac", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def write_tool(path: Path, *lines: str) -> None:
    """An executable shell script."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), "utf-8")
    path.chmod(0o755)


def test_a_mac_is_put_together_from_its_tools(mac_tools: Path) -> None:
    """sysctl and ioreg each give their part; failing exit statuses and an absent sw_vers do no harm."""
    expected = {
        "chip": "Apple M2 Ultra",
        "model_identifier": "Mac14,14",
        "model_name": "Mac Studio",
        "gpu_cores": 60,
        "cpu_tiers": [{"name": "Performance", "cores": 16}, {"name": "Efficiency", "cores": 8}],
        "memory_bytes": str(192 * 2**30),
        "os_name": "macOS",
        "os_version": "26.2",
        "os_build": "25C56",
        "kernel_version": "25.2.0",
        "architecture": "arm64",
        "wired_limit_bytes": str(160 * 2**30),
        "is_apple_silicon": True,
    }
    assert to_json(read_mac())["machine"] == expected


def test_a_thorough_reading_adds_the_metal_family(mac_tools: Path) -> None:
    """system_profiler is asked only then, and sysctl keeps the last word on what both state."""
    profile = json.dumps(
        {
            "SPHardwareDataType": [{"chip_type": "Apple M2 Ultra", "physical_memory": "1 GB"}],
            "SPDisplaysDataType": [{"spdisplays_mtlgpufamilysupport": "spdisplays_metal4"}],
        }
    )
    write_tool(mac_tools / "system_profiler", f"echo '{profile}'")
    assert read_mac().machine.accelerator == ""
    thorough = read_mac(thorough=True).machine
    assert (thorough.accelerator, thorough.memory_bytes) == ("Metal 4", 192 * 2**30)


def test_conditions_of_a_mac_come_from_four_tools(mac_tools: Path) -> None:
    """Power source and mode, thermal pressure and memory pressure."""
    assert to_json(read_mac_conditions())["conditions"] == {
        "power_source": "battery",
        "low_power_mode": True,
        "thermal_pressure": "heavy",
        "memory_pressure": "warn",
    }


@on_linux
def test_a_mac_without_its_tools_has_no_made_up_facts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where nothing answers, only what the kernel itself says is left."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("llmenv_agent.facts.tool.SYSTEM_FOLDERS", "")
    uname = os.uname()
    assert to_json(read_mac()) == {
        "machine": {"os_name": "macOS", "architecture": uname.machine, "kernel_version": uname.release}
    }
    assert to_json(read_mac_conditions()) == {}


def test_tools_run_side_by_side(tmp_path: Path) -> None:
    """Each of four tools waits until all four have begun."""
    meet = f'touch "{tmp_path}/$$.begun"; while [ $(ls "{tmp_path}" | wc -l) -lt 4 ]; do sleep 0.05; done'
    tool = ("sh", "-c", f"{meet}; echo done")
    assert read_tools(tool, tool, tool, tool, timeout_seconds=60) == ["done\n"] * 4


def test_a_tool_that_hangs_is_ended(tmp_path: Path) -> None:
    """It is answered by nothing after the deadline, and its process is gone."""
    process_file = tmp_path / "process"
    write_tool(tmp_path / "hang", f'echo $$ > "{process_file}"', "exec sleep 600")
    begun = time.perf_counter()
    assert read_tools([str(tmp_path / "hang")], ["echo", "quick"], timeout_seconds=4) == ["", "quick\n"]
    assert time.perf_counter() - begun < 50
    assert not psutil.pid_exists(int(process_file.read_text("utf-8")))


def test_tools_speak_english_and_are_found_without_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon's PATH may be empty, and a person's language must not change what is parsed."""
    monkeypatch.delenv("PATH", raising=False)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert read_tools(["sh", "-c", "echo $LC_ALL"]) == ["C\n"]


@pytest.mark.parametrize(
    ("environment", "manager", "has_terminal", "expected"),
    [
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22", "DISPLAY": ":10"}, "Aqua", True, "SSH"),
        ({}, "Aqua", True, "GUI"),
        ({}, "System", False, "DAEMON"),
        ({}, "Background", False, "DAEMON"),
        ({"INVOCATION_ID": "0123"}, "", False, "DAEMON"),
        ({"INVOCATION_ID": "0123"}, "", True, "TERMINAL"),
        ({"INVOCATION_ID": "0123", "WAYLAND_DISPLAY": "wayland-0"}, "", True, "GUI"),
        ({"DISPLAY": ":0"}, "", True, "GUI"),
        ({}, "", True, "TERMINAL"),
        ({}, "", False, "UNSPECIFIED"),
    ],
)
def test_a_session_is_told_by_its_signs(
    environment: dict[str, str], manager: str, *, has_terminal: bool, expected: str
) -> None:
    """ssh before all, then launchd's word, then systemd's mark, a display, a terminal."""
    found = session.session_type(environment, manager=manager, has_terminal=has_terminal)
    assert machine_pb2.SessionType.Name(found) == f"SESSION_TYPE_{expected}"


def test_a_process_without_a_terminal_sees_none() -> None:
    """A process that begins a session of its own has no controlling terminal."""
    code = "from llmenv_agent.facts import session; print(session._has_terminal())"
    found = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"


@pytest.mark.parametrize(
    ("text", "accelerator"),
    [
        ("name\nNVIDIA H100 80GB HBM3\nNVIDIA H100 80GB HBM3\n", "NVIDIA H100 80GB HBM3"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", ""),
        ("No devices were found\n", ""),
        ("", ""),
    ],
)
def test_a_cuda_device_has_the_name_of_the_driver(text: str, accelerator: str) -> None:
    """The first GPU's name, and none where the tool complains."""
    assert linux.parse_nvidia_smi(text).machine.accelerator == accelerator


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.1 LTS"\n', "Ubuntu 24.04.1 LTS"),
        ("PRETTY_NAME=Alpine\n", "Alpine"),
        ("PRETTY_NAME='unclosed\n", "'unclosed"),
        ("", ""),
    ],
)
def test_a_distribution_is_called_as_it_calls_itself(text: str, version: str) -> None:
    """PRETTY_NAME with or without quotes."""
    assert linux.parse_os_release(text).machine.os_version == version


def test_an_arm_processor_without_a_name_stays_unnamed() -> None:
    """/proc/cpuinfo on ARM has no model name: the chip is absent, not guessed."""
    assert not linux.parse_cpuinfo("processor\t: 0\nBogoMIPS\t: 48.00\nCPU implementer\t: 0x61\n")
