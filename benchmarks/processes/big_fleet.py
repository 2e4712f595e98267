"""Makes the database of a large fleet from a small one that was really delivered, by SQL inside DuckDB.

A simulated fleet of a few machines is delivered through the collector's ingest; then each of its runs is
copied many times, under other machines, chips, ids and times, with values that differ by machine and by run.
So every table and column is filled as agents fill it, in the order in which records arrive.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import duckdb
from llmenv.catalog import chips
from llmenv.ids import new_id
from llmenv_agent.simulation.fleet import Fleet
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.storage.store import Store

# ruff: noqa: E501 (statements are easier to compare with the tables on long lines)

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE_MACHINES, MONTHS, PARTS = 24, 12, 36
VARIANTS = 20
PART = dt.timedelta(days=365 / PARTS)
RUNS_A_MACHINE = 24 * PARTS
"""In a year; some machines miss a month, as some runs of the small fleet do not take place."""

MACROS = """
CREATE OR REPLACE TEMP MACRO copied_id(old, machine, copy, begun) AS (
  substr(printf('%012x', epoch_ms(begun)), 1, 8) || '-' || substr(printf('%012x', epoch_ms(begun)), 9, 4) || '-7'
  || substr(md5(old::VARCHAR || machine || '/' || copy), 1, 3) || '-8'
  || substr(md5(old::VARCHAR || machine || '/' || copy), 4, 3) || '-'
  || substr(md5(old::VARCHAR || machine || '/' || copy), 7, 12))::UUID;
CREATE OR REPLACE TEMP MACRO noise(a, b, c) AS (
  -- about normal with deviation 1: a sum of twelve even numbers
  list_sum([(hash(a, b, c, i) % 65536) / 65536.0 for i in range(12)]) - 6);
"""


def make(path: Path, *, machines: int, small: Path) -> None:
    """`path` is the database to be made, `small` the delivered one."""
    Store(path).close()
    begin = dt.datetime.now(dt.UTC) - PARTS * PART
    with duckdb.connect(str(path), config={"memory_limit": "4GB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{small}' AS small_fleet (READ_ONLY)")
        connection.execute(MACROS)
        lay_out_fleet(connection, machines=machines, begin=begin)
        for part in range(PARTS):
            copy_part(connection, part=part, begin=begin, runs=RUNS_A_MACHINE // PARTS)
        connection.execute("CHECKPOINT")


def deliver_small_fleet(path: Path) -> None:
    """A run a month of each machine, through the real ingest."""
    fleet = Fleet(seed=1, machines=TEMPLATE_MACHINES, days=360, runs_per_day=1 / 30)
    store = Store(path)
    for machine in fleet.machines:
        spool_id = new_id()
        arrivals = [
            Arrival(
                spool_id,
                machine.id,
                1,
                number,
                record.SerializeToString(),
                record.measured_at.ToMicroseconds(),
            )
            for number, record in enumerate(fleet.records(machine), 1)
        ]
        store.deliver(arrivals).result()
        store.see(
            Sighting(machine.id, arrivals[-1].received_at, enrolled_at=arrivals[0].received_at)
        ).result()
    store.close()


def lay_out_fleet(connection: duckdb.DuckDBPyConnection, *, machines: int, begin: dt.datetime) -> None:
    connection.execute("""
        CREATE TEMP TABLE small AS
        SELECT machine_id AS old_machine, row_number() OVER (ORDER BY machine_id) - 1 AS place
        FROM small_fleet.store.machine""")
    connection.execute(
        "CREATE TEMP TABLE variant(number INTEGER, chip VARCHAR, gpu_cores UINTEGER, memory_bytes UBIGINT)"
    )
    connection.executemany(
        "INSERT INTO variant VALUES (?, ?, ?, ?)",
        [
            (number, one.chip, one.gpu_cores, one.memory_options_gb[-1] * 2**30)
            for number, one in enumerate(chips.catalogue()[-VARIANTS:])
        ],
    )
    connection.execute(
        """
        CREATE TEMP TABLE fleet AS
        SELECT machine, small.old_machine,
               copied_id(small.old_machine, machine, 0, $begin::TIMESTAMPTZ) AS machine_id,
               printf('mac-%04d', machine) AS hostname, variant.* EXCLUDE (number),
               sqrt(variant.gpu_cores / 40.0) * exp(0.02 * noise(machine, 7, 7)) AS factor
        FROM range($machines) AS made(machine)
        JOIN small ON small.place = machine % (SELECT count(*) FROM small)
        JOIN variant ON variant.number = (machine * machine) % $variants""",
        {"machines": machines, "begin": begin, "variants": VARIANTS},
    )
    connection.execute("""
        INSERT INTO store.machine SELECT old.* REPLACE (fleet.machine_id AS machine_id, fleet.hostname AS hostname,
          fleet.chip AS chip, fleet.gpu_cores AS gpu_cores, fleet.memory_bytes AS memory_bytes)
        FROM small_fleet.store.machine AS old JOIN fleet ON fleet.old_machine = old.machine_id""")
    connection.execute("""
        INSERT INTO store.machine_sighting
        SELECT old.* REPLACE (fleet.machine_id AS machine_id, now() AS last_seen_at)
        FROM small_fleet.store.machine_sighting AS old JOIN fleet ON fleet.old_machine = old.machine_id""")
    connection.execute("INSERT INTO store.environment SELECT * FROM small_fleet.store.environment")
    connection.execute(
        "INSERT INTO store.environment_package SELECT * FROM small_fleet.store.environment_package"
    )
    connection.execute("""
        INSERT INTO store.environment_sighting
        SELECT old.* REPLACE (fleet.machine_id AS machine_id)
        FROM small_fleet.store.environment_sighting AS old JOIN fleet ON fleet.old_machine = old.machine_id""")
    connection.execute("""
        CREATE TEMP TABLE small_run AS
        SELECT machine_id, run_id, started_at, least(floor(date_diff('day', DATE '2026-01-01', started_at::DATE)
               / 30), 11) AS month
        FROM small_fleet.store.run QUALIFY row_number() OVER (PARTITION BY machine_id, month ORDER BY started_at) = 1
        """)


def copy_part(connection: duckdb.DuckDBPyConnection, *, part: int, begin: dt.datetime, runs: int) -> None:
    """All machines' runs of a part of the year, in the order of their times."""
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE copy_run AS
        SELECT fleet.*, small_run.run_id AS old_run, $part * 1000 + copy AS part_copy, small_run.started_at AS old_start, begun,
               copied_id(small_run.run_id, machine, $part * 1000 + copy, begun) AS run_id,
               fleet.factor * exp(0.01 * noise(machine, copy, $part)) AS run_factor
        FROM (
          SELECT *, $begin::TIMESTAMPTZ + to_microseconds((
                 ($part + (copy + (hash(machine) % 1000) / 1000.0) / $runs) * $part_us)::BIGINT) AS begun
          FROM fleet, range($runs) AS made(copy)
        ) AS fleet
        JOIN small_run ON small_run.machine_id = fleet.old_machine AND small_run.month = $month
        ORDER BY begun""",
        {
            "begin": begin,
            "part": part,
            "month": part * MONTHS // PARTS,
            "runs": runs,
            "part_us": PART / dt.timedelta(microseconds=1),
        },
    )
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE copy_result AS
        SELECT copy_run.*, old.result_id AS old_result, old.record_id AS old_record, old.started_at AS old_started,
               copied_id(old.result_id, machine, part_copy, begun + (old.started_at - old_start)) AS result_id,
               copied_id(old.record_id, machine, part_copy, begun + (old.started_at - old_start)) AS record_id
        FROM copy_run JOIN small_fleet.store.result AS old ON old.run_id = copy_run.old_run
        ORDER BY begun, old.sequence""")
    shifted = "begun + (old.started_at - old_start)"
    connection.execute(f"""
        INSERT INTO store.run SELECT old.* REPLACE (copied_id(old.record_id, machine, part_copy, begun) AS record_id,
          copy_run.run_id AS run_id, copy_run.machine_id AS machine_id, copy_run.hostname AS hostname,
          copy_run.chip AS chip, copy_run.gpu_cores AS gpu_cores, copy_run.memory_bytes AS memory_bytes,
          {shifted} AS started_at)
        FROM copy_run JOIN small_fleet.store.run AS old ON old.run_id = copy_run.old_run ORDER BY begun""")
    connection.execute("""
        INSERT INTO store.run_end SELECT old.* REPLACE (copied_id(old.record_id, machine, part_copy, begun) AS record_id,
          copy_run.run_id AS run_id, copy_run.machine_id AS machine_id, begun + (old.ended_at - old_start) AS ended_at)
        FROM copy_run JOIN small_fleet.store.run_end AS old ON old.run_id = copy_run.old_run ORDER BY begun""")
    connection.execute(f"""
        INSERT INTO store.result SELECT old.* REPLACE (made.record_id AS record_id, made.run_id AS run_id,
          made.result_id AS result_id, made.machine_id AS machine_id, {shifted} AS started_at,
          old.sequence + 100000 * made.part_copy AS sequence)
        FROM copy_result AS made JOIN small_fleet.store.result AS old ON old.result_id = made.old_result ORDER BY begun, made.record_id""")
    connection.execute("""
        INSERT INTO store.record SELECT made.record_id, made.machine_id AS spool_id, 1, 'check_finished',
          made.machine_id, made.begun, 0.0, made.begun FROM copy_result AS made ORDER BY begun, made.record_id""")
    for table in ("result_case", "condition", "fact", "expectation"):
        run_id = ", made.run_id AS run_id" if table == "result_case" else ""
        connection.execute(f"""
            INSERT INTO store.{table} SELECT old.* REPLACE (made.record_id AS record_id,
              made.result_id AS result_id, made.machine_id AS machine_id{run_id})
            FROM copy_result AS made JOIN small_fleet.store.{table} AS old ON old.result_id = made.old_result ORDER BY begun, made.record_id""")
    connection.execute("""
        INSERT INTO store.measurement SELECT old.* REPLACE (made.record_id AS record_id,
          made.result_id AS result_id, made.machine_id AS machine_id, old.value * run_factor AS value,
          list_transform(old.trials, lambda trial: trial * run_factor) AS trials,
          list_transform(old.warmups, lambda trial: trial * run_factor) AS warmups)
        FROM copy_result AS made JOIN small_fleet.store.measurement AS old ON old.result_id = made.old_result ORDER BY begun, made.record_id""")
