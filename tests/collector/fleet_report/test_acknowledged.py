"""Findings that somebody took note of: whom a note covers, for what, and how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as fleet_messages
from llmenv.fleet.v1 import result_pb2
from llmenv.fleet.v1.fleet_report_pb2 import FindingRow
from llmenv.ids import new_id
from llmenv_collector.acknowledgements import desk as acknowledgement_desk
from llmenv_collector.acknowledgements import store as acknowledgement_store
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet_report.period import Period

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_collector.storage.store import Store

DAY = 86_400_000_000
NOW = Period(since=0, as_of=40 * DAY)
CAUSE = "packages is fail."


@pytest.fixture
def take_note(store: Store) -> Callable[..., str]:
    """Stores a note of the failing packages check, of day 30 to day 50."""

    def take(**more: Any) -> str:
        given = {
            "acknowledgement_id": new_id(),
            "check_name": "packages",
            "statuses": ["fail"],
            "cause": CAUSE,
            "finding": result_pb2.Sentence(text=CAUSE),
            "reason": "known",
            "acknowledged_at": 30 * DAY,
            "acknowledged_by": "laptop",
            "expires_at": 50 * DAY,
        } | more
        note = acknowledgement_store.Note(**given)
        store.request(lambda connection: acknowledgement_store.add(connection, note)).result()
        return note.acknowledgement_id

    return take


@pytest.fixture
def ids(mac: Any, finding: Any) -> dict[str, str]:
    """Two machines whose packages are not as they should be, and which pass something else."""
    macs = [mac(name) for name in ("air", "mini")]
    for one in macs:
        one.run(20, finding("packages", "fail"), finding("torch_basics"))
    return {one.machine.hostname: one.id for one in macs}


def apart(report: Any) -> list[tuple[list[str], str]]:
    """Hostnames with why they are shown apart, row by row."""
    return [(list(row.hostnames), row.acknowledgement.reason) for row in report.findings]


def test_a_note_covers_the_cause_on_every_machine(report_of: Any, ids: Any, take_note: Any) -> None:
    """By whom, since when and until when comes along; the rest of the row stays."""
    (before,) = report_of(NOW).findings
    take_note()
    (row,) = report_of(NOW).findings
    note = row.acknowledgement
    assert (note.reason, note.acknowledged_by) == ("known", "laptop")
    assert (note.acknowledged_at.ToMicroseconds(), note.expires_at.ToMicroseconds()) == (30 * DAY, 50 * DAY)
    row.ClearField("acknowledgement")
    assert row == before


def test_a_note_for_one_machine_leaves_the_other_open(report_of: Any, ids: Any, take_note: Any) -> None:
    """One cause is two rows then."""
    take_note(machine_ids=[ids["air"]])
    assert sorted(apart(report_of(NOW))) == [(["air"], "known"), (["mini"], "")]


@pytest.mark.parametrize(
    ("what", "more"),
    [
        ("expired", {"expires_at": 40 * DAY}),
        ("taken later", {"acknowledged_at": 41 * DAY}),
        ("another check", {"check_name": "torch_basics"}),
        ("another cause", {"cause": "Something else."}),
        ("another verdict", {"statuses": ["warn", "crash"]}),
        ("another remedy", {"cause": None, "remedy_id": "KI-001"}),
        ("another machine", {"machine_ids": [new_id()]}),
    ],
)
def test_a_note_covers_nothing_else(
    report_of: Any, ids: Any, take_note: Any, what: str, more: dict[str, Any]
) -> None:
    """Neither before nor after its time, and nothing that it does not name."""
    take_note(**more)
    assert apart(report_of(NOW)) == [(["air", "mini"], "")]


def test_a_note_of_a_remedy_covers_every_cause(
    report_of: Any, mac: Any, finding: Any, take_note: Any
) -> None:
    """Two causes with one known issue."""
    for number, name in enumerate(("air", "mini")):
        failed = finding("packages", "fail")
        failed.reason.text = failed.reason.template = f"Cause {number}."
        failed.remedy_id = "KI-001"
        mac(name).run(20, failed)
    take_note(cause=None, remedy_id="KI-001")
    assert apart(report_of(NOW)) == [(["air"], "known"), (["mini"], "known")]


def test_the_note_that_lasts_longest_is_shown(report_of: Any, ids: Any, take_note: Any) -> None:
    """A machine with two notes is in one row."""
    take_note(expires_at=60 * DAY, reason="longer")
    take_note(machine_ids=[ids["air"]])
    assert apart(report_of(NOW)) == [(["air", "mini"], "longer")]


def test_a_withdrawn_note_counts_until_then(report_of: Any, store: Store, ids: Any, take_note: Any) -> None:
    """The row stays, with the first who took it back; a report of the time before still has it."""
    note = take_note()
    for number, by in ((35, "desk"), (36, "other")):
        store.request(
            lambda connection, number=number, by=by: acknowledgement_store.withdraw(
                connection, note, now=number * DAY, by=by
            )
        ).result()
    assert apart(report_of(NOW)) == [(["air", "mini"], "")]
    assert apart(report_of(Period(since=0, as_of=34 * DAY))) == [(["air", "mini"], "known")]
    with store.reader() as connection:
        known = acknowledgement_store.by_id(connection, note)
    assert (known.withdrawn_by, known.withdrawn_at.ToMicroseconds()) == ("desk", 35 * DAY)
    assert known.state == fleet_messages.KnownFailure.STATE_WITHDRAWN


def row(cause: str, remedy_id: str = "", text: str = "") -> FindingRow:
    return FindingRow(
        check_name="packages", status=3, cause=cause, remedy_id=remedy_id, reason={"text": text or cause}
    )


ROWS = [
    row("{name} is missing.", "KI-001", "mlx is missing."),
    row("{name} is too old.", "KI-002", "torch is too old."),
    row("{name} is too new.", "KI-002", "peft is too new."),
]


@pytest.mark.parametrize(
    ("asked", "causes"),
    [
        ({"cause": "MLX"}, [0]),
        ({"cause": "{name} is too old."}, [1]),
        ({"remedy_id": "KI-001"}, [0]),
        ({"remedy_id": "KI-002"}, [1, 2]),
        ({"remedy_id": "KI-002", "cause": "old"}, [1]),
    ],
)
def test_what_is_meant(asked: dict[str, str], causes: list[int]) -> None:
    """By words of the sentence or of the cause, by remedy, or by both."""
    request = fleet_messages.AcknowledgeFindingRequest(check_name="packages", **asked)
    assert acknowledgement_desk.chosen(request, ROWS) == [ROWS[number] for number in causes]


def test_the_only_finding_needs_no_words() -> None:
    """Also where it is two rows since a machine of it is noted already."""
    request = fleet_messages.AcknowledgeFindingRequest(check_name="packages")
    assert acknowledgement_desk.chosen(request, [ROWS[0], ROWS[0]]) == [ROWS[0], ROWS[0]]


@pytest.mark.parametrize(
    ("asked", "error", "sentence"),
    [
        ({}, UsageError, "these are several causes"),
        ({"cause": "too"}, UsageError, "'torch is too old.' (KI-002), 'peft is too new.' (KI-002)"),
        ({"cause": "gone"}, NotFoundError, "'mlx is missing.' (KI-001)"),
        ({"remedy_id": "KI-9"}, NotFoundError, "no such finding"),
    ],
)
def test_what_is_not_clear_is_refused(asked: dict[str, str], error: type[Exception], sentence: str) -> None:
    """With what there is to choose from."""
    request = fleet_messages.AcknowledgeFindingRequest(check_name="packages", **asked)
    with pytest.raises(error) as refused:
        acknowledgement_desk.chosen(request, ROWS)
    assert sentence.casefold() in str(refused.value).casefold()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 400 * 86_400.0])
def test_a_note_has_an_end(seconds: float) -> None:
    """Within a year."""
    with pytest.raises(UsageError, match="expires within 366 days"):
        acknowledgement_desk.lifetime(seconds)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_a_note_has_a_reason(reason: str) -> None:
    """Of words, and not of a book."""
    with pytest.raises(UsageError):
        acknowledgement_desk.require_reason(reason)
