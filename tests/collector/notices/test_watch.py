"""Changes of state are found once, told once, and told to the end."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import result_pb2
from llmenv.ids import new_id
from llmenv_collector import clock
from llmenv_collector.acknowledgements import store as acknowledgement_store
from llmenv_collector.acknowledgements.store import Note
from llmenv_collector.notices import notice_store, silence, state_change, watch

from .lab import DAY, Lab, Mac

if TYPE_CHECKING:
    from pathlib import Path

    from .receiver import Receiver


def changes(lab: Lab) -> list[tuple[str, str]]:
    return lab.rows("SELECT kind, fate FROM v1.state_changes ORDER BY noticed_at, began_at, kind")


def test_a_check_that_fails_and_recovers_is_told_once_each(lab: Lab, receiver: Receiver) -> None:
    """However often is looked and sent; the signature is what a receiver works out."""
    webhook, mac = lab.webhook(receiver), Mac(lab, "mini-1")
    lab.watch = lab.watching(webhook)
    lab.look()
    for verdict in ("pass", "fail", "fail", "pass"):
        mac.run(packages=verdict)
        for _ in range(2):
            lab.look()
            lab.send(webhook)
    assert [one.content["kind"] for one in receiver.received] == ["check_failing", "check_recovered"]
    assert all(one.is_signed() for one in receiver.received)
    failing = receiver.received[0].content
    assert failing["text"].startswith("Packages: fail on mini-1 since ")
    assert failing["changes"][0] | {"change_id": "", "began_at": "", "noticed_at": ""} == {
        "change_id": "",
        "machine_id": mac.id,
        "hostname": "mini-1",
        "environment": "train",
        "device": "mps",
        "check": "packages",
        "status": "fail",
        "former_status": "",
        "reason": "packages says fail: mlx.",
        "remedy_id": "",
        "began_at": "",
        "noticed_at": "",
        "times_changed": 1,
        "detail": {},
    }
    assert receiver.received[1].content["changes"][0]["former_status"] == "fail"


def test_one_cause_on_twelve_machines_is_one_notice(lab: Lab, receiver: Receiver) -> None:
    """It names some and counts all."""
    webhook = lab.webhook(receiver)
    lab.watch = lab.watching(webhook)
    lab.look()
    for number in range(12):
        Mac(lab, f"mini-{number:02}").run(packages="fail")
    lab.look()
    lab.send(webhook)
    (notice,) = [one.content for one in receiver.received]
    assert notice["changes_total"] == len(notice["changes"]) == 12
    assert "mini-00, mini-01, mini-02, mini-03, mini-04 and 7 more" in notice["text"]


def test_what_fails_when_a_collector_begins_to_look_is_known(lab: Lab) -> None:
    """Nobody is told on the day of an upgrade what has failed for weeks; its recovery is told."""
    mac = Mac(lab, "mini-1")
    mac.run(packages="fail", ops="pass")
    lab.look()
    assert changes(lab) == [("check_failing", "known")]
    mac.run(packages="pass")
    lab.look()
    assert changes(lab) == [("check_failing", "known"), ("check_recovered", "told")]


def test_skip_and_unknown_change_nothing_and_late_results_are_put_in_their_place(lab: Lab) -> None:
    """A result that arrives late is older than what is known."""
    mac, now = Mac(lab, "mini-1"), clock.now()
    lab.look()
    mac.run(now - DAY, packages="fail")
    lab.look()
    mac.run(now, packages="skip")
    mac.run(now - 2 * DAY, packages="pass")
    lab.look()
    assert changes(lab) == [("check_failing", "told")]


def test_what_failed_and_passed_before_it_was_told_is_overtaken(lab: Lab) -> None:
    """Both are kept, and nobody is told."""
    mac, now = Mac(lab, "mini-1"), clock.now()
    lab.look()
    mac.run(now - DAY, packages="crash")
    mac.run(now, packages="pass")
    lab.look()
    assert changes(lab) == [("check_failing", "overtaken"), ("check_recovered", "overtaken")]
    assert lab.rows("SELECT * FROM v1.notices") == []


def test_a_restart_goes_on_where_the_last_one_was(tmp_path: Path, receiver: Receiver) -> None:
    """What was found and not told is told; what was told is not told again."""
    first = Lab(tmp_path)
    first.look()
    mac = Mac(first, "mini-1")
    mac.run(packages="fail")
    webhook = first.webhook(receiver)
    first.watch = first.watching(webhook)
    first.look()
    first.close()
    second = Lab(tmp_path)
    second.watch = second.watching(webhook)
    second.look()
    second.send(webhook)
    second.look()
    second.send(webhook)
    assert len(receiver.received) == 1
    second.close()


def test_a_backup_neither_loses_nor_doubles_a_change(tmp_path: Path, receiver: Receiver) -> None:
    """What was told after the backup is found again and recognised; what was not is told."""
    former = Lab(tmp_path)
    webhook = former.webhook(receiver)
    former.watch = former.watching(webhook)
    former.look()
    former.close()
    shutil.copy(tmp_path / "llmenv.duckdb", tmp_path / "backup")
    former = Lab(tmp_path)
    former.watch = former.watching(webhook)
    mac = Mac(former, "mini-1")
    delivered: list[list[dict[str, object]]] = []
    deliver = mac.deliver
    mac.deliver = lambda kinds: (delivered.append(list(kinds)), deliver(kinds))[1]  # type: ignore[method-assign]
    mac.run(packages="fail")
    former.look()
    former.send(webhook)
    former.close()
    shutil.copy(tmp_path / "backup", tmp_path / "llmenv.duckdb")
    restored = Lab(tmp_path)
    restored.watch = restored.watching(webhook)
    mac.store, mac.sequence = restored.store, 0
    deliver(delivered[0])
    mac.run(ops="fail")
    restored.look()
    restored.send(webhook)
    assert [one.content["changes"][0]["check"] for one in receiver.received] == ["packages", "ops"]
    assert restored.rows("SELECT state FROM v1.notices ORDER BY state") == [
        ("delivered",),
        ("told_before",),
    ]
    restored.close()


def test_a_machine_falls_silent_by_its_own_habit_and_returns(lab: Lab) -> None:
    """As the report has it overdue; a run a day, and then none for three."""
    lab.look()
    mac, now = Mac(lab, "mini-1"), clock.now()
    for day in range(10, 3, -1):
        mac.run(now - day * DAY, packages="pass")
    lab.look()
    lab.look()
    assert changes(lab) == [("machine_silent", "told")]
    mac.run(packages="pass")
    lab.look()
    assert changes(lab) == [("machine_silent", "told"), ("machine_returned", "told")]


def test_a_second_silence_after_one_run_ends_as_well(lab: Lab) -> None:
    """The run with which it returned is also the last before it fell silent again."""
    begin = clock.now() - 12 * DAY
    lab.look(begin - 11 * DAY)
    mac = Mac(lab, "mini-1")
    for day in range(10, 3, -1):
        mac.run(begin - day * DAY, packages="pass")
    for returned_at in (begin, begin + 8 * DAY):
        lab.look(returned_at - 1)
        mac.run(returned_at, packages="pass")
        lab.look(returned_at + 1)
    assert changes(lab) == [("machine_silent", "told"), ("machine_returned", "told")] * 2


def test_an_outage_of_the_collector_is_no_silence_of_its_machines(lab: Lab) -> None:
    """They have time to deliver what they kept; who delivers nothing until then is silent."""
    now = clock.now()
    lab.look(now - 12 * DAY)
    here, gone = Mac(lab, "mini-1"), Mac(lab, "mini-2")
    for day in range(10, 3, -1):
        here.run(now - day * DAY, packages="pass")
        gone.run(now - day * DAY, packages="pass")
    lab.watch = lab.watching()
    lab.look(now)
    lab.look(now + 30 * clock.MICROSECONDS)
    assert changes(lab) == []
    here.run(now - DAY, packages="pass")
    lab.look(now + watch.CATCH_UP)
    silent = lab.rows("SELECT machine_id::VARCHAR, kind, fate FROM v1.state_changes")
    assert silent == [(gone.id, "machine_silent", "told")]


def test_a_return_and_the_silence_after_it_are_decided_in_their_order(lab: Lab) -> None:
    """They began with one run, and neither was told of yet; whatever their ids are."""
    found = []
    for machine_id in (str(uuid.UUID(int=number)) for number in range(8)):
        found.append(silence.silent_since(machine_id, DAY, 1.0))
        found.append(silence.returned_at(machine_id, DAY, 0))
    lab.store.request(state_change.keeping(found, now=2 * DAY)).result()
    with lab.store.reader() as connection:
        waiting = notice_store.read_waiting(connection, now=2 * DAY)
    assert [one.kind for one in waiting] == ["machine_returned"] * 8 + ["machine_silent"] * 8


def test_an_acknowledged_failure_is_told_when_the_note_counts_no_more(lab: Lab) -> None:
    """The note covers what it covers in a report: its check, verdict and cause."""
    lab.look()
    now = clock.now()
    note = Note(
        acknowledgement_id=new_id(),
        check_name="packages",
        statuses=["fail"],
        cause="packages says fail: {name}.",
        finding=result_pb2.Sentence(text="x"),
        reason="known",
        acknowledged_at=now,
        acknowledged_by="desk",
        expires_at=now + DAY,
    )
    lab.store.request(lambda connection: acknowledgement_store.add(connection, note)).result()
    Mac(lab, "mini-1").run(packages="fail", ops="fail")
    lab.look()
    muted = "SELECT check_name, fate, muted_by::VARCHAR FROM v1.state_changes ORDER BY check_name"
    assert lab.rows(muted) == [
        ("ops", "told", None),
        ("packages", "waiting", note.acknowledgement_id),
    ]
    lab.store.request(
        lambda connection: acknowledgement_store.withdraw(
            connection, note.acknowledgement_id, now=now, by="desk"
        )
    ).result()
    lab.look()
    assert [fate for _, fate, _ in lab.rows(muted)] == ["told", "told"]


@pytest.mark.parametrize("ended", ["revoked_at", "retired_at"])
def test_who_is_revoked_or_retired_is_not_told_of(lab: Lab, ended: str) -> None:
    """What waits is overtaken."""
    mac = Mac(lab, "mini-1")
    lab.look()
    lab.watch = lab.watching(gather_seconds=3_600)
    mac.run(packages="fail")
    lab.look()
    assert changes(lab) == [("check_failing", "waiting")]
    with lab.identity.changes() as connection:
        connection.execute(
            f"INSERT INTO machine (machine_id, hostname, enrolled_at, {ended}) VALUES (?, 'mini-1', 1, 2)",
            [mac.id],
        )
    lab.look()
    assert changes(lab) == [("check_failing", "overtaken")]
