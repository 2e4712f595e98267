"""What is installed on a virtual Mac, and when it changes: releases, and upgrades on days of their own.

A release is out on the same day for everybody; each machine takes it some days later, and now and then leaves
one out. Releases of packages are of the real series, their days are not.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import environment_pb2

from llmenv_agent.environments import environment_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MACOS = "macos"
ENVIRONMENT_NAME = "llm"
RELEASES: Mapping[str, tuple[str, ...]] = {
    "torch": ("2.9.1", "2.10.0", "2.11.0", "2.12.0"),
    "transformers": ("4.57.1", "5.1.0", "5.4.0"),
    "mlx": ("0.30.6", "0.31.1", "0.32.4"),
    MACOS: ("26.1", "26.2", "26.3", "26.5"),
}
_COMPANIONS = {
    "2.9.1": {"torchvision": "0.24.1", "torchaudio": "2.9.1"},
    "2.10.0": {"torchvision": "0.25.0", "torchaudio": "2.10.0"},
    "2.11.0": {"torchvision": "0.26.0", "torchaudio": "2.11.0"},
    "2.12.0": {"torchvision": "0.27.0", "torchaudio": "2.11.0"},
}
_UNCHANGED = {
    "accelerate": "1.12.0",
    "datasets": "4.4.1",
    "filelock": "3.20.0",
    "huggingface-hub": "1.2.3",
    "jinja2": "3.1.6",
    "networkx": "3.6",
    "numpy": "2.3.5",
    "pandas": "2.3.3",
    "peft": "0.18.1",
    "pyyaml": "6.0.3",
    "safetensors": "0.7.0",
    "sentencepiece": "0.2.1",
    "sympy": "1.14.0",
    "tokenizers": "0.22.2",
}
_LEFT_OUT_SHARE = 0.15
_MEAN_LAG_SHARE = 0.06  # of the whole history


@dataclass(frozen=True, kw_only=True)
class System:
    """A macOS release."""

    version: str
    build: str
    kernel: str


SYSTEMS = {
    "26.1": System(version="26.1", build="25B78", kernel="25.1.0"),
    "26.2": System(version="26.2", build="25C56", kernel="25.2.0"),
    "26.3": System(version="26.3", build="25D125", kernel="25.3.0"),
    "26.5": System(version="26.5", build="25F71", kernel="25.5.0"),
}


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """From `day` (fractions count) on a machine has `package` in `version`, and `former` before."""

    day: float
    package: str
    former: str
    version: str


def draw_upgrades(seed: int, index: int, *, days: int) -> tuple[Upgrade, ...]:
    """All upgrades of one machine, oldest first."""
    upgrades: list[Upgrade] = []
    for package, releases in RELEASES.items():
        own = random.Random(f"{seed}/upgrades/{index}/{package}")  # noqa: S311 # plays, protects nothing
        former, last_day = releases[0], 0.0
        for number, version in enumerate(releases[1:], 1):
            day = release_day(package, number, days=days) + own.expovariate(1 / (_MEAN_LAG_SHARE * days))
            is_left_out = own.random() < _LEFT_OUT_SHARE
            if is_left_out or day >= days:
                continue
            last_day = max(day, last_day + 1)
            upgrades.append(Upgrade(day=last_day, package=package, former=former, version=version))
            former = version
    return tuple(sorted(upgrades, key=lambda each: each.day))


def release_day(package: str, number: int, *, days: int) -> float:
    """When a release comes out; packages do not come out on one day."""
    places = {"torch": 0.10, "transformers": 0.22, "mlx": 0.16, MACOS: 0.05}
    return days * (places[package] + (number - 1) * 0.8 / len(RELEASES[package]))


def versions_on(upgrades: Sequence[Upgrade], day: float) -> dict[str, str]:
    """Of packages and macOS that change, on that day."""
    versions = {package: releases[0] for package, releases in RELEASES.items()}
    for upgrade in upgrades:
        if upgrade.day <= day:
            versions[upgrade.package] = upgrade.version
    return versions


def environment_of(versions: Mapping[str, str]) -> environment_pb2.Environment:
    """The target as the agent would describe it; not to be changed."""
    return _environment_of(tuple(versions.items()))


@functools.lru_cache(maxsize=1024)
def _environment_of(items: tuple[tuple[str, str], ...]) -> environment_pb2.Environment:
    versions = dict(items)
    packages = {**_UNCHANGED, **_COMPANIONS[versions["torch"]]}
    packages |= {name: version for name, version in versions.items() if name != MACOS}
    environment = environment_pb2.Environment(
        name=ENVIRONMENT_NAME,
        python_path=f"/Users/lab/{ENVIRONMENT_NAME}/bin/python",
        python_version="3.12.12",
        python_implementation="CPython",
        python_architecture="arm64",
        kind="venv",
        packages=[
            environment_pb2.Package(name=name, version=packages[name], origin="environment")
            for name in sorted(packages)
        ],
    )
    environment.environment_hash = environment_hash(environment)
    return environment
