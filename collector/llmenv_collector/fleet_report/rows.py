"""Parts that rows of several sections have in common, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    from llmenv_collector.fleet_report.cells import Series, Variant
    from llmenv_collector.statistics.estimate import Estimate


def series_message(series: Series) -> messages.Series:
    return messages.Series(**series._asdict())


def variant_message(variant: Variant) -> messages.Variant:
    return messages.Variant(chip=variant.chip, gpu_cores=variant.gpu_cores, memory_bytes=variant.memory_bytes)


def estimate_message(estimate: Estimate) -> messages.Estimate:
    return messages.Estimate(value=estimate.value, low=estimate.low, high=estimate.high)
