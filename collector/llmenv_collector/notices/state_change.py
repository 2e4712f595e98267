"""A change of state: what of which machine became different, since when, and by which evidence."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from llmenv.fleet.v1 import result_pb2

from llmenv_collector import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import duckdb

NAMESPACE = uuid.UUID("5d1c2f0e-7f0c-4b0e-9a57-6e6f74696365")


class Kind(StrEnum):
    CHECK_FAILING = "check_failing"
    CHECK_RECOVERED = "check_recovered"
    MACHINE_SILENT = "machine_silent"
    MACHINE_RETURNED = "machine_returned"
    REGRESSION = "regression"


class Fate(StrEnum):
    """What became of a change."""

    WAITING = "waiting"
    TOLD = "told"
    OVERTAKEN = "overtaken"
    """A later change of the same undid it, or stands in a notice instead."""
    KNOWN = "known"
    """It was so before the collector began to look."""


class Subject(NamedTuple):
    """What can change: a check in one place, a machine, or a measurement."""

    machine_id: str
    environment_name: str = ""
    device: str = ""
    check_name: str = ""
    series: str = ""


@dataclass(frozen=True, kw_only=True)
class StateChange:
    """`began_at` is microseconds since 1970, machine's clock."""

    kind: Kind
    subject: Subject
    began_at: int
    evidence: str
    """Id of the result, or time of the run, with which it began."""
    sequence: int = 0
    status: str = ""
    former_status: str = ""
    cause: str = ""
    remedy_id: str = ""
    reason: result_pb2.Sentence = field(default_factory=result_pb2.Sentence)
    detail: Mapping[str, object] = field(default_factory=dict)

    @property
    def change_id(self) -> str:
        """The same whenever the same evidence is found again, also after a restore."""
        return str(uuid.uuid5(NAMESPACE, json.dumps([self.kind, *self.subject, self.evidence])))


COLUMNS = {
    "change_id": "UUID",
    "kind": "VARCHAR",
    "machine_id": "UUID",
    "environment_name": "VARCHAR",
    "device": "VARCHAR",
    "check_name": "VARCHAR",
    "series": "VARCHAR",
    "began_at": "BIGINT",
    "sequence": "UBIGINT",
    "status": "VARCHAR",
    "former_status": "VARCHAR",
    "cause": "VARCHAR",
    "remedy_id": "VARCHAR",
    "reason": "BLOB",
    "detail_json": "VARCHAR",
}
# All at once: a fleet that fails as a whole has thousands.
ADD = f"""
INSERT INTO store.state_change BY NAME
SELECT found.* REPLACE (make_timestamptz(began_at) AS began_at), make_timestamptz($now) AS noticed_at,
       $fate AS fate, 0 AS times_changed
FROM (SELECT {", ".join(f"unnest(${name}::{kind}[]) AS {name}" for name, kind in COLUMNS.items())}) AS found
ANTI JOIN store.state_change USING (change_id)
"""  # noqa: S608 (our own names)
LOOKED = "SELECT epoch_us(looked_until) FROM store.notice_watch"


def looked_until(connection: duckdb.DuckDBPyConnection) -> int | None:
    """None before the first look."""
    row = connection.execute(LOOKED).fetchone()
    return None if row is None else int(row[0])


def keeping(
    found: Sequence[StateChange], *, now: int, fate: Fate = Fate.WAITING
) -> Callable[[duckdb.DuckDBPyConnection], None]:
    """What the store's writer does with them: each once, however often it is found, and all or none."""

    def keep(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DELETE FROM store.notice_watch")
        connection.execute("INSERT INTO store.notice_watch VALUES (make_timestamptz(?::BIGINT))", [now])
        # Evidence that was found twice in one look is one change.
        rows = [values_of(one) for one in {one.change_id: one for one in found}.values()]
        if rows:
            columns = {name: [row[name] for row in rows] for name in COLUMNS}
            connection.execute(ADD, {**columns, "now": now, "fate": str(fate)})

    return whole(keep)


def whole(
    act: Callable[[duckdb.DuckDBPyConnection], None],
) -> Callable[[duckdb.DuckDBPyConnection], None]:
    """The same in one transaction."""

    def in_transaction(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("BEGIN")
        try:
            act(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    return in_transaction


def values_of(one: StateChange) -> dict[str, Any]:
    return {
        "change_id": one.change_id,
        "kind": str(one.kind),
        **one.subject._asdict(),
        "began_at": one.began_at,
        "sequence": one.sequence,
        "status": one.status,
        "former_status": one.former_status,
        "cause": one.cause,
        "remedy_id": one.remedy_id,
        "reason": one.reason.SerializeToString(),
        "detail_json": json.dumps(one.detail),
    }


def seconds_ago(seconds: float, *, now: int) -> int:
    """Microseconds since 1970."""
    return now - int(seconds * clock.MICROSECONDS)
