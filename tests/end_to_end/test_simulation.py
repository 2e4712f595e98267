"""A simulated fleet through the real programs: tokens by the dozen, streams, a ledger that is whole."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from llmenv_agent.simulation.truth import read_truth

if TYPE_CHECKING:
    from .conftest import Fleet

pytestmark = pytest.mark.slow
USAGE, NOT_DELIVERED = 2, 6
RECORDS_A_RUN = 26


def test_a_simulated_fleet_is_delivered_whole_and_once(fleet: Fleet) -> None:
    """Three machines enrol with printed tokens; a second call adds nothing; truth names the issued ids."""
    tokens, truth = fleet.folder / "tokens", fleet.folder / "truth.json"
    tokens.write_text(fleet.token("--count", "3") + "\n")
    simulate = (
        *(
            "simulate",
            "--machines",
            "3",
            "--days",
            "4",
            "--no-ask",
            "--spool",
            "disk",
            "--tokens",
            str(tokens),
        ),
        *("--state-dir", str(fleet.folder / "machines"), "--truth", str(truth), "--format", "json"),
    )
    first = json.loads(fleet.call("llmenv-agent", *simulate).stdout)
    assert (first["machines"], first["ledger_is_whole"]) == (3, True)
    assert 0 < first["acknowledgement_p50_ms"] <= first["acknowledgement_max_ms"]
    again = json.loads(fleet.call("llmenv-agent", *simulate).stdout)
    assert (again["records"], again["ledger_is_whole"], again["collector_agrees"]) == (0, True, None)
    fleet.end_collector(signal.SIGTERM)
    simulated = [(each.machine_id, each.hostname) for each in read_truth(truth).machines]
    assert sorted(simulated) == fleet.stored(
        "SELECT DISTINCT run.machine_id::VARCHAR, run.hostname FROM store.run AS run ORDER BY 1"
    )
    ((runs,),) = fleet.stored("SELECT count(*) FROM store.run")
    assert isinstance(runs, int)
    assert fleet.stored(
        "SELECT count(*), count(DISTINCT record_id) FROM store.record WHERE kind LIKE 'run%' OR"
        " kind LIKE 'check%'"
    ) == [(runs * RECORDS_A_RUN, runs * RECORDS_A_RUN)]
    assert fleet.stored("SELECT count(*) FROM store.rejection") == [(0,)]


def test_an_outage_is_got_over_by_every_machine_in_every_process(fleet: Fleet) -> None:
    """Nobody connects before it ends; then all is delivered and timed, by two processes."""
    tokens = fleet.folder / "tokens"
    tokens.write_text(fleet.token("--count", "3") + "\n")
    ended = fleet.call(
        "llmenv-agent",
        *("simulate", "--machines", "3", "--days", "3", "--tokens", str(tokens), "--processes", "2"),
        *("--state-dir", str(fleet.folder / "machines"), "--outage", "0s:5s", "--a-run-a-message"),
        *("--backlog", "--format", "json"),
    )
    found = json.loads(ended.stdout)
    assert (found["machines"], found["processes"], found["ledger_is_whole"]) == (3, 2, True)
    assert found["collector_agrees"] == 3
    assert found["ledger"]["stored"] == found["ledger"]["minted"] == found["records"]
    # A stream that is lost on a busy machine takes its messages along: they are sent again, in other parts.
    assert found["lost_streams"] or found["batches"] == found["runs"]
    assert found["errors"]["cut off by --outage"] >= 3
    assert found["connect_max_s"] >= 4.0
    assert found["acknowledgement_max_ms"] >= found["round_trip_max_ms"] > 0


def test_what_a_simulation_lacks_is_said(fleet: Fleet) -> None:
    """Too few tokens, and a rate that is none, before anything is delivered."""
    folder = ("--state-dir", str(fleet.folder / "machines"))
    ended = fleet.call("llmenv-agent", "simulate", "--machines", "2", *folder, codes=(USAGE,))
    assert "llmenv-collector token create --count 2" in ended.stderr
    ended = fleet.call("llmenv-agent", "simulate", "--rate", "soon", *folder, codes=(USAGE,))
    assert "'soon' is no rate" in ended.stderr
    ended = fleet.call("llmenv-agent", "simulate", "--outage", "soon", *folder, codes=(USAGE,))
    assert "'soon' is no outage" in ended.stderr
    late = ("--duration", "5s", "--outage", "5s:1s")
    ended = fleet.call("llmenv-agent", "simulate", *late, *folder, codes=(USAGE,))
    assert "after the end by --duration 5s" in ended.stderr
    ended = fleet.call("llmenv-agent", "simulate", "--backlog", "--rate", "1x", *folder, codes=(USAGE,))
    assert "--backlog spools all before anybody connects" in ended.stderr
    ended = fleet.call(
        "llmenv-collector", "token", "create", "--count", "2", "--role", "viewer", codes=(USAGE,)
    )
    assert "--count, --uses and --machine-label are of machines that enrol" in ended.stderr
