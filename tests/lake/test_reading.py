"""Reports and statements on a lake: at a collector that writes into it, and at one that may only read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lake.conftest import needs_lake
from tests.lake.lab import Lab
from tests.lake.records import answer
from tests.lake.test_exactly_once import collectors
from tests.lake.test_housekeeping import until

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.lake.place import Place

    from tests.lake.cluster import Cluster

pytestmark = needs_lake
MACHINES = 3
STATEMENT = "SELECT check_name, count(*) AS results FROM results GROUP BY ALL ORDER BY ALL"


def answers(lab: Lab, number: int) -> tuple[dict[str, object], str]:
    """A fleet report and a statement, as an analyst asks that collector for them."""
    folder = str(lab.folders[number].path)
    token = lab.call("llmenv-collector", "token", "create", "--data", folder, "--role", "admin")
    lab.call("llmenv", "login", given=token)
    report = lab.call("llmenv", "fleet", "report", "--since", "all", "--format", "json", codes=(0, 1))
    return json.loads(report), lab.call("llmenv", "sql", "--format", "csv", STATEMENT)


def fill(lab: Lab) -> None:
    """With a day of a few machines, at the first collector, which serves on."""
    lab.serve(0, environment={"LLMENV_CHANGES_SECONDS": "1", "LLMENV_RETENTION_SECONDS": "1"})
    lab.wait(0)
    folder = str(lab.folders[0].path)
    tokens = lab.call("llmenv-collector", "token", "create", "--data", folder, "--count", str(MACHINES))
    arguments = ("--machines", str(MACHINES), "--state-dir", str(lab.folder / "agents"), "--tokens", "-")
    lab.call("llmenv-agent", "simulate", *arguments, "--days", "1", given=tokens)


@pytest.mark.timeout(900)
def test_an_analyst_reads_a_lake_and_changes_nothing(place: Place, tmp_path: Path, cluster: Cluster) -> None:
    """With a role of PostgreSQL that may only read, the answers are those of a collector that writes."""
    database = place.parameters()["dbname"]
    cluster.sql("CREATE ROLE looker LOGIN IN ROLE pg_read_all_data", database=database)
    lab = Lab(tmp_path, place, collectors=2)
    try:
        fill(lab)
        with collectors(place, tmp_path, 1) as (store,):
            for done in ("change_history", "retention"):
                until(lambda done=done: answer(store, f"SELECT count(*) FROM store.{done}") != [(0,)])
        report, rows = answers(lab, 0)
        assert "torch_basics" in rows
        looking = {"LLMENV_LAKE_CATALOG": f"host={cluster.folder} user=looker dbname={database}"}
        lab.serve(1, "--read-only", environment=looking)
        lab.wait(1)
        assert "read-only, the lake as it is" in lab.logs()
        seen, same_rows = answers(lab, 1)
        assert same_rows == rows
        for section in ("health", "chips", "packages", "findings"):
            assert seen[section] == report[section]
        assert lab.call("llmenv", "fleet", "run", "--check", "torch_basics", codes=(2,)) == ""
        assert "ask a collector that writes into it" in lab.logs()
    finally:
        lab.end()
