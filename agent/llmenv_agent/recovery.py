"""Gives a verdict to what an agent that was killed, or a Mac that panicked, left without one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psutil
from llmenv.fleet.v1 import record_pb2, result_pb2, run_pb2

from llmenv_agent.facts.boot import read_boot_id
from llmenv_agent.verdict import spoken

if TYPE_CHECKING:
    from llmenv_agent.journal import Unfinished
    from llmenv_agent.last_check import LastCheck
    from llmenv_agent.quarantine import Quarantine
    from llmenv_agent.spool import Spool

log = logging.getLogger(__name__)

AGENT_ENDED = "The agent ended while the check ran."
MACHINE_RESTARTED = "The machine restarted while the check ran."
COMMAND_LOST = "the agent ended before the command did"


def close_unfinished(spool: Spool, quarantine: Quarantine, last: LastCheck | None) -> int:
    """Spool an end for everything that has none; returns how many there were.

    A check during which the machine restarted is left out from now on. `last` is the check that began last.
    """
    unfinished = spool.unfinished()
    # Checks first: the end of a run closes the journal for its checks.
    for each in sorted(unfinished, key=lambda entry: ("check", "run", "command").index(entry.kind)):
        began = last if last is not None and last.result_id == each.id else None
        spool.append(_end_of(each, began))
        log.warning("closed the %s %s that an earlier agent began", each.kind, each.name or each.id)
        if began is not None and _has_restarted(each, began):
            change = quarantine.note_restart(began.subject)
            spool.append(record_pb2.Record(quarantine_change=change))
            log.warning(
                "%s in %s is left out: %s", change.check_name, change.environment_name, change.reason.text
            )
    return len(unfinished)


def _end_of(unfinished: Unfinished, began: LastCheck | None) -> record_pb2.Record:
    match unfinished.kind:
        case "check":
            return record_pb2.Record(check_finished=_check_finished(unfinished, began))
        case "run":
            finished = record_pb2.RunFinished(
                run_id=unfinished.run_id, outcome=run_pb2.RUN_OUTCOME_INTERRUPTED
            )
            finished.ended_at.GetCurrentTime()
            return record_pb2.Record(run_finished=finished)
        case _:
            outcome = record_pb2.CommandOutcome(
                command_id=unfinished.id, state=record_pb2.CommandOutcome.STATE_ENDED, reason=COMMAND_LOST
            )
            return record_pb2.Record(command_outcome=outcome)


def _check_finished(unfinished: Unfinished, began: LastCheck | None) -> record_pb2.CheckFinished:
    """A restart since the start of the check is the Mac's own crash, and said as that."""
    restarted = _has_restarted(unfinished, began)
    result = result_pb2.Result(
        result_id=unfinished.id,
        check_name=unfinished.name,
        status=result_pb2.STATUS_CRASH if restarted else result_pb2.STATUS_ERROR,
        reason=spoken(MACHINE_RESTARTED if restarted else AGENT_ENDED),
    )
    result.started_at.FromNanoseconds(int(unfinished.began_at * 1e9))
    return record_pb2.CheckFinished(run_id=unfinished.run_id, result=result)


def _has_restarted(unfinished: Unfinished, began: LastCheck | None) -> bool:
    """By the identity of the system's start where it is known, since setting the clock moves its time."""
    if began is not None and began.boot_id and read_boot_id():
        return began.boot_id != read_boot_id()
    return psutil.boot_time() > unfinished.began_at
