"""Every recording of a real Mac is understood, and agrees with what its index says of it."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_agent.facts.recording import decode_recording, parse_recording, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.facts.observed import Observed


@pytest.fixture(scope="module")
def index(mac_recordings: Path) -> list[dict[str, str]]:
    """Rows of the recordings' index: file, chip, model, macos, ..."""
    with (mac_recordings / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def answers(mac_recordings: Path, index: list[dict[str, str]]) -> dict[str, tuple[Observed, ...]]:
    """What is understood of each file."""
    return {row["file"]: parse(mac_recordings, row["file"]) for row in index}


def parse(folder: Path, name: str) -> tuple[Observed, ...]:
    """One file; a recording's kind is the name of its folder."""
    return parse_recording(name.partition("/")[0], decode_recording((folder / name).read_bytes()))


def stated(answers: dict[str, tuple[Observed, ...]], field: str) -> dict[str, set[str]]:
    """Values of a text field of Machine by file, for the files that have one."""
    values = {
        name: {getattr(answer.machine, field) for answer in found} - {""} for name, found in answers.items()
    }
    return {name: value for name, value in values.items() if value}


def test_every_recording_is_understood(
    index: list[dict[str, str]], answers: dict[str, tuple[Observed, ...]]
) -> None:
    """All files of the index parse, each into something."""
    assert len(index) >= 100
    assert [row["file"] for row in index if not any(answers[row["file"]])] == []


def test_chips_are_those_of_the_index(
    index: list[dict[str, str]], answers: dict[str, tuple[Observed, ...]]
) -> None:
    """Where a recording names a chip, it is the one that was recorded."""
    recorded = {row["file"]: set(row["chip"].split("; ")) for row in index}
    chips = stated(answers, "chip")
    named = {name: chip for name, chip in chips.items() if recorded[name] != {"(Linux x86-64 CPU)"}}
    assert len(named) >= 43
    assert named == {name: recorded[name] for name in named}


def test_models_are_those_of_the_index(
    index: list[dict[str, str]], answers: dict[str, tuple[Observed, ...]]
) -> None:
    """Where both name a model identifier, they agree."""
    recorded = {row["file"]: row["model"] for row in index if re.fullmatch(r"\w+,\d+", row["model"])}
    models = {name: model for name, model in stated(answers, "model_identifier").items() if name in recorded}
    assert len(models) >= 18
    assert models == {name: {recorded[name]} for name in models}


def test_systems_are_those_of_the_index(
    index: list[dict[str, str]], answers: dict[str, tuple[Observed, ...]]
) -> None:
    """Versions and builds of macOS occur in the index row of their recording."""
    recorded = {row["file"]: row["macos"] for row in index}
    disagreeing = [
        (name, value, recorded[name])
        for field in ("os_version", "os_build")
        for name, values in stated(answers, field).items()
        for value in values
        if recorded[name] and value not in recorded[name]
    ]
    assert len(stated(answers, "os_version")) >= 19
    assert disagreeing == [], disagreeing


def test_no_identifier_of_a_person_or_machine_comes_out(answers: dict[str, tuple[Observed, ...]]) -> None:
    """Machine ids, host names and anything shaped like a hardware UUID or a masked serial are absent."""
    masked = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-|\b0{8,}\b|XXXX|REDACTED", re.IGNORECASE)
    leaking = [name for name, found in answers.items() if masked.search(str([to_json(one) for one in found]))]
    assert leaking == []
    assert stated(answers, "hostname") == stated(answers, "machine_id") == {}


TRAPS: dict[str, dict[str, Any]] = {
    "sysctl/m1_virtual_github_runner_macos26.txt": {
        "machine": {"cpu_tiers": [{"name": "Standard", "cores": 3}], "is_virtual": True}
    },
    "sysctl/m6_macos27_perflevels.txt": {
        "machine": {
            "cpu_tiers": [
                {"name": "Super", "cores": 2},
                {"name": "Performance", "cores": 4},
                {"name": "Efficiency", "cores": 6},
            ]
        }
    },
    "sysctl/m2max_64gb_macos15.5.txt": {
        "machine": {
            "cpu_tiers": [{"name": "Level 0", "cores": 8}, {"name": "Level 1", "cores": 4}],
            "wired_limit_bytes": "0",
        }
    },
    "sysctl/m1pro_10c_cpu_cache.txt": {
        "machine": {"cpu_tiers": [{"name": "Performance", "cores": 8}, {"name": "Efficiency", "cores": 2}]}
    },
    "system_profiler/hw_m5max_mac17_6.json": {
        "machine": {"cpu_tiers": [{"name": "Super", "cores": 6}, {"name": "Performance", "cores": 12}]}
    },
    "system_profiler/hw_m1_virtual_github_runner_macos26.json": {
        "machine": {"is_virtual": True, "memory_bytes": "7516192768"},
        "readings": {"cpu_cores": 3},
    },
    "system_profiler/displays_m1pro_14gpu_two_externals_macos12.json": {
        "machine": {"chip": "Apple M1 Pro", "gpu_cores": 14, "accelerator": "apple7"}
    },
    "system_profiler/displays_m3max_40gpu.json": {"machine": {"gpu_cores": 40, "accelerator": "Metal"}},
    "system_profiler/displays_m3pro_14gpu.json": {"machine": {"gpu_cores": 14, "accelerator": "Metal 3"}},
    "system_profiler/text_m1pro_8core_mbp18_3_macos13.3.1a.txt": {
        "machine": {"os_version": "13.3.1 (a)", "os_build": "22E772610a"}
    },
    "system_profiler/text_m4max_mac16_6_macos26.4.txt": {
        "machine": {"cpu_tiers": [{"name": "Performance", "cores": 10}, {"name": "Efficiency", "cores": 4}]}
    },
    "sw_vers/macos26.5.2_m4pro.txt": {
        "machine": {"chip": "Apple M4 Pro", "gpu_cores": 20, "accelerator": "Metal 4", "os_build": "25F84"}
    },
    "ioreg/m4_agx_perfstats_trimmed.txt": {"readings": {"gpu_memory_in_use_bytes": 356089856}},
    "ioreg/m5max_core_counts.txt": {
        "machine": {
            "gpu_cores": 40,
            "cpu_tiers": [{"name": "Super", "cores": 6}, {"name": "Performance", "cores": 12}],
        }
    },
    "mlx_device_info/m5max_64gb_wiredlimit_raised.txt": {
        "machine": {"memory_bytes": str(64 * 2**30), "recommended_working_set_bytes": "60129542144"}
    },
    "powermetrics/m4max_mac16_5_macos26.2_25C56.plist": {
        "conditions": {"thermal_pressure": "nominal"},
        "readings": {"gpu_frequency_mhz": 338.0, "cpu_power_mw": 2978.45},
    },
    "vm_stat/24gb_mac_excerpt.txt": {
        "conditions": {"available_memory_bytes": str((17490 + 468488 + 4916) * 16384)}
    },
    "lora_logs/nanogpt_m2_mps_3.42M_simonw.txt": {"readings": {"median_iteration_ms": 132.61}},
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_not_fallen_into(mac_recordings: Path, name: str) -> None:
    """The recordings that mislead a naive parser give these values."""
    (answer,) = map(to_json, parse(mac_recordings, name))
    found = {
        section: {field: answer.get(section, {}).get(field) for field in fields}
        for section, fields in TRAPS[name].items()
    }
    assert found == TRAPS[name]
