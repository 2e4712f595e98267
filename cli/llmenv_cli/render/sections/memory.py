"""Memory: what each check needed at its peak, and what this machine's memory is enough for by formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.memory import Device

from llmenv_cli.machine_memory import limit_of, limit_words
from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Grid, Paragraph, Section
from llmenv_cli.render.plan_report import limit_size, reference_blocks
from llmenv_cli.render.run_view import ENDED_BADLY
from llmenv_cli.render.sections.wording import title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.blocks import Block
    from llmenv_cli.render.run_view import CheckView, RunView

DEVICES = frozenset(device.value for device in Device)
PROCESS_SOURCES = frozenset({"phys_footprint", "ru_maxrss"})


def memory_analysis(view: RunView, texts: Texts) -> Section:
    """A row a check that ran, and where the figures come from."""
    keys = ("process_peak", "tensors_peak", "driver_peak")
    columns = (
        Column(texts.say("column.check")),
        *(Column(texts.say(f"column.{key}"), is_number=True) for key in keys),
        Column(texts.say("column.accelerator_source")),
    )
    rows = tuple(_peaks(check, texts) for check in view.executed)
    blocks = (
        (Grid(columns, rows), *_meaning(view, texts))
        if rows
        else (Paragraph(texts.say("memory.nothing_ran")),)
    )
    return Section(texts.say("memory.title"), blocks)


def memory_advice(view: RunView, texts: Texts) -> Section:
    """What fits, by formula, on the device of the run."""
    device = Device(view.run.device) if view.run.device in DEVICES else Device.CPU
    limit = limit_of(view.run.machine, device)
    bound = texts.say("plan.run_limit" + limit_words(limit, device), size=limit_size(limit))
    blocks = (Paragraph(bound), *reference_blocks(limit, device, texts))
    return Section(texts.say("plan.reference_title"), blocks)


def _peaks(check: CheckView, texts: Texts) -> tuple[str, ...]:
    peak = check.result.peak_memory if check.result else None
    if peak is None:
        return ()
    amounts = (peak.process_bytes, peak.accelerator_allocated_bytes, peak.accelerator_driver_bytes)
    shown = (numbers.size(amount) if amount else texts.say("word.not_measured") for amount in amounts)
    without = "word.not_measured" if check.word in ENDED_BADLY else "memory.no_accelerator"
    return (title(check.name, texts), *shown, peak.accelerator_source or texts.say(without))


def _meaning(view: RunView, texts: Texts) -> Iterator[Block]:
    results = [check.result for check in view.executed if check.result is not None]
    for source in sorted({result.peak_memory.process_source for result in results} & PROCESS_SOURCES):
        yield Paragraph(texts.say(f"memory.{source}"))
    highest = max(results, key=lambda result: result.peak_memory.process_bytes)
    if not highest.peak_memory.process_bytes:
        return
    peak = numbers.size(highest.peak_memory.process_bytes)
    check = title(highest.check_name, texts)
    machine = view.run.machine
    if machine.HasField("memory_bytes") and machine.memory_bytes:
        share = 100 * highest.peak_memory.process_bytes / machine.memory_bytes
        yield Paragraph(texts.say("memory.highest_of_memory", check=check, peak=peak, share=f"{share:.1f}"))
    else:
        yield Paragraph(texts.say("memory.highest", check=check, peak=peak))
