"""The catalogue of chip variants."""

from __future__ import annotations

import dataclasses

import pytest
from llmenv.catalog import chips

FIELDS = {field.name for field in dataclasses.fields(chips.ChipVariant)}


@pytest.mark.parametrize(
    "variant", chips.catalogue(), ids=lambda row: f"{row.chip} {row.cpu_cores} {row.gpu_cores}"
)
def test_a_row_agrees_with_itself(variant: chips.ChipVariant) -> None:
    """Tiers add up to the CPU cores, every memory option is a size, and marks name real fields."""
    assert variant.cpu_cores == sum(cores for _, cores in variant.cpu_tiers)
    assert variant.memory_options_gb == tuple(sorted(set(variant.memory_options_gb)))
    assert variant.unverified <= FIELDS
    assert variant.source


def test_no_two_rows_describe_the_same_variant() -> None:
    """Name, GPU cores and CPU cores identify a row."""
    keys = [(row.chip, row.gpu_cores, row.cpu_cores) for row in chips.catalogue()]
    assert sorted(set(keys)) == sorted(keys)


def test_gpu_cores_tell_the_variants_of_a_name_apart() -> None:
    """The two M2 Ultras differ in GPU cores."""
    assert {60, 76} == {row.gpu_cores for row in chips.variants("Apple M2 Ultra")}
    found = chips.find("Apple M2 Ultra", 76)
    assert found is not None
    assert (found.cpu_cores, found.memory_options_gb) == (24, (64, 128, 192))


def test_an_ambiguous_question_has_no_answer() -> None:
    """A 14-core GPU came with two CPUs in the M1 Pro: only both counts name one variant."""
    assert chips.find("Apple M1 Pro", 14) is None
    found = chips.find("Apple M1 Pro", 14, cpu_cores=8)
    assert found is not None
    assert found.cpu_tiers == (("Performance", 6), ("Efficiency", 2))


@pytest.mark.parametrize("chip", ["Apple M1 (Virtual)", "Apple M99", "AMD EPYC", ""])
def test_what_is_not_in_the_catalogue_is_not_found(chip: str) -> None:
    """Virtual machines and foreign processors have no variant and no tier names."""
    assert (chips.find(chip, 10), chips.variants(chip), chips.tier_names(chip)) == (None, (), ())


def test_peak_rate_follows_from_cores_and_clock() -> None:
    """40 cores at 1,578 MHz make 16.16 TFLOPS, not the 18.4 that is quoted."""
    found = chips.find("Apple M4 Max", 40)
    assert found is not None
    assert pytest.approx(16.16, abs=0.005) == found.fp32_tflops_computed


def test_without_a_known_clock_there_is_no_peak_rate() -> None:
    """Nobody has recorded the clock of an M5's GPU."""
    found = chips.find("Apple M5", 10)
    assert found is not None
    assert found.fp32_tflops_computed is None


def test_tier_names_are_given_only_when_certain() -> None:
    """The M6 has three tiers; the split of the small M5 rests on one source, so M5 has no names."""
    assert chips.tier_names("Apple M3 Ultra") == ("Performance", "Efficiency")
    assert chips.tier_names("Apple M5 Max") == ("Super", "Performance")
    assert chips.tier_names("Apple M6") == ("Super", "Performance", "Efficiency")
    assert chips.tier_names("Apple M5") == ()
