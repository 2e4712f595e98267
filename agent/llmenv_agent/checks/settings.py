"""Whose settings does a training process have here, and does one of them spoil the training?

One case a setting, each read in the check's own process, which is started as a training would be; what only
the agent knows (the kind of session, the env file, swap, versions known to be bad) it has told. Of tokens and
of the target's variables only names and presence are said, never a value.

`fail` is a setting that torch refuses or misreads (`llmenv_probe.mps_variables`), a variable that was set and
did not arrive, a cache that cannot be written, a Python for another processor. `warn` is a setting that works
and costs something. Its bounds:

- free disk: 20 GB, the 16-bit weights of a model of 7 x 10^9 parameters (14 GB) and 6 GB for the system;
- swap: a tenth of the machine's memory, a convention: macOS leaves pages there long after the pressure;
- threads: no more than the cores that this process may use;
- wired limit: below the machine's memory, as the README of mlx-lm has it.

A low watermark with none of its own set is judged too: it has a default, and a lowered high one excludes it.
"""

from __future__ import annotations

import os
import platform
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv_probe import hub_folders, mps_variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.surroundings import BadCombination

ORDER = 5
SUITES = ("quick", "full")
REQUIRES = ()
TIMEOUT_SECONDS = 60
TYPICAL_SECONDS = 0.1
PARAMETERS = {"least_free_gb": 20.0, "most_swap_share": 0.1, "cache_seconds": 1.0}
ALLOWED = {"least_free_gb": "0.0..100000.0", "most_swap_share": "0.0..1.0", "cache_seconds": "0.0..60.0"}

SOURCES = {
    "daemon": "a daemon",
    "gui": "a login at the screen",
    "ssh": "a remote login",
    "terminal": "a terminal",
    "": "a session of unknown kind",
}


def run(probe: Probe) -> None:
    for name, examine in SETTINGS.items():
        if not probe.is_completed(name):
            with probe.case(name) as case:
                examine(probe, case)
    for combination in probe.surroundings.bad_combinations:
        name = "known_issue/" + combination.id
        if not probe.is_completed(name):
            with probe.case(name) as case:
                _judge_combination(case, combination)


def _session(probe: Probe, case: Case) -> None:
    """Who runs this, and whether HOME is theirs: caches and tokens are looked for there."""
    user = _user(os.geteuid())
    # Without HOME it is the account's; Path.home would raise for a user without one.
    home = Path(os.path.expanduser("~"))  # noqa: PTH111
    source = SOURCES.get(probe.surroundings.session_type, SOURCES[""])
    case.fact("session_type", probe.surroundings.session_type or "unknown")
    case.fact("user", user)
    case.fact("home", str(home))
    if not home.is_absolute() or not home.is_dir():
        case.warn("HOME ({home}) is no folder, so no cache and no token is found there.", "KI106", home=home)
    elif home.stat().st_uid != os.geteuid():
        owner = _user(home.stat().st_uid)
        case.warn("HOME is that of {owner}, and {user} runs this.", "KI106", owner=owner, user=user)
    case.passed("Started from {source}, running as {user}.", source=source, user=user)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run as a user without a name
        return str(uid)


def _target_variables(probe: Probe, case: Case) -> None:
    """What the agent set for this target has to have arrived."""
    names = probe.surroundings.variables
    case.fact("env_file", probe.surroundings.env_file or "none")
    lost = ", ".join(name for name in names if name not in os.environ)
    if lost:
        case.fail("Set for this target, and not in its process: {names}.", "KI106", names=lost)
    if names:
        case.passed("Set for this target: {names}.", names=", ".join(names))
    else:
        case.passed("No variable is set for this target: it has those that the agent was started with.")


def _architecture(probe: Probe, case: Case) -> None:
    machine = platform.machine()
    case.fact("python_architecture", machine)
    is_foreign = probe.machine.is_apple_silicon and machine != "arm64"
    if is_foreign or _sysctl("sysctl.proc_translated") == "1":
        case.fail(
            "This Python is built for {machine} and runs under Rosetta: it has neither MPS nor MLX.",
            "KI103",
            machine=machine,
        )
    version = platform.python_version()
    case.passed("Python {version} is built for {machine}.", version=version, machine=machine)


def _token(_: Probe, case: Case) -> None:
    variables, file = hub_folders.token_variables_set(), hub_folders.token_file()
    state = _openable(file)
    case.fact("token_present", bool(variables) or state != "absent")
    if variables:
        case.passed("A token for the hub is set in {variable}.", variable=variables[0])
    elif state == "absent":
        case.passed("There is no token for the hub, so gated models cannot be downloaded.")
    elif state == "forbidden":
        case.warn("The token in {file} cannot be read by this user.", "KI106", file=file)
    else:
        case.passed("A token for the hub lies in {file}.", file=file)


def _openable(file: Path) -> str:
    """ "absent", "forbidden" or "openable"; nothing is read."""
    try:
        file.open("rb").close()
    except PermissionError:
        return "forbidden"
    except OSError:
        return "absent"
    return "openable"


def _cache(probe: Probe, case: Case) -> None:
    folder = hub_folders.hub_cache()
    existing = hub_folders.nearest_existing(folder)
    size, is_whole = hub_folders.size_of(folder, within_seconds=probe.parameters["cache_seconds"])
    case.fact("folder", str(folder))
    case.measure("cache_size", size, "byte")
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        case.fail("The hub's cache {folder} cannot be written by this user.", "KI106", folder=folder)
    if is_whole:
        case.passed("The hub's cache {folder} holds {size:.2f} GB.", folder=folder, size=size / 1e9)
    else:
        case.passed("The hub's cache {folder} holds at least {size:.2f} GB.", folder=folder, size=size / 1e9)


def _free_disk(probe: Probe, case: Case) -> None:
    free = shutil.disk_usage(hub_folders.nearest_existing(hub_folders.hub_cache())).free
    least = probe.parameters["least_free_gb"]
    case.measure("free_disk", free, "byte", better="higher")
    if free < least * 1e9:
        template = "{free:.1f} GB are free where models are kept, less than {least:g} GB."
        case.warn(template, "KI104", free=free / 1e9, least=least)
    case.passed("{free:.1f} GB are free where models are kept.", free=free / 1e9)


def _swap(probe: Probe, case: Case) -> None:
    used, memory = probe.surroundings.swap_used_bytes, probe.machine.memory_bytes
    if used is None:
        case.skip("The agent could not read how much is swapped out.")
    case.measure("swap_used", used, "byte", better="lower")
    if memory and used > probe.parameters["most_swap_share"] * memory:
        template = "{used:.1f} GB are swapped out, with {memory:.1f} GB of memory."
        case.warn(template, "KI084", used=used / 1e9, memory=memory / 1e9)
    case.passed("{used:.1f} GB are swapped out.", used=used / 1e9)


def _wired_limit(probe: Probe, case: Case) -> None:
    text = _sysctl("iogpu.wired_limit_mb")
    if not text.isdigit():
        case.skip("This system has no limit of wired GPU memory that can be set.")
    limit, memory = int(text) * 2**20, probe.machine.memory_bytes
    case.measure("wired_limit", limit, "byte")
    if memory and limit >= memory:
        template = "The GPU may wire {limit:.1f} GB, all of the memory: the Mac may freeze."
        case.warn(template, "KI107", limit=limit / 1e9)
    elif limit:
        case.passed("The GPU may wire {limit:.1f} GB, as somebody has set it.", limit=limit / 1e9)
    else:
        case.passed("How much the GPU may wire is left to the system.")


def _threads(variable: str) -> "Callable[[Probe, Case], None]":
    """The examination of one variable that bounds a pool of threads."""

    def examine(_: Probe, case: Case) -> None:
        text, cores = os.environ.get(variable), _usable_cores()
        case.fact("usable_cores", cores)
        if text is None:
            case.passed("{variable} is not set: the library decides.", variable=variable)
            return
        count = re.match(r"\s*([1-9]\d*)\s*(,|$)", text)
        if count is None:
            template = "{variable} is {text}, which is no count of threads."
            case.warn(template, "KI105", variable=variable, text=repr(text[:40]))
        elif int(count.group(1)) > cores:
            template = "{variable} asks for {threads} threads on {cores} cores."
            case.warn(template, "KI105", variable=variable, threads=count.group(1), cores=cores)
        case.passed("{variable} is {threads}.", variable=variable, threads=text.strip())

    return examine


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sysctl(name: str) -> str:
    """The value of a sysctl of macOS; empty elsewhere, and where there is none of this name."""
    if sys.platform != "darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", name]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()


def _known_issues(probe: Probe, case: Case) -> None:
    """How many there are; each is a case of its own."""
    if not probe.machine.is_apple_silicon:
        case.skip("The catalogue of known issues speaks of Apple Silicon only.")
    count = len(probe.surroundings.bad_combinations)
    case.measure("bad_combinations", count, "1", better="lower")
    case.passed("{count} known issues hold for these versions on this chip and system.", count=count)


def _judge_combination(case: Case, combination: BadCombination) -> None:
    issue, versions = combination.id, combination.combination
    case.fact("severity", combination.severity)
    case.fact("title", combination.title)
    if combination.severity in {"high", "critical"}:
        template = "{issue} is known to spoil trainings with {versions}."
        case.warn(template, issue, issue=issue, versions=versions)
    case.passed("{issue} is known with {versions}.", issue=issue, versions=versions)


SETTINGS: "dict[str, Callable[[Probe, Case], Any]]" = {
    "session": _session,
    "target_variables": _target_variables,
    "python_architecture": _architecture,
    "hf_token": _token,
    "hf_cache": _cache,
    "free_disk": _free_disk,
    "swap": _swap,
    "wired_limit": _wired_limit,
    "mps_fallback": lambda _, case: mps_variables.judge_fallback(case),
    "mps_high_watermark_ratio": lambda _, case: mps_variables.judge_high_watermark(case),
    "mps_low_watermark_ratio": lambda _, case: mps_variables.judge_low_watermark(case),
    "omp_num_threads": _threads("OMP_NUM_THREADS"),
    "mkl_num_threads": _threads("MKL_NUM_THREADS"),
    "openblas_num_threads": _threads("OPENBLAS_NUM_THREADS"),
    "veclib_maximum_threads": _threads("VECLIB_MAXIMUM_THREADS"),
    "known_issues": _known_issues,
}
