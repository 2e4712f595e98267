"""Conclusions, what is ready for use and what to do next, each drawn from verdicts of this run."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Bullets, Section
from llmenv_cli.render.run_view import STATUS_WORDS
from llmenv_cli.render.sections.measured import DOUBTFUL
from llmenv_cli.render.sections.summary import readiness
from llmenv_cli.render.sections.unexplained import missing_package, unexplained
from llmenv_cli.render.sections.wording import closed, reason, remedy, title, titles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.machine_pb2 import Conditions
    from llmenv.fleet.v1.result_pb2 import Measurement

    from llmenv_cli.render.run_view import CheckView, RunView

# What people want to use, and the check that shows it works.
CAPABILITIES = (
    ("tensors", "torch_basics"),
    ("training", "torch_training"),
    ("language_model", "transformers_generate"),
    ("lora", "peft_lora"),
    ("mlx", "mlx_native"),
    ("quantization", "torch_quantization"),
    ("correct_operations", "ops"),
    ("mixed_precision", "mixed_precision"),
    ("checkpointing", "gradient_checkpointing"),
    ("accumulation", "gradient_accumulation"),
    ("resume", "checkpoint_resume"),
    ("qlora", "qlora_torch"),
    ("mlx_qlora", "qlora_mlx"),
    ("processes", "accelerate_launch"),
)
# Widely claimed beside them, and measured by no check.
UNMEASURED = (("large_models", ""),)


def conclusions(view: RunView, texts: Texts) -> Section:
    """The verdict, the checks by status, and whether its timings may be compared."""
    items = (readiness(view, texts), *_by_status(view, texts), *_comparability(view, texts))
    return Section(texts.say("conclusions.title"), (Bullets(tuple(items), ordered=True),))


def ready_for_use(view: RunView, texts: Texts) -> Section:
    """A ticked box stands for a check that passed, or works with the limitation it names."""
    known = {check.name: check for check in view.checks}
    items, ticks = [], []
    for capability, name in (*CAPABILITIES, *UNMEASURED):
        check = known.get(name)
        if check is None:
            said = texts.say(f"capability.{capability}", device=view.run.device)
            items.append(texts.say("ready.unmeasured", capability=said))
        else:
            items.append(_capability(capability, check, view.run.device, texts))
        ticks.append(check is not None and check.works)
    return Section(texts.say("ready.title"), (Bullets(tuple(items), ticks=tuple(ticks)),))


def next_steps(view: RunView, texts: Texts) -> Section:
    """What blocks first, then other remedies, then what never ran."""
    steps = tuple(
        dict.fromkeys(
            (*_repairs(view, texts), *_installs(view, texts), *_unknowns(view, texts), *_always(view, texts))
        )
    )
    return Section(texts.say("steps.title"), (Bullets(steps, ordered=True),))


def _by_status(view: RunView, texts: Texts) -> Iterator[str]:
    for word in STATUS_WORDS:
        names = [check.name for check in view.checks if check.word == word]
        if names:
            yield texts.say(f"conclusions.{word}", count=len(names), checks=titles(names, texts))


def _comparability(view: RunView, texts: Texts) -> Iterator[str]:
    """Circumstances under which timings say little, each as it was read."""
    seen: set[str] = set()
    for check in view.executed:
        if check.result is not None:
            seen |= _disturbances(check.result.conditions_before) | _disturbances(
                check.result.conditions_after
            )
    for disturbance in sorted(seen):
        yield texts.say(f"conditions.{disturbance}")
    yield from _withheld(view, texts)
    yield from _doubtful_series(view, texts)


def _withheld(view: RunView, texts: Texts) -> Iterator[str]:
    """Checks that were disturbed and therefore measured nothing."""
    names = [
        check.name
        for check in view.executed
        if check.result is not None and check.result.HasField("measurements_withheld")
    ]
    if names:
        yield texts.say("conditions.withheld", count=len(names), checks=titles(names, texts))


def _doubtful_series(view: RunView, texts: Texts) -> Iterator[str]:
    """Series whose median says little, each kind once with its names."""
    named: dict[str, list[str]] = {}
    for check in view.executed:
        for case_name, measured in _all_measured(check):
            if doubt := DOUBTFUL.get(measured.stability):
                parts = (title(check.name, texts), case_name, texts.name_of("name", measured.name))
                named.setdefault(doubt, []).append(": ".join(filter(None, parts)))
    for doubt, names in named.items():
        listed = texts.say("word.list_separator").join(names)
        yield texts.say(f"conditions.{doubt}", count=len(names), series=listed)


def _all_measured(check: CheckView) -> Iterator[tuple[str, Measurement]]:
    if check.result is not None:
        yield from (("", measured) for measured in check.result.measurements)
        for case in check.result.cases:
            yield from ((case.name, measured) for measured in case.measurements)


def _disturbances(conditions: Conditions) -> set[str]:
    found = {
        "battery": conditions.power_source == "battery",
        "low_power": conditions.low_power_mode,
        "thermal": conditions.thermal_pressure not in {"", "nominal"},
        "memory_pressure": conditions.memory_pressure not in {"", "normal"},
        "gpu_shared": conditions.other_gpu_processes > 0,
    }
    return {name for name, is_so in found.items() if is_so}


def _capability(capability: str, check: CheckView, device: str, texts: Texts) -> str:
    said = texts.say(f"capability.{capability}", device=device)
    status = texts.say(f"status.{check.word}")
    if check.word == "pass":
        how = "ready.random" if _had_random_weights(check) else "ready.passed"
        return texts.say(how, capability=said, check=title(check.name, texts))
    return texts.say(
        "ready.otherwise",
        capability=said,
        check=title(check.name, texts),
        status=status,
        reason=reason(check, texts),
    )


def _repairs(view: RunView, texts: Texts) -> Iterator[str]:
    for check in sorted(view.executed, key=lambda check: check.name not in view.blocking):
        if check.word in {"pass", "skip"}:
            continue
        if helps := remedy(check, texts):
            yield texts.say("steps.remedy", check=title(check.name, texts), remedy=helps)
        elif unknown := unexplained(check):
            yield texts.say(
                "steps.report",
                check=title(check.name, texts),
                reason=closed(reason(check, texts), texts),
                command=unknown[0].command,
            )


def _installs(view: RunView, texts: Texts) -> Iterator[str]:
    """Each missing package once, with the checks that wait for it."""
    waiting: dict[str, list[str]] = {}
    for check in view.executed:
        if (package := _missing_package(check)) and not remedy(check, texts):
            waiting.setdefault(package, []).append(title(check.name, texts))
    for package, names in waiting.items():
        command = f"{view.run.environment.python_path or 'python'} -m pip install {package}"
        checks = texts.say("word.list_separator").join(names)
        yield texts.say("steps.install", check=checks, command=command)


def _missing_package(check: CheckView) -> str:
    return missing_package(check.result) if check.result and check.word not in {"pass", "skip"} else ""


def _unknowns(view: RunView, texts: Texts) -> Iterator[str]:
    if any(check.word == "unknown" for check in view.checks):
        # The whole suite, since readiness is said of one run.
        yield texts.say("steps.unknown", command=_command(view))
    if view.silent_issues:
        ids = texts.say("word.list_separator").join(issue.id for issue in view.silent_issues)
        yield texts.say("steps.silent", issues=ids)


def _always(view: RunView, texts: Texts) -> Iterator[str]:
    random = [check.name for check in view.executed if _had_random_weights(check)]
    if random:
        settings = " ".join(f"--set {name}.model=FOLDER" for name in random)
        yield texts.say("steps.real_weights", command=f"{_command(view)} {settings}")
    yield texts.say("steps.again", command=_command(view))


def _command(view: RunView) -> str:
    """What checks the same environment on the same device again."""
    python = view.run.environment.python_path
    default = "mps" if view.run.machine.is_apple_silicon else "cpu"
    words = ["llmenv", "check", *(["--target", shlex.quote(python)] if python else [])]
    return " ".join(words + (["--device", view.run.device] if view.run.device != default else []))


def _had_random_weights(check: CheckView) -> bool:
    facts = {fact.name: fact.text for fact in check.result.facts} if check.result else {}
    return facts.get("weights_source") == "random"
