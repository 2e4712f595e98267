"""Two results of one check held against each other: is it the same, and what around it was different?

Verdicts are compared, timings and measurements never: they differ from run to run.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmenv.fleet.v1 import environment_pb2, machine_pb2, result_pb2

    from llmenv_agent.recorded import Recorded

ABSENT = "(none)"


@dataclass(frozen=True)
class Difference:
    """What it is of, what was recorded, and what was seen now."""

    what: str
    was: str
    now: str


def outcome_differences(was: result_pb2.Result, now: result_pb2.Result) -> tuple[Difference, ...]:
    """Status, cause, unmet expectations, the end of the process, and the status of each case."""
    pairs = [
        ("status", WORDS[was.status], WORDS[now.status]),
        ("reason", *_causes(was.reason, now.reason)),
        ("end of the process", _end(was), _end(now)),
        *_case_statuses(was, now),
    ]
    if not any("expectations" in each for each in was.cut):
        pairs.insert(2, ("unmet expectations", _unmet(was), _unmet(now)))
    return _unequal(pairs)


def case_differences(was: result_pb2.Case, now: result_pb2.Case | None) -> tuple[Difference, ...]:
    """The same of one case; None where it did not come up again."""
    if now is None:
        return (Difference(f"case {was.name}", WORDS[was.status], ABSENT),)
    return _unequal(
        [("status", WORDS[was.status], WORDS[now.status]), ("reason", *_causes(was.reason, now.reason))]
    )


def circumstances(
    recorded: Recorded,
    now: result_pb2.Result,
    *,
    environment: environment_pb2.Environment,
    machine: machine_pb2.Machine,
) -> tuple[Difference, ...]:
    """What else is not as it was, and may explain a difference: the check itself, packages, the machine."""
    then, environment_then = recorded.run.machine, recorded.run.environment
    known = [
        ("the check itself", recorded.result.definition_hash, now.definition_hash),
        ("parameters", recorded.result.parameters_json, now.parameters_json),
        ("chip", then.chip, machine.chip),
        ("system", _system(then), _system(machine)),
        ("Python", environment_then.python_version, environment.python_version),
    ]
    return _unequal(
        [
            *((what, was, is_now) for what, was, is_now in known if was),
            *_packages(environment_then, environment),
            *_variables(recorded.result.environment_variables, now.environment_variables),
        ]
    )


def _unequal(pairs: list[tuple[str, str, str]]) -> tuple[Difference, ...]:
    return tuple(Difference(what, was or ABSENT, now or ABSENT) for what, was, now in pairs if was != now)


def _causes(was: result_pb2.Sentence, now: result_pb2.Sentence) -> tuple[str, str]:
    """The sentences where their templates differ; equal causes differ in figures alone."""
    if was.template and was.template == now.template:
        return was.text, was.text
    return was.text, now.text


def _unmet(result: result_pb2.Result) -> str:
    return ", ".join(each.name for each in result.expectations if not each.met)


def _end(result: result_pb2.Result) -> str:
    """Of a process that left no result of its own; else how it exits says nothing more than the status."""
    if WORDS[result.status] != "crash":
        return ""
    end = result.process_end
    return end.signal_name or (f"exit code {end.exit_code}" if end.HasField("exit_code") else "")


def _case_statuses(was: result_pb2.Result, now: result_pb2.Result) -> Iterator[tuple[str, str, str]]:
    before, after = ({case.name: WORDS[case.status] for case in each.cases} for each in (was, now))
    for name in dict.fromkeys((*before, *after)):
        yield f"case {name}", before.get(name, ""), after.get(name, "")


def _system(machine: machine_pb2.Machine) -> str:
    return " ".join(filter(None, (machine.os_name, machine.os_version, machine.os_build)))


def _packages(
    was: environment_pb2.Environment, now: environment_pb2.Environment
) -> Iterator[tuple[str, str, str]]:
    if was.packages:  # a run without its packages says nothing of them
        before, after = ({each.name: each.version for each in one.packages} for one in (was, now))
        for name in sorted(before.keys() | after.keys()):
            yield f"package {name}", before.get(name, ""), after.get(name, "")


def _variables(was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in sorted(was.keys() | now.keys()):
        yield f"variable {name}", was.get(name, ""), now.get(name, "")
