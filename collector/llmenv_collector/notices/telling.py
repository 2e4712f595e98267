"""Which changes are told now, which wait, and which are overtaken.  Pure.

- Changes of one kind and cause are one notice.  The first waits a little for others to come; after a notice,
  those that come within an hour wait for the end of it.
- What changed back before anything was told of it is not told.
- A check or machine that changes a third time within an hour of the first of two notices is flapping: from
  then on it is told at most once an hour, as it is then and with how often it changed, until an hour passes
  without a change.
- What is muted waits; what still holds when the mute ends is told then.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.notices.state_change import Kind, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOUR = 3_600 * clock.MICROSECONDS


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A stored change that is not told yet.  Times are microseconds since 1970, collector's clock."""

    change_id: str
    kind: Kind
    subject: Subject
    status: str
    cause: str
    noticed_at: int
    acknowledgement_id: str = ""
    """One that covers it now; empty for none."""
    muted_by: str = ""
    """For what it was seen to wait."""

    @property
    def group(self) -> str:
        """Equal for one cause."""
        subject = self.subject
        parts: tuple[str, ...] = (self.kind,)
        if self.kind is Kind.CHECK_FAILING:
            parts = (self.kind, subject.check_name, self.status, self.cause)
        elif self.kind is Kind.CHECK_RECOVERED:
            parts = (self.kind, subject.check_name)
        elif self.kind is Kind.REGRESSION:
            parts = (self.kind, subject.check_name, subject.series, self.cause)
        return "\n".join(parts)


@dataclass(frozen=True, kw_only=True)
class Mute:
    """In force.  Empty fields hold for all."""

    mute_id: str
    machine_ids: frozenset[str] = frozenset()
    check_name: str = ""
    kind: str = ""

    def covers(self, one: Waiting) -> bool:
        return (
            (not self.machine_ids or one.subject.machine_id in self.machine_ids)
            and self.check_name in {"", one.subject.check_name}
            and self.kind in {"", one.kind}
        )


@dataclass(frozen=True)
class Told:
    """That something was told of a subject, and how often it had changed by then."""

    at: int
    times_changed: int


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the decision depends on."""

    told: Mapping[Subject, Sequence[Told]] = field(default_factory=dict)
    """The newest two, oldest first."""
    groups: Mapping[str, int] = field(default_factory=dict)
    """When a notice of each group was last made."""
    mutes: Sequence[Mute] = ()
    gone: frozenset[str] = frozenset()
    """Machines that were revoked, retired or forgotten."""
    gather: int
    """How long the first change of a cause waits for others, microseconds."""
    now: int


@dataclass(frozen=True)
class Entry:
    """A subject in a notice: its last change, and those that it stands for."""

    change: Waiting
    earlier: tuple[str, ...]
    """Ids of the changes before it that were not told."""

    @property
    def times_changed(self) -> int:
        return len(self.earlier) + 1


@dataclass
class Plan:
    notices: dict[str, list[Entry]] = field(default_factory=dict)
    """By group."""
    overtaken: list[str] = field(default_factory=list)
    muted: dict[str, str] = field(default_factory=dict)
    """The mute or acknowledgement for which a change waits, by its id."""


def plan(waiting: Sequence[Waiting], known: Known) -> Plan:
    """`waiting` in the order in which the changes happened."""
    by_subject: dict[Subject, list[Waiting]] = defaultdict(list)
    for one in waiting:
        by_subject[one.subject].append(one)
    made = Plan()
    tellable: dict[str, list[Entry]] = defaultdict(list)
    for subject, changes in by_subject.items():
        last = changes[-1]
        if subject.machine_id in known.gone or (is_undone(changes) and not flaps(changes, known)):
            made.overtaken += [one.change_id for one in changes]
        elif muted_by := muting(last, known):
            if muted_by != last.muted_by:
                made.muted[last.change_id] = muted_by
        elif not is_held(changes, known):
            entry = Entry(last, tuple(one.change_id for one in changes[:-1]))
            tellable[last.group].append(entry)
    made.notices = {group: entries for group, entries in tellable.items() if is_due(group, entries, known)}
    return made


def is_undone(changes: Sequence[Waiting]) -> bool:
    """It is again as it was told.  A regression has no way back."""
    return len(changes) % 2 == 0 and changes[-1].kind is not Kind.REGRESSION


def flaps(changes: Sequence[Waiting], known: Known) -> bool:
    """It was told twice within the hour before the first of these, or once as flapping."""
    told = known.told.get(changes[0].subject, ())
    hour_before = changes[0].noticed_at - HOUR
    recent = [one for one in told if one.at > hour_before]
    return len(recent) > 1 or any(one.times_changed > 1 for one in recent)


def is_held(changes: Sequence[Waiting], known: Known) -> bool:
    """Flapping, and told within the hour."""
    told = known.told.get(changes[0].subject, ())
    return flaps(changes, known) and told[-1].at + HOUR > known.now


def muting(change: Waiting, known: Known) -> str:
    """Id of the mute or acknowledgement for which it waits; empty for none."""
    mutes = (one.mute_id for one in known.mutes if one.covers(change))
    return next(mutes, change.acknowledgement_id)


def is_due(group: str, entries: Sequence[Entry], known: Known) -> bool:
    made_at = known.groups.get(group)
    if made_at is not None and made_at + HOUR > known.now:
        return False
    return min(one.change.noticed_at for one in entries) + known.gather <= known.now
