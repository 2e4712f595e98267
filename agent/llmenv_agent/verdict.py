"""The verdict of a check from how its process ended and the result file it left, if any.

Pure: everything it says was observed by the runner or written by the probe.
"""

from __future__ import annotations

import dataclasses
import re
import signal
from typing import TYPE_CHECKING, Any, TypeVar

from llmenv.catalog.status import STATUSES
from llmenv.fleet.v1 import result_pb2

from llmenv_agent.probe import missing
from llmenv_agent.probe.sentences import sentence, shortened
from llmenv_agent.process import Ended, Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

_Judged = TypeVar("_Judged", result_pb2.Result, result_pb2.Case)

# The innermost call of a thread as faulthandler writes it.
_PLACE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')
# What faulthandler writes below the message that matters.
_STACK_MARKS = ("Fatal Python error:", "Current thread 0x", "Thread 0x", "  File ", "Extension modules:")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What the process was allowed and what the system did meanwhile.

    `memory_kills` is the rise of the system's count of processes killed for
    memory while it ran, None where the system has no such count.
    """

    timeout_seconds: float
    case_timeout_seconds: float
    memory_kills: int | None = None


def spoken(template: str, **values: Any) -> result_pb2.Sentence:
    """A sentence of the agent's own."""
    return result_pb2.Sentence(**sentence(template, values))


def result_from_file(content: Mapping[str, Any]) -> result_pb2.Result:
    """What the probe wrote as a message; raises ValueError where it is not what a probe writes."""
    return _parsed(content, result_pb2.Result())


def case_from_file(content: Mapping[str, Any]) -> result_pb2.Case:
    """A row that the probe wrote as a message; raises ValueError where it is none."""
    return _parsed(content, result_pb2.Case())


def _parsed(content: Mapping[str, Any], message: _Judged) -> _Judged:
    from google.protobuf import json_format

    body = {key: value for key, value in content.items() if value is not None}
    status = STATUSES.get(str(body.pop("status", "")))
    if status is None:
        raise ValueError("its status is no word of status")
    try:
        json_format.ParseDict(body, message)
    except json_format.ParseError as error:
        raise ValueError(shortened(str(error), limit=300)) from error
    message.status = status
    return message


def judge(result: result_pb2.Result | None, ended: Ended, *, log: str, bounds: Bounds) -> result_pb2.Result:
    """The result with a verdict that takes the process's end into account."""
    if result is None:
        return _without_result(ended, log=log, bounds=bounds)
    if result.status == result_pb2.STATUS_PASS and (ended.returncode != 0 or ended.stopped):
        template = "{reason} But after its result its process {end}."
        result.reason.CopyFrom(spoken(template, reason=result.reason.text, end=end_in_words(ended)))
        result.status = result_pb2.STATUS_WARN
    return result


def blamed_case(running: Mapping[str, str], ended: Ended, *, log: str, bounds: Bounds) -> result_pb2.Case:
    """The row of the case that was running when its process ended or was ended."""
    case = result_pb2.Case(name=running["name"], parameters_json=running["parameters_json"])
    if ended.stopped is None:
        case.status = result_pb2.STATUS_CRASH
        case.reason.CopyFrom(_crash(ended, log, bounds))
    else:
        seconds = bounds.timeout_seconds if ended.stopped is Stop.DEADLINE else bounds.case_timeout_seconds
        case.status = result_pb2.STATUS_TIMEOUT
        case.reason.CopyFrom(_overdue(seconds, log))
    return case


def _without_result(ended: Ended, *, log: str, bounds: Bounds) -> result_pb2.Result:
    if ended.stopped is Stop.DEADLINE:
        reason = _overdue(bounds.timeout_seconds, log)
        return result_pb2.Result(status=result_pb2.STATUS_TIMEOUT, reason=reason)
    library = missing.library(log)
    if library:
        error = result_pb2.CheckError(message=last_words(log), missing=library)
        reason = spoken("The dynamic library {library} is missing.", library=library)
        return result_pb2.Result(status=result_pb2.STATUS_ERROR, reason=reason, error=error)
    return result_pb2.Result(status=result_pb2.STATUS_CRASH, reason=_crash(ended, log, bounds))


def _overdue(seconds: float, log: str) -> result_pb2.Sentence:
    """Says where it was, if the probe could still write its stacks."""
    place = _PLACE.search(log[log.rfind("Current thread 0x") :]) if "Current thread 0x" in log else None
    if place is None:
        return spoken("Did not end within {seconds:g} s.", seconds=seconds)
    template = "Did not end within {seconds:g} s; it was in {function} ({file}:{line})."
    values = {"function": place["function"], "file": place["file"].rpartition("/")[2], "line": place["line"]}
    return spoken(template, seconds=seconds, **values)


def _crash(ended: Ended, log: str, bounds: Bounds) -> result_pb2.Sentence:
    if ended.returncode == -signal.SIGKILL:
        return _killed(bounds.memory_kills)
    words = last_words(log)
    if words:
        return spoken("Its process {end} without a result: {words}", end=end_in_words(ended), words=words)
    return spoken("Its process {end} without a result.", end=end_in_words(ended))


def _killed(memory_kills: int | None) -> result_pb2.Sentence:
    if memory_kills is None:
        return spoken("Its process was killed by SIGKILL from outside, probably for memory.")
    if memory_kills:
        template = "Its process was killed by SIGKILL while the system killed {count} for memory."
        return spoken(template, count=memory_kills)
    return spoken(
        "Its process was killed by SIGKILL from outside; the system's count of kills for memory did not rise."
    )


def end_in_words(ended: Ended) -> str:
    """Such as "ended with SIGABRT"."""
    if ended.stopped is not None:
        return "did not exit before the deadline"
    if ended.returncode is None:
        return "could not be ended"
    if ended.returncode < 0:
        return f"ended with {signal_name(-ended.returncode)}"
    return f"exited with code {ended.returncode}"


def signal_name(number: int) -> str:
    """Such as "SIGABRT"; "signal 34" for one that has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(log: str) -> str:
    """The last line of the log above the stacks that faulthandler writes, at most 300 characters."""
    above, _, _ = log.partition("Fatal Python error:")
    lines = [line.strip() for line in above.splitlines() if not line.startswith(_STACK_MARKS)]
    return shortened(next((line for line in reversed(lines) if line), ""), limit=300)


def process_end(ended: Ended) -> result_pb2.ProcessEnd:
    """The end of the process as a message."""
    message = result_pb2.ProcessEnd(
        killed_at_deadline=ended.stopped in (Stop.DEADLINE, Stop.CASE_DEADLINE),
        children_left_behind=ended.children_left_behind,
    )
    if ended.returncode is not None and ended.returncode < 0:
        message.signal_number = -ended.returncode
        message.signal_name = signal_name(-ended.returncode)
    elif ended.returncode is not None:
        message.exit_code = ended.returncode
    return message


_SOUND = (result_pb2.STATUS_PASS, result_pb2.STATUS_WARN, result_pb2.STATUS_SKIP)


def doubt_rows(result: result_pb2.Result, *, unreadable: int) -> None:
    """A check of whose rows some cannot be read neither passes nor warns: nobody knows what they said."""
    if unreadable and result.status in _SOUND:
        result.status = result_pb2.STATUS_ERROR
        result.reason.CopyFrom(spoken("{count} lines of its cases cannot be read.", count=unreadable))


_WORST_FIRST = (result_pb2.STATUS_CRASH, result_pb2.STATUS_TIMEOUT)


def blame_cases(result: result_pb2.Result) -> None:
    """A check whose cases ended or hung their process neither passes nor warns."""
    if result.status not in _SOUND:
        return
    for status in _WORST_FIRST:
        names = [case.name for case in result.cases if case.status == status]
        if names:
            verb = "ended its process" if status == result_pb2.STATUS_CRASH else "did not end in time"
            template = "{count} of {total} cases {verb}, first {first}."
            values = {"count": len(names), "total": len(result.cases), "verb": verb, "first": names[0]}
            result.status = status
            result.reason.CopyFrom(spoken(template, **values))
            return
