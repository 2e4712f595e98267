"""What this machine is: the facts that do not change from one run to the next.

The tools of the quick reading answer fast, and all run at once.  Not read here is the GPU's
recommended working set: only Metal knows it, so checks report it from the target.
"""

from __future__ import annotations

import platform

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts import ioreg, linux, sw_vers, sysctl, system_profiler
from llmenv_agent.facts.observed import Observed, merge
from llmenv_agent.facts.tool import read_tools


def read_machine(*, thorough: bool = False) -> machine_pb2.Machine:
    """Facts of this machine.

    `thorough` asks system_profiler too, which may take seconds, for the Metal family
    (`accelerator`); the quick reading leaves that absent.
    """
    observed = read_mac(thorough=thorough) if platform.system() == "Darwin" else linux.read_linux()
    observed.machine.hostname = platform.node()
    return observed.machine


def read_mac(*, thorough: bool = False) -> Observed:
    """Facts of a Mac; where tools state the same, sysctl and sw_vers have the last word."""
    commands = [sysctl.MACHINE_COMMAND, sw_vers.COMMAND, ioreg.GPU_COMMAND, ioreg.PRODUCT_COMMAND]
    if thorough:
        commands.append(system_profiler.COMMAND)
    keys, versions, gpu, product, *profile = read_tools(*commands, timeout_seconds=30 if thorough else 5)
    kernel = machine_pb2.Machine(
        os_name="macOS", kernel_version=platform.release(), architecture=platform.machine()
    )
    return merge(
        Observed(machine=kernel),
        *map(system_profiler.parse_system_profiler, profile),
        ioreg.parse_ioreg(gpu),
        ioreg.parse_ioreg(product),
        sysctl.parse_sysctl(keys),
        sw_vers.parse_sw_vers(versions),
    )
