"""Measurements made elsewhere in a report: rated with the chips, and in no other section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.ids import new_id
from llmenv_collector.errors import NotFoundError
from llmenv_collector.fleet_report.period import Period
from llmenv_collector.imports import measurement_file
from llmenv_collector.imports import store as import_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_collector.storage.store import Store

DAY = 86_400_000_000
NOW = 40 * DAY
WHOLE = Period(since=0, as_of=NOW)
GIB = 2**30
HEADER = "machine,chip,gpu_cores,memory_gb,benchmark,measurement,unit,value,better,measured_at"
# Memory bandwidth in GB/s by chip, as llama.cpp's discussion 4167 lists it.
BANDWIDTH = {("Apple M1", 8, 16): 68.25, ("Apple M1 Pro", 16, 32): 200, ("Apple M2 Ultra", 76, 192): 800}
FACTS = [
    f"{chip} {cores},{chip},{cores},{memory},memory_speed,stated_bandwidth,GB/s,{value},higher,1970-01-02"
    for (chip, cores, memory), value in BANDWIDTH.items()
]


@pytest.fixture
def take_in(store: Store) -> Callable[..., import_store.Standing]:
    """Imports lines of csv on day 30."""

    def take(*lines: str, source: str = "llama.cpp", name: str = "table.csv", **more: Any) -> Any:
        content = "\n".join([HEADER, *lines]).encode()
        rows = measurement_file.read_file(content, file_name=name, now=NOW)
        assert rows.refusals == ()
        given = {
            "import_id": new_id(),
            "content_hash": repr(content),
            "refused_rows": 0,
            "imported_at": 30 * DAY,
            "imported_by": "laptop",
        } | more
        made = import_store.ImportedFile(source=source, file_name=name, rows=rows.good, **given)
        return store.request(lambda connection: import_store.add(connection, made)).result()

    return take


def rated(report: Any) -> list[tuple[str, str, float, float]]:
    """Definition, chip, median, and ratio (0 for none)."""
    return [
        (row.series.definition_hash, row.variant.chip, row.median.value, round(row.ratio.value, 4))
        for row in report.chips
    ]


def test_chips_of_a_public_table_are_rated(report_of: Any, take_in: Any) -> None:
    """Also without a fleet: against the imported chip that has the most machines."""
    more = FACTS[2].replace("76,Apple", "other,Apple", 1)
    take_in(*FACTS, more)
    report = report_of(WHOLE)
    definition = "import:llama.cpp"
    assert rated(report) == [
        (definition, "Apple M2 Ultra", 800, 0),
        (definition, "Apple M1 Pro", 200, 0.25),
        (definition, "Apple M1", 68.25, 0.0853),
    ]
    assert [row.machines for row in report.chips] == [2, 1, 1]
    assert (report.method.reference.chip, report.chips[0].series.check_name) == (
        "Apple M2 Ultra",
        "memory_speed",
    )


def test_nothing_else_of_a_report_knows_of_them(report_of: Any, mac: Any, finding: Any, take_in: Any) -> None:
    """Neither coverage nor health, nor what is compared, nor the fleet's own chips."""
    mac("air", gpu_cores=76, memory_bytes=192 * GIB).run(20, finding("memory_speed", rate=7.0))
    before = report_of(WHOLE)
    take_in(*FACTS)
    after = report_of(WHOLE)
    assert [row for row in after.chips if row.series.definition_hash == "d1"] == list(before.chips)
    assert len(after.chips) == len(before.chips) + len(FACTS)
    for each in (before, after):
        each.ClearField("chips")
        each.ClearField("generated_at")
    assert after == before


def test_ratios_are_to_the_chip_of_the_fleet(report_of: Any, mac: Any, finding: Any, take_in: Any) -> None:
    """The same variant, or the same chip and cores where the source says nothing of memory."""
    mac("air", gpu_cores=76, memory_bytes=64 * GIB).run(20, finding("torch_training", rate=7.0))
    take_in(*FACTS)
    assert {ratio for *_, ratio in rated(report_of(WHOLE))} == {0}
    take_in(*[line.replace(",192,", ",,") for line in FACTS], source="other")
    ratios = {chip: ratio for definition, chip, _, ratio in rated(report_of(WHOLE)) if "other" in definition}
    assert ratios == {"Apple M2 Ultra": 0, "Apple M1 Pro": 0.25, "Apple M1": 0.0853}


def test_sources_stay_apart(report_of: Any, take_in: Any) -> None:
    """Of one benchmark too: each has its own rows."""
    take_in(FACTS[0])
    take_in(FACTS[0].replace("68.25", "70"), source="other")
    assert rated(report_of(WHOLE)) == [
        ("import:llama.cpp", "Apple M1", 68.25, 0),
        ("import:other", "Apple M1", 70, 0),
    ]


def test_a_report_counts_what_was_imported_by_its_time(report_of: Any, take_in: Any) -> None:
    """And chooses by the name of the benchmark; a condition on machines leaves all of it out."""
    take_in(*FACTS)
    assert rated(report_of(Period(since=0, as_of=29 * DAY))) == []
    assert len(rated(report_of(Period(since=39 * DAY, as_of=NOW)))) == len(FACTS)
    assert len(rated(report_of(Period(since=0, as_of=NOW, checks=frozenset({"memory_speed"}))))) == len(FACTS)
    assert rated(report_of(Period(since=0, as_of=NOW, machines=frozenset()))) == []
    with pytest.raises(NotFoundError):
        report_of(Period(since=0, as_of=NOW, checks=frozenset({"memory"})))


def test_a_file_is_imported_once(report_of: Any, take_in: Any) -> None:
    """The same content adds nothing, under any name; from another source it is another import."""
    assert not take_in(*FACTS).is_known
    assert take_in(*FACTS).is_known
    assert take_in(*FACTS, name="copy.csv").is_known
    assert len(report_of(WHOLE).chips) == len(FACTS)
    assert not take_in(*FACTS, source="other").is_known
    assert len(report_of(WHOLE).chips) == 2 * len(FACTS)


def test_a_file_takes_the_place_of_the_former_only_where_it_is_to(report_of: Any, take_in: Any) -> None:
    """In one go; a report of the time before still has the former."""
    take_in(*FACTS)
    grown = FACTS[0].replace("68.25", "70")
    assert take_in(grown).has_this_name
    assert len(report_of(WHOLE).chips) == len(FACTS)
    found = take_in(grown, is_replacement=True, imported_at=35 * DAY)
    assert found.of_this_name == len(FACTS)
    assert rated(report_of(WHOLE)) == [("import:llama.cpp", "Apple M1", 70, 0)]
    assert len(report_of(Period(since=0, as_of=34 * DAY)).chips) == len(FACTS)


def test_nothing_is_half_imported(store: Store, report_of: Any, take_in: Any) -> None:
    """What fails in the middle leaves the former file as it was."""
    take_in(*FACTS)
    with pytest.raises(Exception, match="could not commit"):
        take_in(FACTS[0], is_replacement=True, import_id="no id")
    with store.reader() as connection:
        (files,) = connection.execute("SELECT count(*), count(withdrawn_at) FROM v1.imports").fetchall()
    assert (files, len(report_of(WHOLE).chips)) == ((1, 0), len(FACTS))
    assert not take_in(FACTS[0], is_replacement=True).is_known


def test_the_statement_behind_the_rows_gives_them(store: Store, report_of: Any, take_in: Any) -> None:
    """As for every section."""
    take_in(*FACTS)
    report = report_of(WHOLE, explain=True)
    (sql,) = [one.sql for one in report.explanations if one.section == "imported chips"]
    with store.reader() as connection:
        found = connection.execute(f"SELECT chip, median, machines FROM ({sql})").fetchall()
    assert found == [(row.variant.chip, row.median.value, row.machines) for row in report.chips]
