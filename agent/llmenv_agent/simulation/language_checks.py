"""The checks of the suite that load a language model, as the simulation plays them."""

from __future__ import annotations

from llmenv_agent.simulation.quick_checks import DEVICE, error, losses
from llmenv_agent.simulation.workloads import (
    LOWER,
    Constant,
    Figure,
    PlayedCheck,
    Requirement,
    ValueOf,
    Words,
    Workload,
)

_LOADING = "Loading weights: 100%|##########| 148/148 [00:00<00:00, 9127.41it/s]\n" * 4

TRANSFORMERS_GENERATE = PlayedCheck(
    name="transformers_generate",
    words=Words(
        template="{model} loaded from {source} in {seconds:.2f} s and generates on {device} at "
        "{rate:.1f} tokens/s.",
        values={
            "model": "openai-community/gpt2",
            "source": "cache",
            "seconds": ValueOf("load_seconds"),
            "device": DEVICE,
            "rate": ValueOf("tokens_per_second"),
        },
    ),
    workloads=(
        Workload(
            name="load",
            speed=1 / 9.31,
            compute=0.0,
            bandwidth=0.15,
            package="transformers",
            figures=(
                Figure(name="load_seconds", unit="s", has_trials=False),
                Figure(name="parameters_per_millisecond", unit="1/ms", work=124_439.808, has_trials=False),
            ),
        ),
        Workload(
            name="generation",
            speed=58.4,
            compute=0.1,
            bandwidth=0.2,
            package="transformers",
            figures=(Figure(name="tokens_per_second", unit="token/s"),),
            trials=3,
            warmups=1,
        ),
    ),
    constants=(
        Constant(name="parameters", unit="1", value=124_439_808),
        Constant(name="generated_tokens", unit="1", value=20),
        Constant(name="peak_memory", unit="byte", value=769_541_120, direction=LOWER, varies_by=0.01),
        error("logits", 3.1e-6),
    ),
    requirements=(
        Requirement(name="parameters", expected="124,439,808", observed="124,439,808"),
        Requirement(name="weights_finite", expected="0 tensors with weights not finite", observed="0"),
        Requirement(name="tokens_generated", expected="at least 1 new token", observed="20"),
        Requirement(
            name="logits_match",
            expected="relative error <= 1e-04 in float32",
            observed_of="logits_error",
            failed="4.1e-01",
            source="same weights on the CPU; bounds of a single product, twice that for the half precisions",
        ),
    ),
    facts={
        "device": DEVICE,
        "weights_source": "cache",
        "architecture": "GPT2LMHeadModel",
        "dtype": "float32",
    },
    import_seconds=2.9,
    run_seconds=12.0,
    process_bytes=1.9e9,
    accelerator_bytes=7.7e8,
    log=_LOADING,
)

PEFT_LORA = PlayedCheck(
    name="peft_lora",
    words=Words(
        template="LoRA trains on {device}: loss fell from {first:.3f} to {last:.3f} in {steps} steps, base "
        "weights unchanged, adapter saved and loaded.",
        values={
            "device": DEVICE,
            "first": ValueOf("first_loss"),
            "last": ValueOf("last_loss"),
            "steps": "20",
        },
    ),
    workloads=(
        Workload(
            name="training",
            speed=412.0,
            compute=0.5,
            bandwidth=0.1,
            package="torch",
            figures=(Figure(name="tokens_per_second", unit="token/s"),),
            trials=18,
            warmups=2,
        ),
    ),
    constants=(
        Constant(name="adapted_modules", unit="1", value=48),
        Constant(name="trainable_parameters", unit="1", value=1_179_648),
        Constant(name="total_parameters", unit="1", value=125_619_456),
        Constant(name="trainable_share", unit="%", value=0.939064725769868),
        *losses(11.312, 7.904),
        Constant(name="weight_memory", unit="byte", value=502_477_824),
        Constant(name="peak_memory", unit="byte", value=1_642_000_000, direction=LOWER, varies_by=0.01),
        Constant(name="adapter_bytes", unit="byte", value=4_737_028),
        Constant(name="reloaded_error", unit="1", value=0.0, direction=LOWER),
    ),
    requirements=(
        Requirement(
            name="trainable_parameters",
            expected="1,179,648",
            observed="1,179,648",
            source="sum of r*(in + out) over the adapted modules",
        ),
        Requirement(
            name="loss_falls",
            expected="last loss < 10.181, 0.9 of the first",
            observed_of="last_loss",
            failed="11.290 after 11.312",
        ),
        Requirement(
            name="base_unchanged",
            expected="same SHA-256 of all base parameters",
            observed="same",
            failed="another",
        ),
        Requirement(
            name="adapter_reloads",
            expected="same outputs to 1e-05",
            observed="0.0e+00",
            failed="2.3e-01",
            source="same weights on the same device",
        ),
    ),
    facts={"device": DEVICE, "weights_source": "cache"},
    import_seconds=5.0,
    run_seconds=6.0,
    process_bytes=1.6e9,
    accelerator_bytes=1.6e9,
    log=_LOADING,
)
