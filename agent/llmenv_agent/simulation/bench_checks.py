"""The benchmarks of the simulated suite; names, units, sentences and cases are those of the real checks."""

from __future__ import annotations

from llmenv_agent.simulation.quick_checks import DEVICE
from llmenv_agent.simulation.workloads import (
    LOWER,
    CaseRow,
    Constant,
    Figure,
    PlayedCheck,
    ValueOf,
    Words,
    Workload,
)

PARAMETERS: dict[str, dict[str, object]] = {
    "bench_matmul": {"dtypes": ["float32", "float16"], "sizes": [4096]},
    "bench_lora": {"texts": 2},
}
"""What the simulated suite sets beside the defaults, so that a run has about sixty measurements."""

_PASSED = "Cases passed: {passed} of {total}."


def _passed(count: int) -> Words:
    return Words(template=_PASSED, values={"passed": str(count), "total": str(count)})


def _product(dtype: str, rate: float) -> Workload:
    share = Figure(name="share_of_computed_peak", unit="1", work=1e-12, has_trials=False, share_of="compute")
    return Workload(
        name=f"{dtype}/4096",
        case=f"{dtype}/4096",
        speed=rate,
        compute=1.0,
        bandwidth=0.0,
        package="torch",
        figures=(
            Figure(name="matmul_rate", unit="FLOP/s"),
            *((share,) if dtype == "float32" else ()),
        ),
        trials=10,
        warmups=12,
    )


def _product_error(dtype: str, value: float) -> Constant:
    return Constant(
        name="output_error", unit="1", value=value, direction=LOWER, varies_by=0.2, case=f"{dtype}/4096"
    )


def _product_row(dtype: str) -> CaseRow:
    return CaseRow(
        name=f"{dtype}/4096",
        parameters={"dtype": dtype, "size": 4096},
        words=Words(template="{rate:.3f} TFLOP/s.", values={"rate": ValueOf("matmul_rate", 1e-12)}),
        seconds=3.2,
    )


BENCH_MATMUL = PlayedCheck(
    name="bench_matmul",
    words=_passed(2),
    workloads=(_product("float32", 17.3e12), _product("float16", 19.8e12)),
    constants=(_product_error("float32", 8.4e-7), _product_error("float16", 2.1e-4)),
    cases=(_product_row("float32"), _product_row("float16")),
    facts={"device": DEVICE},
    run_seconds=14.0,
    process_bytes=6.1e8,
    accelerator_bytes=2.7e8,
)


def _kernel(name: str, rate: float) -> Workload:
    return Workload(
        name=name,
        case=name,
        speed=rate,
        compute=0.0,
        bandwidth=1.0,
        package="torch",
        figures=(
            Figure(name="memory_bandwidth", unit="GB/s"),
            Figure(name="share_of_bandwidth", unit="1", has_trials=False, share_of="bandwidth"),
        ),
        trials=10,
        warmups=14,
    )


def _kernel_row(name: str) -> CaseRow:
    return CaseRow(
        name=name,
        parameters={"dtype": "float32", "megabytes": 512},
        words=Words(
            template="{kernel}: {rate:.2f} GB/s.",
            values={"kernel": name, "rate": ValueOf("memory_bandwidth")},
        ),
        seconds=2.7,
    )


BENCH_MEMORY_BANDWIDTH = PlayedCheck(
    name="bench_memory_bandwidth",
    words=_passed(2),
    workloads=(_kernel("copy", 664.0), _kernel("triad", 671.0)),
    cases=(_kernel_row("copy"), _kernel_row("triad")),
    facts={"device": DEVICE},
    run_seconds=7.9,
    process_bytes=5.2e8,
    accelerator_bytes=2.1e9,
)

_LORA, _TINYLLAMA = "llama/float32", "tinyllama/float16"


def _training(name: str, speed: float, figure: Figure, *, bandwidth: float) -> Workload:
    return Workload(
        name=name,
        case=_LORA,
        speed=speed,
        compute=0.85 - bandwidth,
        bandwidth=bandwidth,
        package="torch",
        figures=(figure,),
        trials=10,
        warmups=6,
    )


BENCH_LORA = PlayedCheck(
    name="bench_lora",
    words=_passed(1),
    workloads=(
        _training("step", 5140.0, Figure(name="tokens_per_second", unit="token/s"), bandwidth=0.1),
        _training("forward", 1 / 0.061, Figure(name="forward_seconds", unit="s"), bandwidth=0.1),
        _training("backward", 1 / 0.128, Figure(name="backward_seconds", unit="s"), bandwidth=0.1),
        _training("optimizer", 1 / 0.0043, Figure(name="optimizer_seconds", unit="s"), bandwidth=0.5),
    ),
    cases=(
        CaseRow(
            name=_LORA,
            parameters={"precision": "float32", "rank": 8, "texts": 2},
            words=Words(template="{rate:.1f} tokens/s.", values={"rate": ValueOf("tokens_per_second")}),
            seconds=11.0,
        ),
    ),
    facts={"device": DEVICE},
    import_seconds=5.1,
    run_seconds=13.0,
    process_bytes=9.4e8,
    accelerator_bytes=1.4e9,
)

_WEIGHTS_GB = 1.71  # read once a token
BENCH_GENERATION = PlayedCheck(
    name="bench_generation",
    words=_passed(1),
    workloads=(
        Workload(
            name="prefill",
            case=_TINYLLAMA,
            speed=6100.0,
            compute=0.9,
            bandwidth=0.0,
            package="transformers",
            figures=(
                Figure(name="first_token_seconds", unit="s", work=512.0),
                Figure(name="prefill_rate", unit="token/s"),
            ),
            trials=10,
            warmups=6,
        ),
        Workload(
            name="decode",
            case=_TINYLLAMA,
            speed=71.0,
            compute=0.05,
            bandwidth=0.55,
            package="transformers",
            figures=(
                Figure(name="decode_rate", unit="token/s"),
                Figure(name="decode_bandwidth", unit="GB/s", work=_WEIGHTS_GB, has_trials=False),
            ),
            trials=10,
            warmups=6,
        ),
    ),
    cases=(
        CaseRow(
            name=_TINYLLAMA,
            parameters={"dtype": "float16", "family": "tinyllama", "length": 576, "new_tokens": 64},
            words=Words(
                template="First token after {seconds:.3f} s, then {rate:.1f} tokens/s.",
                values={"seconds": ValueOf("first_token_seconds"), "rate": ValueOf("decode_rate")},
            ),
            seconds=28.0,
        ),
    ),
    facts={"device": DEVICE},
    import_seconds=2.9,
    run_seconds=30.0,
    process_bytes=1.1e9,
    accelerator_bytes=3.6e9,
)
