"""Memory plans for people: what a model needs, part by part, whether it fits, and what may change."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llmenv.catalog.memory_advice import Fit, changes, judge, reference_plans
from llmenv.catalog.texts import texts as texts_in

from llmenv_cli.machine_memory import limit_words
from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Bullets, Column, Grid, Paragraph, Report, Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.memory import Component, Device
    from llmenv.catalog.memory_advice import Change, Limit, Verdict
    from llmenv.catalog.memory_plan import Plan
    from llmenv.catalog.texts import Texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound:
    """What plans are compared with, on the device that they are for.

    `machine` is its hostname, empty where memory was given instead.
    """

    limit: Limit
    device: Device
    machine: str = ""


def plan_report(asked: Plan, bound: Bound, *, language: str) -> Report:
    """One plan: the verdict, its parts, what may change."""
    texts = texts_in(language)
    return Report(
        texts.say("plan.title"),
        (
            Section(texts.say("plan.verdict"), tuple(_verdict_blocks(asked, bound, texts))),
            Section(texts.say("plan.what_is_planned"), (_recipe_grid(asked, texts),)),
            Section(texts.say("plan.need"), tuple(_need_blocks(asked, texts))),
            *_changes_sections(asked, bound, texts),
        ),
    )


def reference_report(bound: Bound, *, language: str) -> Report:
    """The models that people ask about first."""
    texts = texts_in(language)
    blocks = (Paragraph(bound_sentence(bound, texts)), *reference_blocks(bound.limit, bound.device, texts))
    return Report(texts.say("plan.title"), (Section(texts.say("plan.reference_title"), blocks),))


def reference_blocks(limit: Limit, device: Device, texts: Texts) -> tuple[Grid, Paragraph]:
    """A row a plan, and what the needs rest on."""
    plans = reference_plans(device)
    recipe = plans[0].recipe
    columns = (
        Column(texts.say("plan.model")),
        Column(texts.say("plan.parameters"), is_number=True, is_optional=True),
        Column(texts.say("plan.method"), wraps=True),
        Column(texts.say("plan.need"), is_number=True),
        Column(texts.say("plan.verdict"), wraps=True),
    )
    rows = tuple(_reference_row(plan, limit, texts) for plan in plans)
    basis = texts.say(
        "plan.reference_basis",
        sequence=numbers.count(recipe.sequence),
        rank=numbers.count(recipe.rank),
        device=device.value,
    )
    return Grid(columns, rows), Paragraph(basis)


def bound_sentence(bound: Bound, texts: Texts) -> str:
    """What is compared with, and how it is known."""
    limit = bound.limit
    if not bound.machine and limit.usable is not None:
        return texts.say("plan.limit_given", size=numbers.size(limit.usable))
    return texts.say(
        "plan.limit_machine" + limit_words(limit, bound.device),
        machine=bound.machine,
        size=limit_size(limit),
    )


def limit_size(limit: Limit) -> str:
    """Of what is compared with; "" where nothing is known."""
    if limit.usable is not None:
        return numbers.size(limit.usable)
    return "" if limit.memory is None else numbers.memory(int(limit.memory))


def method_words(plan: Plan, texts: Texts) -> str:
    """Such as "QLoRA, 4-bit base, gradient checkpointing"."""
    recipe = plan.recipe
    key = recipe.method.value
    if plan.architecture.stored is not None:
        key += "_stored"
    elif recipe.in_4bit:
        key += "_4bit"
    dtype = texts.say(f"plan_dtype.{recipe.dtype.value}")
    method = texts.say(f"plan_method.{key}", dtype=dtype)
    return texts.say("plan_method.checkpointing", method=method) if recipe.checkpointing else method


def formula_words(component: Component, texts: Texts) -> str:
    """The formula with its numbers."""
    values = {name: numbers.count(value) for name, value in component.values.items()}
    return texts.say(f"plan_formula.{component.formula}", **values)


def _verdict_blocks(asked: Plan, bound: Bound, texts: Texts) -> Iterator[Paragraph]:
    yield Paragraph(_verdict_sentence(asked, bound.limit, texts))
    yield Paragraph(bound_sentence(bound, texts))


def _verdict_sentence(asked: Plan, limit: Limit, texts: Texts) -> str:
    verdict = judge(asked.total, limit)
    need = numbers.size(asked.total)
    if verdict.room is not None:
        return texts.say("plan.verdict_fits", need=need, room=numbers.size(verdict.room))
    if verdict.machines is not None and limit.usable is not None:
        missing = numbers.size(asked.total - limit.usable)
        return texts.say(
            "plan.verdict_too_large", need=need, missing=missing, machines=f"{verdict.machines:,}"
        )
    key = "verdict_ruled_out" if verdict.fit is Fit.TOO_LARGE else "verdict_unknown"
    return texts.say(f"plan.{key}", need=need)


def _recipe_grid(asked: Plan, texts: Texts) -> Grid:
    """Facts in two columns."""
    architecture, recipe = asked.architecture, asked.recipe
    key = "tokens" if recipe.sequence <= architecture.positions else "tokens_of_positions"
    sequence = texts.say(
        f"plan.{key}",
        sequence=numbers.count(recipe.sequence),
        positions=numbers.count(architecture.positions),
    )
    rows = (
        ("model", architecture.name),
        ("parameters", numbers.count(architecture.parameters)),
        ("method", method_words(asked, texts)),
        ("batch", numbers.count(recipe.batch)),
        ("sequence", sequence),
        ("dtype", recipe.dtype.value),
        *((("stored", _stored_words(asked, texts)),) if architecture.stored is not None else ()),
        ("device", recipe.device.value),
    )
    return Grid((Column(""), Column("")), tuple((texts.say(f"plan.{name}"), value) for name, value in rows))


def _stored_words(asked: Plan, texts: Texts) -> str:
    stored = asked.architecture.stored
    if stored is None:
        return ""
    key = "stored_words_embeddings" if stored.has_embeddings else "stored_words"
    return texts.say(f"plan.{key}", title=stored.title, bits=numbers.count(stored.bits))


def _need_blocks(asked: Plan, texts: Texts) -> Iterator[Grid | Paragraph]:
    columns = (
        Column(texts.say("plan.what")),
        Column(texts.say("plan.largest"), is_number=True),
        Column(texts.say("plan.at_peak"), is_number=True),
        Column(texts.say("plan.formula"), wraps=True),
        Column(texts.say("plan.source"), wraps=True, is_optional=True),
    )
    yield Grid(columns, tuple(_component_row(asked, component, texts) for component in asked.components))
    moment = texts.say(f"plan_moment.{asked.peak.name}")
    key = "moment_only" if len(asked.moments) == 1 else "moment"
    yield Paragraph(texts.say(f"plan.{key}", moment=moment))
    if asked.architecture.stored is not None:
        yield Paragraph(texts.say("plan.stored_note"))


def _component_row(asked: Plan, component: Component, texts: Texts) -> tuple[str, ...]:
    alive = asked.at_peak(component.key)
    return (
        texts.say(f"plan_component.{component.key}"),
        numbers.size(component.size),
        numbers.size(alive) if alive else "-",
        formula_words(component, texts),
        texts.say(f"plan_source.{component.key}"),
    )


def _changes_sections(asked: Plan, bound: Bound, texts: Texts) -> Iterator[Section]:
    usable = bound.limit.usable
    if usable is None:
        return
    found = changes(asked, usable)
    block = (
        Bullets(tuple(_change_sentence(change, texts) for change in found))
        if found
        else Paragraph(texts.say("plan.nothing_helps"))
    )
    yield Section(texts.say("plan.changes"), (block,))


def _change_sentence(change: Change, texts: Texts) -> str:
    recipe = change.plan.recipe
    return texts.say(
        f"plan_change.{change.key}",
        value=numbers.count(change.value),
        batch=numbers.count(recipe.batch),
        sequence=numbers.count(recipe.sequence),
        need=numbers.size(change.plan.total),
    )


def _reference_row(plan: Plan, limit: Limit, texts: Texts) -> tuple[str, ...]:
    return (
        plan.architecture.name,
        numbers.count(plan.architecture.parameters),
        method_words(plan, texts),
        numbers.size(plan.total),
        _verdict_words(judge(plan.total, limit), texts),
    )


def _verdict_words(verdict: Verdict, texts: Texts) -> str:
    if verdict.room is not None:
        return texts.say("plan.fits", room=numbers.size(verdict.room))
    if verdict.machines is not None:
        return texts.say("plan.too_large_machines", machines=f"{verdict.machines:,}")
    return texts.say(f"plan.{verdict.fit.value}")
