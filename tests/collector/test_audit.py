"""The audit: who did what, when, from where, with which outcome; rows are only added, without a secret."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv_collector.identity import audit_copy
from llmenv_collector.identity.identity_file import Identity, audit
from llmenv_collector.serving.peer_limits import REFUSED
from llmenv_collector.storage.store import Store

from .conftest import RunningCollector, run_command

if TYPE_CHECKING:
    from pathlib import Path

ROWS = "SELECT actor, origin, action, subject, detail, outcome FROM v1.audit ORDER BY audit_no"


def rows_of(collector: RunningCollector) -> list[tuple[Any, ...]]:
    """Of the stopped collector, as SQL sees them."""
    with collector.database() as store:
        return store.execute(ROWS).fetchall()


def ask(collector: RunningCollector, secret: str, call: str, request: Any) -> grpc.StatusCode:
    with collector.people_channel() as channel:
        metadata = [("authorization", f"Bearer {secret}")]
        try:
            getattr(FleetServiceStub(channel), call)(request, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_everything_that_is_decided_or_refused_is_a_row(own_collector: RunningCollector) -> None:
    """By commands, people and machines, with who and from where; and no secret anywhere."""
    secrets = [own_collector.secret("--role", "viewer", "--label", "Ada"), own_collector.admin_secret]
    machine = own_collector.enrol("mac-1")
    machine.connect(new_id()).close()
    issue = fleet.IssueCommandRequest(
        selection={"machines": ["mac-1"]}, run_checks={"checks": ["torch_basics"]}, expires_in_seconds=60
    )
    assert ask(own_collector, secrets[1], "IssueCommand", issue) is grpc.StatusCode.OK
    assert ask(own_collector, secrets[0], "IssueCommand", issue) is grpc.StatusCode.PERMISSION_DENIED
    assert (
        ask(own_collector, "no-such-secret", "WhoAmI", fleet.WhoAmIRequest())
        is grpc.StatusCode.UNAUTHENTICATED
    )
    for command in (
        "label mac-1 room=b12",
        "rename mac-1 trainer",
        "retire trainer",
        "approve trainer",
        "revoke trainer",
    ):
        done = run_command("machine", *command.split(), "--data", str(own_collector.folder))
        assert done.returncode == 0, done.stderr
    own_collector.stop()
    rows = rows_of(own_collector)
    actions = [row[2] for row in rows]
    decided = ["label", "rename", "retire", "approve", "revoke"]
    assert [action for action in actions if action.startswith("machine.")] == [
        "machine.enrol",
        *(f"machine.{word}" for word in decided),
    ]
    by = {row[2]: row for row in rows}
    assert by["machine.enrol"][:2] == ("nobody known", "127.0.0.1")
    assert by["machine.revoke"][0].startswith("user ")
    assert by["machine.revoke"][1] == "this computer"
    issued = by["command.issue"]
    assert (issued[0].startswith("token "), "first admin" in issued[0], issued[1]) == (
        True,
        True,
        "127.0.0.1",
    )
    refused = [row for row in rows if row[5] == "refused"]
    assert [(row[3].rpartition("/")[2], row[1]) for row in refused] == [
        ("IssueCommand", "127.0.0.1"),
        ("WhoAmI", "127.0.0.1"),
    ]
    assert "Ada" in refused[0][0]
    assert refused[1][0] == "nobody known"
    whole = str(rows)
    assert not [secret for secret in (*secrets, "no-such-secret") if secret in whole]


def test_a_record_of_another_machine_is_refused_and_stays_on_record(own_collector: RunningCollector) -> None:
    """As a rejection for good, and in the audit with the machine that brought it."""
    machine, other = own_collector.enrol("mac-1"), own_collector.enrol("mac-2")
    stream = machine.connect(new_id())
    stream.deliver([other.check_started()], first=1)
    assert other.machine_id in stream.receive("rejected").reason
    stream.close()
    own_collector.stop()
    (refused,) = [row for row in rows_of(own_collector) if row[2] == "records.refused"]
    assert refused[0] == f"machine {machine.machine_id}"
    assert (refused[5], other.machine_id in refused[4]) == ("refused", True)
    with own_collector.database() as store:
        assert store.execute("SELECT count(*) FROM v1.rejections").fetchall() == [(1,)]


def test_a_flood_of_refusals_does_not_fill_the_file(own_collector: RunningCollector) -> None:
    """Of one address a few are noted."""
    for _ in range(2 * int(REFUSED.burst)):
        ask(own_collector, "nonsense", "WhoAmI", fleet.WhoAmIRequest())
    with contextlib.closing(sqlite3.connect(own_collector.folder / "identity.db")) as identity:
        (noted,) = identity.execute("SELECT count(*) FROM audit WHERE action = 'call.refused'").fetchone()
    # One an hour comes on top, however long this takes on a busy machine.
    assert REFUSED.burst <= noted <= REFUSED.burst + 5


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET detail = ''"])
def test_no_row_goes_or_changes(tmp_path: Path, statement: str) -> None:
    """The file itself refuses it, whatever program asks."""
    identity = Identity.create(tmp_path / "identity.db")
    with identity.changes() as connection:
        audit(connection, "token.create", "t", "")
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "identity.db")) as connection,
        pytest.raises(sqlite3.IntegrityError, match="audit"),
    ):
        connection.execute(statement)


def test_a_restored_database_gets_the_audit_again(tmp_path: Path) -> None:
    """All that it lacks, once, in parts."""
    import asyncio

    identity, store = Identity.create(tmp_path / "identity.db"), Store(tmp_path / "llmenv.duckdb")
    for number in range(7):
        with identity.changes() as connection:
            audit(connection, "token.create", str(number), "")
    assert asyncio.run(audit_copy.bring_up(identity, store)) == 7
    assert asyncio.run(audit_copy.bring_up(identity, store)) == 0
    with identity.changes() as connection:
        audit(connection, "token.revoke", "3", "")
    assert asyncio.run(audit_copy.bring_up(identity, store)) == 1
    with store.reader() as connection:
        rows = connection.execute("SELECT action, subject FROM v1.audit ORDER BY audit_no").fetchall()
    assert rows[-1] == ("token.revoke", "3")
    assert len(rows) == 8
    store.close()
