"""What each tool's output is understood as, on the recordings of this repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llmenv_agent.facts.recording import RecordingError, decode_recording, parse_recording, to_json

RECORDINGS = Path(__file__).resolve().parent.parent / "recordings"
GIB = 2**30


def tiers(*pairs: tuple[str, int]) -> list[dict[str, Any]]:
    """Tiers as they stand in the JSON."""
    return [{"name": name, "cores": cores} for name, cores in pairs]


UNDERSTOOD: dict[str, dict[str, Any]] = {
    "sysctl/ultra.txt": {
        "machine": {
            "chip": "Apple M2 Ultra",
            "model_identifier": "Mac14,14",
            "cpu_tiers": tiers(("Performance", 16), ("Efficiency", 8)),
            "memory_bytes": str(192 * GIB),
            "os_name": "macOS",
            "os_version": "26.2",
            "os_build": "25C56",
            "kernel_version": "25.2.0",
            "architecture": "arm64",
            "wired_limit_bytes": str(160 * GIB),
            "is_apple_silicon": True,
        }
    },
    "sysctl/unnamed_levels.txt": {
        "machine": {
            "chip": "Apple M2 Pro",
            "cpu_tiers": tiers(("Performance", 6), ("Efficiency", 4)),
            "memory_bytes": str(32 * GIB),
            "is_apple_silicon": True,
        }
    },
    "sysctl/unnamed_levels_unknown_chip.txt": {
        "machine": {
            "chip": "Apple M99",
            "cpu_tiers": tiers(("Level 0", 6), ("Level 1", 4)),
            "is_apple_silicon": True,
        }
    },
    "sysctl/three_levels.txt": {
        "machine": {
            "chip": "Apple M6",
            "cpu_tiers": tiers(("Super", 2), ("Performance", 4), ("Efficiency", 6)),
            "is_apple_silicon": True,
        }
    },
    "sysctl/virtual_machine.txt": {
        "machine": {
            "chip": "Apple M1 (Virtual)",
            "model_identifier": "VirtualMac2,1",
            "cpu_tiers": tiers(("Standard", 4)),
            "memory_bytes": str(8 * GIB),
            "is_virtual": True,
            "is_apple_silicon": True,
        }
    },
    "sysctl/memory_pressure.txt": {"conditions": {"memory_pressure": "warn"}},
    "sw_vers/rapid_response.txt": {
        "machine": {"os_name": "macOS", "os_version": "13.3.1 (a)", "os_build": "22E772610a"}
    },
    "system_profiler/four_counts.json": {
        "machine": {
            "chip": "Apple M5 Max",
            "model_identifier": "Mac17,7",
            "model_name": "MacBook Pro",
            "gpu_cores": 40,
            "cpu_tiers": tiers(("Super", 6), ("Performance", 12)),
            "memory_bytes": str(64 * GIB),
            "accelerator": "Metal 4",
            "is_apple_silicon": True,
        }
    },
    "system_profiler/three_counts_macos12.json": {
        "machine": {
            "chip": "Apple M1 Max",
            "gpu_cores": 24,
            "cpu_tiers": tiers(("Performance", 8), ("Efficiency", 2)),
            "memory_bytes": str(64 * GIB),
            "accelerator": "apple7",
            "is_apple_silicon": True,
        }
    },
    "system_profiler/virtual_machine.json": {
        "machine": {
            "chip": "Apple M1 (Virtual)",
            "model_identifier": "VirtualMac2,1",
            "model_name": "Apple Virtual Machine 1",
            "memory_bytes": str(8 * GIB),
            "accelerator": "Metal",
            "is_virtual": True,
            "is_apple_silicon": True,
        },
        "readings": {"cpu_cores": 4},
    },
    "system_profiler/text_with_display.txt": {
        "machine": {
            "chip": "Apple M4 Max",
            "model_identifier": "Mac16,9",
            "model_name": "Mac Studio",
            "gpu_cores": 32,
            "cpu_tiers": tiers(("Performance", 10), ("Efficiency", 4)),
            "memory_bytes": str(36 * GIB),
            "os_name": "macOS",
            "os_version": "26.4",
            "os_build": "25E246",
            "kernel_version": "25.4.0",
            "accelerator": "Metal 4",
            "is_apple_silicon": True,
        }
    },
    "uname/host_named.txt": {
        "machine": {
            "os_name": "macOS",
            "kernel_version": "25.2.0",
            "architecture": "arm64",
            "is_apple_silicon": True,
        },
        "readings": {"chip_part": "T6020"},
    },
    "pmset/powermode_low.txt": {"conditions": {"low_power_mode": True}},
    "pmset/battery.txt": {"conditions": {"power_source": "battery"}},
    "notifyutil/heavy.txt": {"conditions": {"thermal_pressure": "heavy"}},
    "vm_stat/rosetta_pages.txt": {
        "conditions": {"available_memory_bytes": str((100 + 30 + 7) * 4096)},
        "readings": {"page_size_bytes": 4096},
    },
    "ioreg/gpu.txt": {
        "machine": {"chip": "Apple M2 Ultra", "gpu_cores": 60, "is_apple_silicon": True},
        "readings": {
            "gpu_utilization_percent": 7,
            "gpu_memory_in_use_bytes": 2048000,
            "gpu_memory_allocated_bytes": 4096000,
        },
    },
    "ioreg/product.txt": {"machine": {"model_name": "Mac Studio"}},
    "ioreg/core_counts.txt": {
        "machine": {"gpu_cores": 16, "cpu_tiers": tiers(("Super", 5), ("Performance", 10))}
    },
    "mlx_device_info/raised_limit.txt": {
        "machine": {
            "chip": "Apple M2 Ultra",
            "memory_bytes": str(192 * GIB),
            "recommended_working_set_bytes": str(160 * GIB),
            "is_apple_silicon": True,
        },
        "readings": {"largest_buffer_bytes": 129879801856, "gpu_architecture": "applegpu_g14d"},
    },
    "applegpuinfo/gpu.txt": {
        "machine": {
            "chip": "Apple M2 Ultra",
            "gpu_cores": 60,
            "memory_bytes": str(192 * GIB),
            "accelerator": "apple8",
            "is_apple_silicon": True,
        },
        "readings": {
            "stated_gpu_clock_ghz": 1.398,
            "stated_bandwidth_gb_per_s": 819.2,
            "stated_fp32_tflops": 21.473,
        },
    },
    "collect_env/cut_short.txt": {
        "machine": {
            "chip": "Apple M2 Ultra",
            "os_name": "macOS",
            "os_version": "26.2",
            "architecture": "arm64",
            "is_apple_silicon": True,
        },
        "readings": {
            "torch_version": "2.10.0",
            "python_version": "3.11.9",
            "packages": {"numpy": "2.3.5", "torch": "2.10.0"},
        },
    },
    "powermetrics/text.txt": {
        "machine": {"model_identifier": "Mac16,9", "os_build": "25E246"},
        "readings": {
            "cpu_power_mw": 1234.0,
            "gpu_power_mw": 56.0,
            "gpu_frequency_mhz": 338.0,
            "gpu_active_percent": 8.5,
            "cluster_frequency_mhz": {"E-Cluster": 1100.0, "P0-Cluster": 3204.0},
        },
    },
    "mactop/sample.json": {
        "machine": {
            "chip": "Apple M1 Ultra",
            "gpu_cores": 64,
            "cpu_tiers": tiers(("Performance", 16), ("Efficiency", 4)),
            "memory_bytes": str(128 * GIB),
            "is_apple_silicon": True,
        },
        "conditions": {"available_memory_bytes": "63376441344", "swap_used_bytes": "4096"},
        "readings": {
            "gpu_frequency_mhz": 643.0,
            "gpu_active_percent": 53.5,
            "cpu_power_w": 2.5,
            "gpu_power_w": 5.25,
            "thermal_state": "Normal",
        },
    },
    "psutil/memory_and_swap.txt": {
        "machine": {"memory_bytes": str(16 * GIB)},
        "conditions": {"available_memory_bytes": "4086874112", "swap_used_bytes": "1048576"},
    },
    "lora_logs/adapter.txt": {
        "readings": {
            "logged_iterations": 3,
            "first_loss": 2.0,
            "last_loss": 1.25,
            "last_validation_loss": 2.5,
            "median_iterations_per_second": 2.0,
            "median_tokens_per_second": 800.0,
            "peak_memory_gb": 30.25,
        }
    },
    "lora_logs/from_scratch.txt": {
        "readings": {
            "logged_iterations": 3,
            "first_loss": 10.832,
            "last_loss": 10.7,
            "last_validation_loss": 10.8173,
            "median_iteration_ms": pytest.approx((2572.14 + 139.65) / 2),
        }
    },
    "errors/unheard_of.txt": {"readings": {"known_issue": None}},
}

SAMPLES: dict[str, list[dict[str, Any]]] = {
    "powermetrics/two_samples.plist": [
        {
            "machine": {"model_identifier": "Mac16,9", "os_build": "25E246"},
            "conditions": {"thermal_pressure": pressure},
            "readings": {
                "cpu_power_mw": 1500.5,
                "gpu_power_mw": 20.25,
                "gpu_frequency_mhz": megahertz,
                "gpu_active_percent": 75.0,
                "cluster_frequency_mhz": {"E-Cluster": 1020.0, "P0-Cluster": 3512.5},
            },
        }
        for pressure, megahertz in (("nominal", 338.0), ("heavy", 1578.0))
    ],
    "macmon/two_samples.json": [
        {
            "machine": {"memory_bytes": str(24 * GIB)},
            "conditions": {"swap_used_bytes": swap},
            "readings": {"gpu_frequency_mhz": megahertz, "gpu_power_w": watts, "ram_used_bytes": used},
        }
        for swap, megahertz, watts, used in (
            ("1024", 461.0, 0.5, 20985479168),
            ("2048", 700.0, 4.5, 20985479000),
        )
    ],
    "localscore/systems.json": [
        {
            "machine": {
                "chip": "Apple M1 Pro",
                "gpu_cores": 16,
                "cpu_tiers": tiers(("Performance", 8), ("Efficiency", 2)),
                "memory_bytes": str(32 * GIB),
                "os_name": "macOS",
                "kernel_version": "24.3.0",
                "architecture": "arm64",
                "is_apple_silicon": True,
            },
            "readings": {"recommended_working_set_gib": 21.33},
        },
        {
            "machine": {
                "chip": "Apple M4 Max",
                "cpu_tiers": tiers(("Performance", 12), ("Efficiency", 4)),
                "memory_bytes": str(128 * GIB),
                "os_name": "macOS",
                "kernel_version": "24.3.0",
                "architecture": "arm64",
                "is_apple_silicon": True,
            }
        },
    ],
}


def understood(name: str) -> list[dict[str, Any]]:
    """The JSON of one recording of this repository."""
    text = decode_recording((RECORDINGS / name).read_bytes())
    return [to_json(observed) for observed in parse_recording(name.partition("/")[0], text)]


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_recording_is_understood_exactly(name: str) -> None:
    """Every stated field comes out, and nothing else does."""
    assert understood(name) == [UNDERSTOOD[name]]


@pytest.mark.parametrize("name", SAMPLES)
def test_each_sample_is_an_answer_of_its_own(name: str) -> None:
    """Several samples, or several systems, in one file are kept apart."""
    assert understood(name) == SAMPLES[name]


def test_a_known_error_comes_with_its_remedy() -> None:
    """An error text is classified by the catalogue of known issues."""
    (answer,) = understood("errors/unavailable_operator.txt")
    assert answer["readings"]["known_issue"] == "KI072"
    assert answer["readings"]["remedy"]


def test_every_recording_is_tested_and_described() -> None:
    """No file lies here without an expectation and a row in the README."""
    files = {
        str(path.relative_to(RECORDINGS)) for path in RECORDINGS.glob("*/*") if path.parent != RECORDINGS
    }
    readme = (RECORDINGS / "README.md").read_text("utf-8")
    assert files == {*UNDERSTOOD, *SAMPLES, "errors/unavailable_operator.txt"}
    assert [name for name in sorted(files) if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", [*UNDERSTOOD, *SAMPLES])
def test_nothing_private_comes_out(name: str) -> None:
    """Serial numbers, hardware identifiers, host and display names stay in the file."""
    assert "private" not in str(understood(name)).lower()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b" \n\t\n", "it is empty"),
        (b"\x7fELF\x02\xff\xfe", "byte 5 is not UTF-8"),
        (b"a" * (16 * 2**20 + 1), "larger than 16 MiB"),
    ],
    ids=["empty", "blank", "binary", "huge"],
)
def test_what_is_no_text_is_refused(content: bytes, sentence: str) -> None:
    """A file that cannot be a recording is refused with a sentence that says why."""
    with pytest.raises(RecordingError, match=sentence):
        decode_recording(content)


def test_a_byte_order_mark_is_no_obstacle() -> None:
    """Editors put one in front of text."""
    assert decode_recording(b"\xef\xbb\xbfhw.ncpu: 8") == "hw.ncpu: 8"


def test_text_of_another_tool_is_refused() -> None:
    """Nothing understood is said, not shown as an empty machine."""
    with pytest.raises(RecordingError, match="nothing in it is understood as output of kind sysctl"):
        parse_recording("sysctl", "total 0\n-rw-r--r-- 1 nobody")


def test_an_unknown_kind_names_the_known_ones() -> None:
    """The sentence helps to choose."""
    with pytest.raises(RecordingError, match=r"no kind 'sysctrl'; choose one of .*sysctl"):
        parse_recording("sysctrl", "hw.ncpu: 8")
