"""Linux, where the agent is developed and where CUDA machines run: /proc, /etc/os-release, nvidia-smi."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.observed import Observed, merge
from llmenv_agent.facts.tool import read_tools

GPU_COMMAND = ("nvidia-smi", "--query-gpu=name", "--format=csv")
CPU_FILE = Path("/proc/cpuinfo")
RELEASE_FILE = Path("/etc/os-release")
PRODUCT_FILE = Path("/sys/class/dmi/id/product_name")


def read_linux() -> Observed:
    """Facts of this Linux machine; `os_version` is the distribution's own full name."""
    import psutil

    (gpus,) = read_tools(GPU_COMMAND)
    cores = psutil.cpu_count(logical=False)
    machine = machine_pb2.Machine(
        model_identifier=_content(PRODUCT_FILE).strip(),
        cpu_tiers=[machine_pb2.CpuTier(name="CPU", cores=cores)] if cores else [],
        memory_bytes=psutil.virtual_memory().total,
        os_name="Linux",
        kernel_version=platform.release(),
        architecture=platform.machine(),
    )
    return merge(
        Observed(machine=machine),
        parse_cpuinfo(_content(CPU_FILE)),
        parse_os_release(_content(RELEASE_FILE)),
        parse_nvidia_smi(gpus),
    )


def parse_cpuinfo(text: str) -> Observed:
    """The processor's name, and whether a hypervisor is underneath (x86 says so, ARM neither)."""
    keys = colon_lines(text)
    machine = machine_pb2.Machine(
        chip=keys.get("model name", ""), is_virtual="hypervisor" in keys.get("flags", "").split()
    )
    return Observed(machine=machine)


def parse_os_release(text: str) -> Observed:
    """The distribution's name and version as its own PRETTY_NAME says."""
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "PRETTY_NAME":
            return Observed(machine=machine_pb2.Machine(os_version=_unquoted(value)))
    return Observed()


def parse_nvidia_smi(text: str) -> Observed:
    """The name of the first GPU, which is the one that `cuda` means; a complaint has no header line."""
    header, _, names = text.partition("\n")
    name = names.partition("\n")[0].strip() if header.strip() == "name" else ""
    return Observed(machine=machine_pb2.Machine(accelerator=name))


def _unquoted(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value.strip()


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
