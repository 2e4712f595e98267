"""llmenv plan: how much memory a model needs, and whether it fits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from llmenv.catalog.memory import Attention, DataType, Device, Method, Recipe

from llmenv_cli import options, settings
from llmenv_cli.errors import UsageError
from llmenv_cli.plan_request import find_machine, find_model, parse_memory

if TYPE_CHECKING:
    from llmenv.catalog.architecture import Architecture
    from llmenv.catalog.memory_plan import Plan
    from llmenv.fleet.v1.machine_pb2 import Machine

    from llmenv_cli.render.blocks import Report
    from llmenv_cli.render.plan_report import Bound

DEFAULT_SEQUENCE = 1024
COUNT = click.IntRange(1, 10**6)


def memory(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback of an option that takes an amount of memory; bytes."""
    if value is None:
        return None
    try:
        return parse_memory(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=context, param=parameter) from error


def choice(values: type[Method | DataType | Device | Attention]) -> click.Choice[str]:
    return click.Choice([value.value for value in values])


@click.command()
@click.option(
    "--memory", "usable", callback=memory, metavar="GB", help="Memory that may be used: 64, 64GB or 64GiB."
)
@click.option("--machine", metavar="NAME", help="Take the limits of this machine of the fleet instead.")
@click.option("--model", metavar="MODEL", help="A size (7B), a name (qwen2.5-7b) or a config.json.")
@click.option("--method", type=choice(Method), help="How to use the model.  [default: lora]")
@click.option("--seq", "sequence", type=COUNT, help="Tokens a sequence.  [default: 1024]")
@click.option("--batch", type=COUNT, help="Sequences a step.  [default: 1]")
@click.option("--rank", type=COUNT, help="Rank of LoRA.  [default: 16]")
@click.option(
    "--dtype", type=choice(DataType), help="Type of the weights.  [default: float16; full: float32]"
)
@click.option("--checkpointing", is_flag=True, help="Compute activations again instead of keeping them.")
@click.option("--4bit", "in_4bit", is_flag=True, help="Hold the weights in 4 bits; for inference.")
@click.option("--device", type=choice(Device), help="Where it runs.  [default: the machine's, else mps]")
@click.option(
    "--attention", type=choice(Attention), help="How attention is computed.  [default: as torch does]"
)
@options.output_format
@options.language
def plan(
    *,
    usable: float | None,
    machine: str | None,
    output_format: str,
    language: str,
    model: str | None,
    **recipe: str | int | bool | None,
) -> None:
    """Plan the memory of a model: what it needs, part by part, whether it fits, and what may change.

    Without --model the models that people ask about first are compared with the memory.  Needs are computed;
    nothing is run.  docs/planning.md has the formulas and how well they were found to hold.
    """
    if (usable is None) == (machine is None):
        raise UsageError("Say either --memory, what may be used, or --machine, whose limits to take.")
    given = {name: value for name, value in recipe.items() if value not in {None, False}}
    if model is None and (of_a_model := given.keys() - {"device"}):
        raise UsageError(f"{_flag(min(of_a_model))} says something about a model, so it needs --model.")
    architecture = find_model(model) if model is not None else None
    bound = _bound(usable, machine, given.get("device"))
    if architecture is None:
        _print_reference(bound, output_format=output_format, language=language)
        return
    from llmenv.catalog import memory_plan

    asked = memory_plan.plan(architecture, _recipe(architecture, given, bound.device))
    _print_plan(asked, bound, output_format=output_format, language=language)


def _flag(name: str) -> str:
    return {"sequence": "--seq", "in_4bit": "--4bit"}.get(name, f"--{name}")


def _recipe(architecture: Architecture, given: dict[str, str | int | bool], device: Device) -> Recipe:
    """What was given, and the defaults that depend on it; UsageError where two do not go together."""
    method = _method(architecture, Method(given.get("method", Method.LORA)))
    is_stored = architecture.stored is not None
    dtype = given.get("dtype", DataType.FLOAT32 if method is Method.FULL else DataType.FLOAT16)
    if given.get("in_4bit") and method is not Method.INFERENCE:
        raise UsageError("--4bit is for --method inference; training beside 4-bit weights is --method qlora.")
    if given.get("checkpointing") and method is Method.INFERENCE:
        raise UsageError("--checkpointing is for training; inference keeps no activations.")
    if "rank" in given and method not in {Method.LORA, Method.QLORA}:
        raise UsageError("--rank is for --method lora and --method qlora.")
    return Recipe(
        method=method,
        dtype=DataType(dtype),
        device=device,
        batch=int(given.get("batch", 1)),
        sequence=int(given.get("sequence", min(DEFAULT_SEQUENCE, architecture.positions))),
        rank=int(given.get("rank", 16)),
        checkpointing=bool(given.get("checkpointing")),
        in_4bit=bool(given.get("in_4bit")) or (is_stored and method is Method.INFERENCE),
        attention=Attention(given["attention"]) if "attention" in given else None,
    )


def _method(architecture: Architecture, asked: Method) -> Method:
    """LoRA beside weights that are stored quantized is what is called QLoRA."""
    if architecture.stored is None:
        return asked
    if asked is Method.FULL:
        raise UsageError(
            f"{architecture.name} holds quantized weights ({architecture.stored.title}), which are not"
            " trained: take --method qlora, or the model that is not quantized."
        )
    return Method.QLORA if asked is Method.LORA else asked


def _bound(usable: float | None, name: str | None, device: str | int | bool | None) -> Bound:
    """What to compare with: the memory given, or a machine's; `device` is the one asked for, if any."""
    from llmenv.catalog.memory_advice import Limit

    from llmenv_cli.machine_memory import limit_of
    from llmenv_cli.render.plan_report import Bound

    if name is None:
        return Bound(limit=Limit(usable=usable), device=Device(device or Device.MPS))
    machine = _ask(name)
    on = Device(device or _device(machine))
    return Bound(limit=limit_of(machine, on), device=on, machine=machine.hostname)


def _device(machine: Machine) -> Device:
    """Nothing is known of a machine that has never run anything; it is taken for one of a fleet of Macs."""
    if machine.is_apple_silicon or not machine.os_name:
        return Device.MPS
    return Device.CUDA if machine.accelerator else Device.CPU


def _ask(name: str) -> Machine:
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials

    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        found = client.machines()
    return find_machine([one.machine for one in found], name)


def _print_reference(bound: Bound, *, output_format: str, language: str) -> None:
    if output_format in {"json", "csv"}:
        from llmenv_cli.render.listing import write_listing
        from llmenv_cli.render.plan_listing import plans_listing

        listing = plans_listing(bound.limit, bound.device)
        write_listing(listing, output_format=output_format, stream=sys.stdout)
        return
    from llmenv_cli.render.plan_report import reference_report

    _print_report(reference_report(bound, language=language), output_format=output_format)


def _print_plan(asked: Plan, bound: Bound, *, output_format: str, language: str) -> None:
    match output_format:
        case "json":
            from llmenv_cli.render.listing import write_json
            from llmenv_cli.render.plan_listing import plan_document

            write_json(plan_document(asked, bound.limit), sys.stdout)
        case "csv":
            from llmenv_cli.render.listing import write_listing
            from llmenv_cli.render.plan_listing import components_listing

            write_listing(components_listing(asked), output_format="csv", stream=sys.stdout)
        case _:
            from llmenv_cli.render.plan_report import plan_report

            _print_report(plan_report(asked, bound, language=language), output_format=output_format)


def _print_report(report: Report, *, output_format: str) -> None:
    if output_format == "md":
        from llmenv_cli.render.markdown import markdown

        sys.stdout.write(markdown(report))
        return
    from llmenv_cli.render.terminal import write_report

    write_report(report, sys.stdout)
