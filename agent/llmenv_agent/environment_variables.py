"""Which environment variables may be recorded with a result: those that can change what a check observes.

A result must be repeatable, and its environment must never give a secret away.  So only names on this list
are kept, and of those none that is named like a secret.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Prefix of a family of names: why its members are kept.
PREFIXES = {
    "PYTORCH_": "fallback to the CPU, memory limits and kernels of MPS, allocator of CUDA",
    "TORCH_": "logging, determinism, compilation, and which libraries torch loads",
    "TORCHINDUCTOR_": "how torch.compile compiles",
    "MLX_": "precision (TF32), kernels and buffer sizes of MLX",
    "MTL_": "Metal's debug layer, validation and shader cache, which change speed and abort on errors",
    "METAL_": "the same",
    "OMP_": "threads of OpenMP, hence speed and the order of sums",
    "MKL_": "threads and code paths of Intel's library",
    "KMP_": "OpenMP of Intel and LLVM: duplicates and binding",
    "OPENBLAS_": "threads of OpenBLAS",
    "VECLIB_": "threads of Accelerate",
    "NUMEXPR_": "threads of NumExpr",
    "TRANSFORMERS_": "caches, offline mode and verbosity of Transformers",
    "ACCELERATE_": "device, mixed precision and processes of Accelerate",
    "BITSANDBYTES_": "which back end bitsandbytes loads",
    "BNB_": "the same",
    "CUBLAS_": "determinism of matrix products on CUDA",
    "CUDA_": "which GPUs are seen, and whether kernels are waited for",
    "NVIDIA_TF32_": "precision of float32 on CUDA",
}
# Single names: why they are kept.
NAMES = {
    "HF_HOME": "where models are cached, hence which weights are used",
    "HF_HUB_CACHE": "the same",
    "HF_DATASETS_CACHE": "where data sets are cached",
    "HF_HUB_OFFLINE": "whether the hub is asked",
    "HF_DATASETS_OFFLINE": "the same for data sets",
    "HF_HUB_ENABLE_HF_TRANSFER": "how files are fetched",
    "HF_HUB_DISABLE_XET": "the same",
    "TOKENIZERS_PARALLELISM": "threads of tokenizers, and a warning after a fork",
    "RAYON_NUM_THREADS": "threads of tokenizers and safetensors",
    "SAFETENSORS_FAST_GPU": "how weights are loaded",
    "ATEN_CPU_CAPABILITY": "which vector instructions torch uses",
    "DNNL_MAX_CPU_ISA": "the same for oneDNN",
    "ONEDNN_DEFAULT_FPMATH_MODE": "precision of float32 in oneDNN",
    "MALLOC_ARENA_MAX": "memory of a process on Linux",
    "DYLD_LIBRARY_PATH": "which libraries are loaded",
    "DYLD_FALLBACK_LIBRARY_PATH": "the same",
    "LD_LIBRARY_PATH": "the same on Linux",
    "LD_PRELOAD": "the same",
    "LANG": "encoding and messages",
    "LC_ALL": "the same",
}
MOST_CHARACTERS = 1024
"""A longer value is left out: half of a list of paths would be another list."""

_SECRET = re.compile(r"(^|_)(API)?(TOKENS?|KEYS?|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH)(_|$)")


def can_be_set(name: str, value: str) -> bool:
    """Whether a process can be started with it: where one cannot, starting it raises ValueError."""
    try:
        os.fsencode(name + value)
    except UnicodeEncodeError:  # half a character
        return False
    return bool(name) and "=" not in name and "\0" not in name + value


def is_allowed(name: str) -> bool:
    """Whether a variable of this name may be recorded."""
    is_listed = name in NAMES or name.startswith(tuple(PREFIXES))
    return is_listed and not looks_secret(name)


def looks_secret(name: str) -> bool:
    """Whether it is named like a token, key or password."""
    return _SECRET.search(name.upper()) is not None


def allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """What may be recorded of `environment`, by name in order."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if is_allowed(name) and len(value) <= MOST_CHARACTERS
    }


def replaced(environment: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """`environment` with exactly these in place of everything that is recorded.

    What `variables` has beside names on the list is left out: it may come from somebody's file.
    """
    recorded = allowed(environment)
    kept = {name: value for name, value in environment.items() if name not in recorded}
    return {**kept, **allowed(variables)}
