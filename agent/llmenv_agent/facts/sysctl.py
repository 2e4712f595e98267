"""`sysctl`: chip, model, memory, CPU tiers, system version, memory pressure."""

from __future__ import annotations

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.observed import Observed
from llmenv_agent.facts.quantities import MEBIBYTE, whole

# The tree `hw` is asked for as a whole because the number of performance levels differs; what
# some systems lack comes last, where a complaint can no longer cost an answer.
MACHINE_COMMAND = (
    "sysctl",
    *("hw", "machdep.cpu", "kern.osproductversion", "kern.osversion", "kern.osrelease"),
    *("kern.hv_vmm_present", "iogpu.wired_limit_mb"),
)
PRESSURE_COMMAND = ("sysctl", "kern.memorystatus_vm_pressure_level")
PRESSURE_LEVELS = {"1": "normal", "2": "warn", "4": "critical"}
MOST_LEVELS = 8


def parse_sysctl(text: str) -> Observed:
    """Facts and memory pressure from `key: value` lines of any selection of keys."""
    keys = colon_lines(text)
    os_version = keys.get("kern.osproductversion", "")
    wired_limit_mb = whole(keys.get("iogpu.wired_limit_mb"), bits=32)
    machine = machine_pb2.Machine(
        chip=" ".join(keys.get("machdep.cpu.brand_string", "").split()),
        model_identifier=keys.get("hw.model", ""),
        cpu_tiers=_cpu_tiers(keys),
        memory_bytes=whole(keys.get("hw.memsize")),
        os_name="macOS" if os_version else "",
        os_version=os_version,
        os_build=keys.get("kern.osversion", ""),
        kernel_version=keys.get("kern.osrelease", ""),
        architecture="arm64" if keys.get("hw.optional.arm64") == "1" else "",
        is_virtual=keys.get("kern.hv_vmm_present") == "1",
        wired_limit_bytes=None if wired_limit_mb is None else wired_limit_mb * MEBIBYTE,
    )
    pressure = PRESSURE_LEVELS.get(keys.get("kern.memorystatus_vm_pressure_level", ""), "")
    return Observed(machine=machine, conditions=machine_pb2.Conditions(memory_pressure=pressure))


def _cpu_tiers(keys: dict[str, str]) -> list[machine_pb2.CpuTier]:
    """One tier per performance level, 0 being the fastest; a level without a name stays unnamed."""
    tiers = (
        machine_pb2.CpuTier(
            name=keys.get(f"hw.perflevel{level}.name", ""),
            cores=whole(keys.get(f"hw.perflevel{level}.physicalcpu"), bits=32) or 0,
        )
        for level in range(MOST_LEVELS)
    )
    return [tier for tier in tiers if tier.name or tier.cores]
