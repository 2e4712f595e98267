"""The checks that ask whether an environment is fit to train on, as the simulation plays them.

Names, units, sentences, expectations and their sources are those of the real checks.
"""

from __future__ import annotations

from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import result_pb2

from llmenv_agent.simulation.workloads import (
    LOWER,
    CaseRow,
    Constant,
    Figure,
    PlayedCheck,
    Requirement,
    ValueOf,
    VersionOf,
    Words,
    Workload,
)

DEVICE = "mps"
_FLOAT64 = "float64 on the CPU from the same rounded operands; pytorch #193487 and unit roundoff"
_OPERATIONS = 2 * 1000**3
_NOT_INSTALLED = ("mlx-lm", "bitsandbytes", "torchao")
_PACKAGES = tuple(name for name in WATCHED if name not in _NOT_INSTALLED)


def _product(dtype: str, rate: float) -> Workload:
    figures = (
        Figure(name=f"matmul_{dtype}_seconds", unit="s", work=_OPERATIONS),
        Figure(name=f"matmul_{dtype}_rate", unit="FLOP/s", has_trials=False),
    )
    return Workload(
        name=f"matmul_{dtype}",
        speed=rate,
        compute=0.9,
        bandwidth=0.0,
        package="torch",
        figures=figures,
        trials=5,
        warmups=2,
    )


def error(name: str, value: float) -> Constant:
    return Constant(name=name + "_error", unit="1", value=value, direction=LOWER, varies_by=0.3)


def _bounded(name: str, bound: str, failed: str, source: str = _FLOAT64) -> Requirement:
    return Requirement(
        name=name,
        expected=f"relative error <= {bound}",
        observed_of=name + "_error",
        failed=failed,
        source=source,
    )


def losses(first: float, last: float) -> tuple[Constant, ...]:
    return (
        Constant(name="first_loss", unit="nat", value=first, varies_by=0.01),
        Constant(name="last_loss", unit="nat", value=last, direction=LOWER, varies_by=0.05),
    )


PACKAGES = PlayedCheck(
    name="packages",
    words=Words(
        template="{working} packages are installed and work; not installed: {missing}.",
        values={"working": str(len(_PACKAGES)), "missing": ", ".join(_NOT_INSTALLED)},
    ),
    cases=tuple(
        CaseRow(
            name=name,
            words=Words(template="version {version} works", values={"version": VersionOf(name)}),
            facts={"imports": True, "works": True},
            seconds=0.4,
        )
        for name in _PACKAGES
    ),
    import_seconds=0.0,
    run_seconds=14.0,
)

SETTINGS = PlayedCheck(
    name="settings",
    words=Words(template="Cases passed: {passed} of {total}.", values={"passed": "4", "total": "4"}),
    cases=(
        CaseRow(
            name="session",
            words=Words(
                template="Started from {source}, running as {user}.",
                values={"source": "a daemon", "user": "lab"},
            ),
            facts={"session_type": "daemon", "user": "lab", "home": "/Users/lab"},
            seconds=0.01,
        ),
        CaseRow(
            name="OMP_NUM_THREADS",
            words=Words(
                template="{variable} is not set: the library decides.", values={"variable": "OMP_NUM_THREADS"}
            ),
            seconds=0.01,
        ),
        CaseRow(
            name="wired_limit",
            words=Words(template="How much the GPU may wire is left to the system."),
            seconds=0.01,
        ),
        CaseRow(
            name="token",
            words=Words(template="There is no token for the hub, so gated models cannot be downloaded."),
            facts={"token_present": False},
            seconds=0.01,
        ),
    ),
    import_seconds=0.0,
    run_seconds=0.1,
    process_bytes=2.2e7,
)

TORCH_BASICS = PlayedCheck(
    name="torch_basics",
    words=Words(
        template="PyTorch computes right on {device}: relative errors {fp32:.1e} in FP32, {fp16:.1e} in "
        "FP16, {bf16:.1e} in BF16 and {gradient:.1e} in gradients.",
        values={
            "device": DEVICE,
            "fp32": ValueOf("matmul_float32_error"),
            "fp16": ValueOf("matmul_float16_error"),
            "bf16": ValueOf("matmul_bfloat16_error"),
            "gradient": ValueOf("gradient_square_error"),
        },
    ),
    workloads=(_product("float32", 12.4e12), _product("float16", 13.6e12), _product("bfloat16", 10.9e12)),
    constants=(
        error("matmul_float32", 1.4e-6),
        error("matmul_float16", 2.6e-4),
        error("matmul_bfloat16", 2.1e-3),
        error("gradient_square", 1.9e-6),
        error("gradient_sum", 9.4e-7),
    ),
    requirements=(
        _bounded("matmul_float32", "5e-05", "8.77e-01"),
        _bounded("matmul_float16", "5e-03", "6.31e-01"),
        _bounded("matmul_bfloat16", "2e-02", "6.30e-01"),
        Requirement(
            name="ones_matmul",
            expected="every element 1000",
            observed="1000",
            failed="0 to 1000",
            source="sums of ones are exact below 2^24",
        ),
        _bounded("gradient_square", "1e-04", "1.00e+00"),
        _bounded("gradient_sum", "1e-04", "1.00e+00"),
    ),
    facts={"mps_built": True, "mps_available": True, "cuda_available": False, "device": DEVICE},
    run_seconds=1.1,
    process_bytes=4.31e8,
    accelerator_bytes=2.4e7,
)

TORCH_TRAINING = PlayedCheck(
    name="torch_training",
    words=Words(
        template="TinyNet learned on {device}: loss on unseen examples fell from {first:.3f} to {last:.3f}, "
        "where the best constant prediction has {constant:.3f}.",
        values={
            "device": DEVICE,
            "first": ValueOf("first_loss"),
            "last": ValueOf("last_loss"),
            "constant": ValueOf("constant_prediction_loss"),
        },
    ),
    workloads=(
        Workload(
            name="training",
            speed=76.9,
            compute=0.25,
            bandwidth=0.0,
            package="torch",
            figures=(Figure(name="steps_per_second", unit="step/s"),),
            trials=9,
            warmups=1,
        ),
    ),
    constants=(
        Constant(name="parameters", unit="1", value=74_826),
        *losses(2.317, 0.246),
        Constant(name="mean_loss", unit="nat", value=0.911, direction=LOWER, varies_by=0.02),
        Constant(name="constant_prediction_loss", unit="nat", value=2.302),
        Constant(name="uniform_guess_loss", unit="nat", value=2.302585092994046),
        error("loss", 1.1e-7),
    ),
    requirements=(
        Requirement(name="parameters", expected="74,826", observed="74,826"),
        Requirement(name="losses_finite", expected="0 losses not finite", observed="0 not finite"),
        Requirement(
            name="loss_falls",
            expected="last loss < 1.159, half of the first",
            observed_of="last_loss",
            failed="2.304 after 2.317",
            source="random labels stay at ln(10); a device that computes right reaches a tenth of the first",
        ),
        Requirement(
            name="losses_right",
            expected="relative error <= 1e-04",
            observed_of="loss_error",
            failed="3.2e-01",
            source="float64 loss of the same weights on the CPU",
        ),
        Requirement(name="all_parameters_learn", expected="8 tensors changed", observed="8"),
    ),
    facts={"device": DEVICE},
    run_seconds=1.6,
    process_bytes=4.2e8,
    accelerator_bytes=7.3e7,
)

MLX_NATIVE = PlayedCheck(
    name="mlx_native",
    words=Words(
        template="MLX computes right on {device} and TinyNet learned there: loss on unseen examples fell "
        "from {first:.3f} to {last:.3f}.",
        values={"device": "Device(gpu, 0)", "first": ValueOf("first_loss"), "last": ValueOf("last_loss")},
    ),
    workloads=(
        Workload(
            name="training",
            speed=1310.0,
            compute=0.2,
            bandwidth=0.0,
            package="mlx",
            figures=(Figure(name="steps_per_second", unit="step/s"),),
            trials=9,
            warmups=1,
        ),
    ),
    constants=(
        error("matmul", 4.1e-7),
        *losses(2.309, 0.251),
        Constant(name="mlx_peak_memory", unit="byte", value=6_400_000, direction=LOWER),
    ),
    requirements=(
        Requirement(name="default_device", expected="the GPU", observed="Device(gpu, 0)"),
        Requirement(
            name="matmul",
            expected="relative error <= 1e-04",
            observed_of="matmul_error",
            failed="9.8e-01",
            source="double-precision sums of the same operands",
        ),
        Requirement(
            name="loss_falls",
            expected="last loss < 1.155, half of the first",
            observed_of="last_loss",
            failed="2.310 after 2.309",
        ),
    ),
    facts={"default_device": "Device(gpu, 0)", "has_default_device": True},
    import_seconds=0.4,
    run_seconds=1.2,
    process_bytes=2.1e8,
)

TORCH_QUANTIZATION = PlayedCheck(
    name="torch_quantization",
    status=result_pb2.STATUS_WARN,
    remedy_id="KI072",
    words=Words(
        template="Quantization works on the CPU alone: {device} has no {operator}, and "
        "PYTORCH_ENABLE_MPS_FALLBACK=1 did not help.",
        values={"device": DEVICE, "operator": "aten::quantize_per_tensor"},
    ),
    constants=(
        Constant(name="tinynet_converted_modules", unit="1", value=4),
        Constant(name="tinynet_modules_with_weights", unit="1", value=4),
        Constant(name="tinynet_quantization_error", unit="1", value=0.0061, direction=LOWER, varies_by=0.1),
        Constant(name="gpt2_converted_modules", unit="1", value=1),
        Constant(name="gpt2_modules_with_weights", unit="1", value=49),
    ),
    requirements=(Requirement(name="tinynet_converted", expected="4 of 4 linear layers", observed="4 of 4"),),
    facts={"engine": "qnnpack", "operator_on_device": "missing", "fallback_helps": False},
    run_seconds=6.9,
    process_bytes=4.98e8,
)
