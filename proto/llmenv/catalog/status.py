"""The words of status and outcome, the rule for "ready", and the rule for a run that went well.

*Ready* is said of an environment on a machine and device: every core check is
pass or warn.  Skip, unknown, error, timeout and crash are not ready.  A run went
well when none of the checks that it planned is troubled: see `troubled_checks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2, run_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORDS: dict[result_pb2.Status.ValueType, str] = {
    result_pb2.STATUS_UNSPECIFIED: "unknown",
    result_pb2.STATUS_PASS: "pass",
    result_pb2.STATUS_WARN: "warn",
    result_pb2.STATUS_FAIL: "fail",
    result_pb2.STATUS_SKIP: "skip",
    result_pb2.STATUS_ERROR: "error",
    result_pb2.STATUS_TIMEOUT: "timeout",
    result_pb2.STATUS_CRASH: "crash",
}
STATUSES = {word: status for status, word in WORDS.items()}

OUTCOME_WORDS: dict[run_pb2.RunOutcome.ValueType, str] = {
    run_pb2.RUN_OUTCOME_UNSPECIFIED: "unknown",
    run_pb2.RUN_OUTCOME_COMPLETED: "completed",
    run_pb2.RUN_OUTCOME_CANCELLED: "cancelled",
    run_pb2.RUN_OUTCOME_INTERRUPTED: "interrupted",
}

CORE_CHECKS = ("torch_basics", "torch_training", "transformers_generate", "peft_lora")
APPLE_SILICON_CORE_CHECKS = (*CORE_CHECKS, "mlx_native")


def core_checks(*, is_apple_silicon: bool) -> tuple[str, ...]:
    """Names of the checks that readiness depends on."""
    return APPLE_SILICON_CORE_CHECKS if is_apple_silicon else CORE_CHECKS


def blocking_checks(words: Mapping[str, str], *, is_apple_silicon: bool) -> dict[str, str]:
    """Core checks that keep an environment from being ready, with their word.

    `words` maps check names to status words; a check without one is unknown.
    """
    core = {name: words.get(name, "unknown") for name in core_checks(is_apple_silicon=is_apple_silicon)}
    return {name: word for name, word in core.items() if word not in {"pass", "warn"}}


def troubled_checks(
    words: Mapping[str, str], planned: Iterable[str], *, is_apple_silicon: bool
) -> dict[str, str]:
    """Planned checks that did not end well, with their word: what the exit code of a run is about.

    A check that does not apply may be skipped; a core check may not.
    """
    core = core_checks(is_apple_silicon=is_apple_silicon)
    fine = {True: {"pass", "warn"}, False: {"pass", "warn", "skip"}}
    found = {name: words.get(name, "unknown") for name in planned}
    return {name: word for name, word in found.items() if word not in fine[name in core]}
