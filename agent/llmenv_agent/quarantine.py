"""Checks that are left out of suites for a while, because they keep ending their process or hanging.

A check that crashed or timed out three times in a row in a target is left out there; one during which the
machine restarted, at once.  It is let in again when a version changes (of the check, the environment, the
system or the agent), when it ends well after it was asked for by name, or after a day; then ending badly once
more is enough.  What is remembered is written before anybody is told, and only when it changes.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2, result_pb2

from llmenv_agent import state_file
from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.verdict import spoken

if TYPE_CHECKING:
    from pathlib import Path

MOST_IN_A_ROW = 3
LONGEST_SECONDS = 86_400.0
FILE_NAME = "quarantine.json"
_BAD = (result_pb2.STATUS_CRASH, result_pb2.STATUS_TIMEOUT)
_TELLS_NOTHING = (result_pb2.STATUS_SKIP, result_pb2.STATUS_ERROR)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A check in a target, in the versions of everything that may make it behave otherwise."""

    check: str
    target: str
    definition_hash: str
    environment_hash: str
    system: str
    agent: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How often `subject` ended badly in a row. `until` in Unix seconds; 0 where it is not left out."""

    subject: Subject
    in_a_row: int
    cause: str
    until: float = 0.0

    @property
    def until_text(self) -> str:
        moment = dt.datetime.fromtimestamp(self.until, dt.UTC)
        return moment.isoformat(timespec="minutes").replace("+00:00", "Z")


class Quarantine:
    """Belongs to the worker thread; others read the file with `entries`."""

    def __init__(self, path: Path, *, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._path = path
        self._clocks = clocks
        self._entries = {(each.subject.check, each.subject.target): each for each in entries(path)}

    def release(self, subject: Subject) -> record_pb2.QuarantineChange | None:
        """Let the check in again if that is due; to be asked before `left_out`."""
        entry = self._entries.get(_key(subject))
        if entry is None:
            return None
        if entry.subject != subject:
            self._forget(subject)
            reason = spoken("A version changed: the check, its environment, the system or the agent.")
            return _let_in(entry, reason)
        if entry.until and not self._is_left_out(entry):
            self._keep(replace(entry, until=0.0, in_a_row=MOST_IN_A_ROW - 1))
            return _let_in(
                entry, spoken("Its time is over; if it ends badly once more, it is left out again.")
            )
        return None

    def left_out(self, subject: Subject) -> result_pb2.Sentence | None:
        """Why the check is not run now; None when it is."""
        entry = self._entries.get(_key(subject))
        if entry is None or not self._is_left_out(entry):
            return None
        return spoken("Left out until {until}: {reason}", until=entry.until_text, reason=entry.cause)

    def note(
        self, subject: Subject, status: result_pb2.Status.ValueType
    ) -> record_pb2.QuarantineChange | None:
        """Count how the check ended; what changed by it, if anything."""
        if status in _TELLS_NOTHING:
            return None
        entry = self._entries.get(_key(subject))
        if status not in _BAD:
            if entry is None:
                return None
            self._forget(subject)
            return _let_in(entry, spoken("It ended well when it was asked for by name."))
        in_a_row = (entry.in_a_row if entry else 0) + 1
        sentence = spoken("It crashed or did not end in time {count} times in a row.", count=in_a_row)
        if in_a_row < MOST_IN_A_ROW:
            self._keep(Entry(subject=subject, in_a_row=in_a_row, cause=sentence.text))
            return None
        return self._leave_out(subject, in_a_row, sentence)

    def note_restart(self, subject: Subject) -> record_pb2.QuarantineChange:
        """The machine restarted while the check ran: once is enough."""
        return self._leave_out(subject, MOST_IN_A_ROW, spoken("The machine restarted while it ran."))

    def _leave_out(
        self, subject: Subject, in_a_row: int, reason: result_pb2.Sentence
    ) -> record_pb2.QuarantineChange:
        until = self._clocks.wall() + LONGEST_SECONDS
        self._keep(Entry(subject=subject, in_a_row=in_a_row, cause=reason.text, until=until))
        change = record_pb2.QuarantineChange(
            check_name=subject.check, environment_name=subject.target, is_quarantined=True, reason=reason
        )
        change.until.FromMilliseconds(int(until * 1_000))
        return change

    def _is_left_out(self, entry: Entry) -> bool:
        """A clock that was put back makes nobody wait longer than a day."""
        return 0 < entry.until - self._clocks.wall() <= LONGEST_SECONDS

    def _keep(self, entry: Entry) -> None:
        self._entries[_key(entry.subject)] = entry
        self._write()

    def _forget(self, subject: Subject) -> None:
        del self._entries[_key(subject)]
        self._write()

    def _write(self) -> None:
        state_file.write(self._path, json.dumps([asdict(entry) for entry in self._entries.values()]))


def entries(path: Path) -> list[Entry]:
    """What the file remembers; nothing where it is damaged: running once too often is the milder error."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Entry(**{**each, "subject": Subject(**each["subject"])}) for each in content]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _key(subject: Subject) -> tuple[str, str]:
    return subject.check, subject.target


def _let_in(entry: Entry, reason: result_pb2.Sentence) -> record_pb2.QuarantineChange | None:
    """Nobody is told of a check that was never left out."""
    if not entry.until:
        return None
    return record_pb2.QuarantineChange(
        check_name=entry.subject.check, environment_name=entry.subject.target, reason=reason
    )
