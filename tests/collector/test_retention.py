"""What is old enough is removed while the collector serves, and what was concluded from it stays."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import time
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from llmenv.fleet.v1 import record_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_agent.simulation.fleet import Fleet
from llmenv_collector import clock, settings
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet import whole_run
from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.analysis import Analysis
from llmenv_collector.fleet_report.period import Period
from llmenv_collector.fleet_report.question import Question
from llmenv_collector.retention import state
from llmenv_collector.retention.policies import policies_of
from llmenv_collector.retention.removals import SPREAD, Span
from llmenv_collector.retention.upkeep import Retention
from llmenv_collector.settings import Settings
from llmenv_collector.storage.store import Store

from .conftest import PATIENCE_SECONDS, RunningCollector, run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAY = 86_400 * clock.MICROSECONDS
OLD, YOUNG = 100, 10
"""Days since the two halves of the fleet's history were received."""
SUMMARY = """
SELECT machine_id, result_id, case_name, name, unit, value, better, stability, trial_count, variation,
       median_low, median_high
FROM v1.measurements ORDER BY ALL
"""
WHOLE_HISTORY = Period(since=0, as_of=2**52)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "llmenv.duckdb")
    yield opened
    opened.close()


def arrivals_of(fleet: Fleet, received_at: Callable[[float], int]) -> list[list[Arrival]]:
    """By machine; `received_at` is asked with the share of a machine's history that comes before."""
    deliveries = []
    for machine in fleet.machines:
        records = [record.SerializeToString() for record in fleet.records(machine)]
        spool_id = new_id()
        arrivals = [
            Arrival(spool_id, machine.id, 1, number, record, received_at(number / len(records)))
            for number, record in enumerate(records, 1)
        ]
        deliveries.append(arrivals)
    return deliveries


def filled(store: Store) -> list[list[Arrival]]:
    """The first half was received long ago, the second lately."""
    now = clock.now()
    fleet = Fleet(seed=3, machines=2, days=6, runs_per_day=1)
    deliveries = arrivals_of(fleet, lambda share: now - (OLD if share <= 0.5 else YOUNG) * DAY)
    for arrivals in deliveries:
        store.deliver(arrivals).result()
    return deliveries


def applied(store: Store, **kept: str) -> dict[str, int]:
    return asyncio.run(Retention(store, policies_of(Settings(**kept))).round())


def asked(store: Store, statement: str) -> list[Any]:
    with store.reader() as connection:
        return connection.execute(statement).fetchall()


def test_raw_trials_go_and_what_is_known_of_them_stays(store: Store) -> None:
    """Medians, counts, variation and intervals are the same before and after; only old trials are gone."""
    filled(store)
    before, trials = asked(store, SUMMARY), asked(store, "SELECT sum(len(trials)) FROM v1.measurements")
    removed = applied(store)["trials"]
    assert asked(store, SUMMARY) == before
    gone = asked(store, "SELECT count(*) FROM v1.measurements WHERE trials_removed")[0][0]
    assert removed == gone > 0
    assert asked(store, "SELECT DISTINCT trials, warmups FROM v1.measurements WHERE trials_removed") == [
        (None, None)
    ]
    left = asked(store, "SELECT sum(len(trials)) FROM v1.measurements")
    assert 0 < left[0][0] < trials[0][0]
    assert applied(store)["trials"] == 0


def test_what_was_received_lately_keeps_its_trials(store: Store) -> None:
    """By the collector's clock, whatever the machines' clocks say."""
    filled(store)
    applied(store)
    ages = f"""
        SELECT DISTINCT received_at < now() - INTERVAL {(OLD + YOUNG) // 2} DAY, trials_removed
        FROM v1.measurements JOIN v1.results USING (machine_id, result_id) JOIN v1.records USING (record_id)
        WHERE trial_count > 0 ORDER BY ALL
    """
    assert asked(store, ages) == [(False, False), (True, True)]


def test_reports_do_not_change(store: Store) -> None:
    """They conclude from medians and verdicts, which stay."""
    filled(store)
    before = reported(store)
    assert applied(store, keep_logs="1d")["trials"] > 0
    assert reported(store) == before


def reported(store: Store) -> Any:
    analysis = Analysis()
    with store.reader() as connection:
        answer = report.fleet_report(connection, WHOLE_HISTORY, Question(), analysis)
    analysis.close()
    answer.ClearField("generated_at")
    return answer


def test_a_run_says_what_is_gone(store: Store) -> None:
    """Its measurements are in their order, and what was removed is among what was left out."""
    filled(store)
    ((run_id,),) = asked(
        store,
        "SELECT run_id::VARCHAR FROM v1.runs JOIN v1.records USING (machine_id)"
        " ORDER BY received_at, started_at LIMIT 1",
    )
    before = run_of(store, run_id)
    applied(store, keep_logs="1d")
    after = run_of(store, run_id)
    cut = [part for result in after.results for part in result.cut]
    assert any(part.endswith(" measurements, by retention") for part in cut)
    assert whole_run.REMOVED_LOG in cut
    for result in (*before.results, *after.results):
        forget_what_goes(result)
    assert after == before


def run_of(store: Store, run_id: str) -> run_pb2.Run:
    with store.reader() as connection:
        return whole_run.get_run(connection, run_id=run_id)


def forget_what_goes(result: Any) -> None:
    result.log_tail = ""
    del result.cut[:]
    for measured in (*result.measurements, *(one for case in result.cases for one in case.measurements)):
        del measured.trials[:], measured.warmups[:]


def test_the_interval_of_a_median_is_never_too_narrow() -> None:
    """By the binomial distribution: of n trials few enough lie below the rank, for each n up to 1,200."""
    ranks = duckdb.sql(
        f"SELECT n, ({SPREAD}).low::INTEGER, ({SPREAD}).high::INTEGER FROM (SELECT n, 1.0 AS value,"
        " []::DOUBLE[] AS warmups, range(1, n + 1)::DOUBLE[] AS trials FROM range(1, 1201) AS _(n))"
        " ORDER BY n"
    ).fetchall()
    assert [n for n, low, _ in ranks if low is None] == [1, 2, 3, 4, 5]
    for n, low, high in ranks[5:]:
        assert high == n + 1 - low
        outside = 2 * sum(math.comb(n, below) for below in range(low))
        assert 20 * outside <= 2**n, n


def test_for_ever_is_for_ever(store: Store) -> None:
    """And the view says so."""
    filled(store)
    kept = dict.fromkeys(settings.RETENTIONS, settings.FOREVER)
    assert applied(store, **kept) == {"trials": 0, "logs": 0, "refused": 0, "notices": 0}
    assert asked(store, "SELECT what, keeps_days, removed FROM v1.retention ORDER BY what") == [
        ("logs", None, 0),
        ("notices", None, 0),
        ("refused", None, 0),
        ("trials", None, 0),
    ]


def test_logs_go_by_their_own_age(store: Store) -> None:
    """NULL, where an empty one means that nothing was said."""
    filled(store)
    said = asked(store, "SELECT count(*) FROM v1.results WHERE log_tail <> ''")[0][0]
    removed = applied(store, keep_logs=f"{(OLD + YOUNG) // 2}d")["logs"]
    left = asked(store, "SELECT count(*) FROM v1.results WHERE log_tail <> ''")[0][0]
    assert (removed, left) == (said - left, left)
    assert asked(store, "SELECT count(*) FROM v1.results WHERE log_tail IS NULL") == [(removed,)]
    assert 0 < removed < said


def test_bytes_of_a_refused_record_go_when_its_agent_has_confirmed(store: Store) -> None:
    """The row and the reason stay; what is not confirmed may be asked about."""
    spool_id, machine_id = new_id(), new_id()
    bad = record_pb2.Record(record_id="no UUID", machine_id=machine_id).SerializeToString()
    received_at = clock.now() - 400 * DAY
    arrivals = [Arrival(spool_id, machine_id, 1, number, bad, received_at) for number in (1, 2)]
    assert len(store.deliver(arrivals).result().rejections) == 2
    store.confirm_rejection(spool_id, 1).result()
    assert applied(store)["refused"] == 1
    rows = asked(
        store, "SELECT octet_length(record) = 0, reason <> '' FROM store.rejection ORDER BY sequence"
    )
    assert rows == [(True, True), (False, True)]


CHANGE = """
INSERT INTO store.state_change BY NAME
SELECT uuid() AS change_id, $kind AS kind, $machine::UUID AS machine_id, '' AS environment_name, '' AS device,
       $check AS check_name, '' AS series, now() - to_days($began) AS began_at, 0 AS sequence, '' AS status,
       '' AS former_status, '' AS cause, '' AS remedy_id, ''::BLOB AS reason, '{}' AS detail_json,
       now() - to_days($noticed) AS noticed_at, $fate AS fate, $notice::UUID AS notice_id, 1 AS times_changed
"""
NOTICE = """
INSERT INTO store.notice BY NAME
SELECT $notice::UUID AS notice_id, 'check_failing' AS kind, '' AS group_key,
       now() - to_days($made) AS made_at, 1 AS changes, '' AS subject
"""
DELIVERY = """
INSERT INTO store.notice_delivery BY NAME
SELECT $notice::UUID AS notice_id, 'lab' AS webhook, $state AS state, 1 AS attempts, now() AS next_attempt_at,
       '' AS outcome
"""
FAILING, RECOVERED = "check_failing", "check_recovered"


class Told:
    """Changes and notices of so many days ago, straight into the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.machine = new_id()

    def change(self, kind: str, began: int, *, noticed: int | None = None, **other: Any) -> None:
        known = {"machine": self.machine, "check": "ops", "fate": "told", "notice": None} | other
        noticed = began if noticed is None else noticed
        self._write(CHANGE, {"kind": kind, "began": began, "noticed": noticed, **known})

    def notice(self, made: int, *, state: str = "delivered") -> str:
        notice_id = new_id()
        self._write(NOTICE, {"notice": notice_id, "made": made})
        self._write(DELIVERY, {"notice": notice_id, "state": state})
        return notice_id

    def _write(self, statement: str, values: dict[str, Any]) -> None:
        self._store.request(lambda connection: connection.execute(statement, values)).result()

    def left(self) -> list[tuple[str, str, int]]:
        """Kind, check and age in days."""
        return asked(
            self._store,
            "SELECT kind, check_name, datediff('day', began_at, now()) FROM store.state_change ORDER BY ALL",
        )


def test_notices_go_and_the_newest_change_of_each_stays(store: Store) -> None:
    """Nothing is told again for it, of a check or of a machine, and the next round finds nothing."""
    told = Told(store)
    for began, kind in ((500, FAILING), (490, RECOVERED), (480, FAILING)):
        told.change(kind, began)
    told.change(FAILING, 470, check="peft_lora")
    told.change("machine_silent", 450, check="")
    told.change("machine_returned", 440, check="")
    told.change(RECOVERED, 300, check="torch_basics")
    told.change(FAILING, 310, check="torch_basics")
    assert applied(store)["notices"] == 3
    assert told.left() == [
        (FAILING, "ops", 480),
        (FAILING, "peft_lora", 470),
        (FAILING, "torch_basics", 310),
        (RECOVERED, "torch_basics", 300),
        ("machine_returned", "", 440),
    ]
    assert applied(store)["notices"] == 0
    told.change(RECOVERED, 1)
    assert applied(store)["notices"] == 1


def test_a_notice_goes_after_its_changes(store: Store) -> None:
    """With its deliveries; what waits for a receiver, and what nobody was told yet, stays."""
    told = Told(store)
    gone, held, waiting = told.notice(500), told.notice(500), told.notice(500, state="waiting")
    told.change(FAILING, 500, notice=gone)
    told.change(RECOVERED, 490, notice=held)
    told.change(FAILING, 480, fate="waiting", check="peft_lora")
    told.change(RECOVERED, 470, fate="waiting", check="peft_lora")
    assert applied(store)["notices"] == 2
    for table in ("notice", "notice_delivery"):
        left = asked(store, f"SELECT notice_id::VARCHAR FROM store.{table} ORDER BY ALL")
        assert left == sorted([(held,), (waiting,)])
    assert len(told.left()) == 3


def test_a_regression_that_would_be_found_again_stays(store: Store) -> None:
    """However short notices are kept: it is looked for in the last thirty days."""
    told = Told(store)
    told.change("regression", 70, noticed=10)
    told.change("regression", 20, noticed=10)
    told.change("regression", 15, noticed=10)
    assert applied(store, keep_notices="1d")["notices"] == 1
    assert [age for _, _, age in told.left()] == [15, 20]


def test_what_was_delivered_is_still_known(store: Store) -> None:
    """Delivered again it is a duplicate, and the ledger counts what it counted."""
    deliveries = filled(store)
    ledger = "SELECT spool_id, sequence, stored FROM store.watermark ORDER BY ALL"
    rows = "SELECT (SELECT count(*) FROM v1.measurements), (SELECT count(*) FROM v1.records)"
    before = asked(store, ledger), asked(store, rows)
    applied(store)
    for arrivals in deliveries:
        store.deliver(arrivals).result()
    assert (asked(store, ledger), asked(store, rows)) == before


def test_a_round_is_done_in_small_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is about more than a bounded part of what was received, in order and without a gap."""
    now = clock.now()
    fleet = Fleet(seed=3, machines=1, days=2, runs_per_day=1)
    (deliveries,) = arrivals_of(fleet, lambda share: now - OLD * DAY + int(share * 1_000_000))
    store.deliver(deliveries).result()
    monkeypatch.setattr(state, "A_SPAN", 10)
    whole = Span(0, now)
    with store.reader() as connection:
        parts = state.spans(connection, "record", whole)
    assert len(parts) >= len(deliveries) // 10
    assert (parts[0].since, parts[-1].until) == (whole.since, whole.until)
    assert all(one.until == following.since for one, following in itertools.pairwise(parts))
    before = asked(store, SUMMARY)
    assert applied(store)["trials"] > 0
    assert asked(store, SUMMARY) == before


@pytest.mark.parametrize("value", ["90", "0d", "never", "-1d", "100000d"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    """Naming the file and the line."""
    file = tmp_path / "collector.toml"
    file.write_text(f'# settings\nkeep_trials = "{value}"\n')
    with pytest.raises(UsageError, match=r"collector\.toml, line 2: keep_trials must be a number of days"):
        settings.load(file, flags={})


def test_a_serving_collector_applies_its_policies_and_says_so(tmp_path: Path) -> None:
    """In rounds, the first soon after the start; the command tells of it beside it and afterwards."""
    collector = RunningCollector(tmp_path / "data", "--keep-trials", "30d", "--retention-seconds", "0.1")
    asked = ("retention", "--data", str(collector.folder), "--keep-trials", "30d", "--keep-logs", "forever")
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while not (lines := applied_lines(asked)) and time.monotonic() < until:
            pass
    finally:
        collector.stop()
    assert [line.split()[0] for line in lines] == ["trials", "logs", "refused", "notices"]
    assert ["for ever" in line for line in lines] == [False, True, False, False]
    assert applied_lines(asked)


def applied_lines(command: tuple[str, ...]) -> list[str]:
    """What it says of each policy, once the first was applied."""
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    heading, *lines = done.stdout.splitlines()
    assert heading.startswith("WHAT")
    return lines if re.search(r"^trials +30 days +2\d{3}-", lines[0]) else []


def test_the_command_counts_what_is_older(tmp_path: Path) -> None:
    """As many measurements as a round removes."""
    folder = tmp_path / "data"
    run_command("init", "--data", str(folder))
    store = Store(folder / "llmenv.duckdb")
    filled(store)
    ((older,),) = asked(
        store,
        "SELECT count(*) FROM store.measurement JOIN store.record USING (machine_id, record_id)"
        f" WHERE trials <> [] AND received_at < now() - INTERVAL {(OLD + YOUNG) // 2} DAY",
    )
    store.close()
    done = run_command("retention", "--data", str(folder))
    (trials,) = [line for line in done.stdout.splitlines() if line.startswith("trials")]
    assert ["trials", "90", "days", "-", "0", f"{older:,}"] == trials.split()[:6]
