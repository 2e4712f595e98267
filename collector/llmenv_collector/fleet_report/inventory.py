"""What machines are and have, or were and had at the report's time: chip, system and packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import duckdb

    from llmenv_collector.fleet_report.period import Period

# As of an earlier time, facts are those of the newest run until then.
INVENTORY = """
WITH known_record AS (
  SELECT record_id FROM store.record WHERE NOT $is_now AND received_at <= make_timestamptz($as_of)
), sighting AS (
  SELECT machine_id, name, environment_id FROM store.environment_sighting
  WHERE $is_now OR record_id IN (SELECT record_id FROM known_record)
  QUALIFY row_number() OVER (PARTITION BY machine_id, name ORDER BY measured_at DESC, record_id DESC) = 1
), former AS (
  SELECT machine_id, hostname, chip, os_name, os_version FROM store.run
  WHERE NOT $is_now AND started_at <= make_timestamptz($as_of)
    AND record_id IN (SELECT record_id FROM known_record)
  QUALIFY row_number() OVER (PARTITION BY machine_id ORDER BY started_at DESC) = 1
)
SELECT sighting.machine_id::VARCHAR AS machine_id,
       coalesce(shared.name, former.hostname, machine.hostname, sighting.machine_id::VARCHAR) AS hostname,
       coalesce(former.chip, machine.chip, '') AS chip,
       CASE coalesce(former.os_name, machine.os_name)
         WHEN 'macOS' THEN coalesce(former.os_version, machine.os_version, '') ELSE '' END AS macos,
       sighting.name, sighting.environment_id
FROM sighting LEFT JOIN store.machine AS machine USING (machine_id) LEFT JOIN former USING (machine_id)
LEFT JOIN shared_name AS shared ON shared.machine_id = sighting.machine_id
  AND shared.hostname = coalesce(former.hostname, machine.hostname)
WHERE NOT list_contains($revoked::VARCHAR[], sighting.machine_id::VARCHAR)
  AND ($machines IS NULL OR list_contains($machines::VARCHAR[], sighting.machine_id::VARCHAR))
ORDER BY hostname, machine_id, sighting.name
"""
PACKAGES = """
SELECT environment_id, map(list(name ORDER BY position), list(version ORDER BY position))
FROM (
  SELECT environment_id, name, min(position) AS position, arg_min(version, position) AS version
  FROM store.environment_package
  WHERE list_contains($environments::VARCHAR[], environment_id) AND list_contains($packages::VARCHAR[], name)
  GROUP BY environment_id, name
) GROUP BY environment_id
"""


@dataclass(frozen=True)
class Holding:
    """One environment of one machine.  `macos` is a version; empty elsewhere."""

    machine_id: str
    hostname: str
    chip: str
    macos: str
    environment_name: str
    versions: Mapping[str, str]
    """By package; only those that were asked for."""


def read_inventory(
    connection: duckdb.DuckDBPyConnection, period: Period, *, packages: Collection[str]
) -> list[Holding]:
    """By hostname."""
    rows = connection.execute(
        INVENTORY,
        {
            "is_now": period.is_now,
            "as_of": period.as_of,
            "revoked": sorted(period.revoked),
            "machines": None if period.machines is None else sorted(period.machines),
        },
    ).fetchall()
    environments = sorted({row[-1] for row in rows})
    versions = dict(
        connection.execute(PACKAGES, {"environments": environments, "packages": sorted(packages)}).fetchall()
    )
    return [
        Holding(machine_id, hostname, chip, macos, name, versions.get(environment_id, {}))
        for machine_id, hostname, chip, macos, name, environment_id in rows
    ]
