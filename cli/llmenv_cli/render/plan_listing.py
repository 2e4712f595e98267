"""Memory plans for programs: sizes in bytes, the same words in every language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.memory_advice import changes, judge, reference_plans
from llmenv.catalog.texts import texts as texts_in

from llmenv_cli.render.listing import Field, Listing, Row
from llmenv_cli.render.plan_report import formula_words

if TYPE_CHECKING:
    from llmenv.catalog.memory import Device
    from llmenv.catalog.memory_advice import Limit
    from llmenv.catalog.memory_plan import Plan

    from llmenv_cli.render.listing import Value

PLAN_KEYS = (
    "model",
    "parameters",
    "method",
    "dtype",
    "in_4bit",
    "stored",
    "checkpointing",
    "batch",
    "sequence",
    "rank",
    "device",
    "needed_bytes",
    "peak",
    "usable_bytes",
    "fit",
    "room_bytes",
    "machines",
)
COMPONENT_KEYS = ("component", "bytes", "bytes_at_peak", "formula", "source")


def plans_listing(limit: Limit, device: Device) -> Listing:
    """A row a plan that people ask about first."""
    rows = [Row(values=plan_values(plan, limit)) for plan in reference_plans(device)]
    return Listing(fields=[Field(key=key, title=key) for key in PLAN_KEYS], rows=rows)


def components_listing(asked: Plan) -> Listing:
    """A row a part of one plan."""
    english = texts_in("en")
    rows = [
        Row(
            values={
                "component": component.key,
                "bytes": round(component.size),
                "bytes_at_peak": round(asked.at_peak(component.key)),
                "formula": formula_words(component, english),
                "source": english.say(f"plan_source.{component.key}"),
            }
        )
        for component in asked.components
    ]
    return Listing(fields=[Field(key=key, title=key) for key in COMPONENT_KEYS], rows=rows)


def plan_document(asked: Plan, limit: Limit) -> dict[str, object]:
    """One plan as JSON: its row, its parts, and what may change."""
    found = changes(asked, limit.usable) if limit.usable is not None else ()
    return {
        **plan_values(asked, limit),
        "components": [dict(row.values) for row in components_listing(asked).rows],
        "changes": [
            {"change": change.key, "value": change.value or None, "needed_bytes": round(change.plan.total)}
            for change in found
        ],
    }


def plan_values(plan: Plan, limit: Limit) -> dict[str, Value]:
    """Under PLAN_KEYS."""
    recipe, verdict = plan.recipe, judge(plan.total, limit)
    stored = plan.architecture.stored
    return {
        "model": plan.architecture.name,
        "parameters": plan.architecture.parameters,
        "method": recipe.method.value,
        "dtype": recipe.dtype.value,
        "in_4bit": recipe.is_quantized and stored is None,
        "stored": None if stored is None else stored.title,
        "checkpointing": recipe.checkpointing,
        "batch": recipe.batch,
        "sequence": recipe.sequence,
        "rank": recipe.rank if recipe.has_adapters else None,
        "device": recipe.device.value,
        "needed_bytes": round(plan.total),
        "peak": plan.peak.name,
        "usable_bytes": None if limit.usable is None else round(limit.usable),
        "fit": verdict.fit.value,
        "room_bytes": None if verdict.room is None else round(verdict.room),
        "machines": verdict.machines,
    }
