"""What went wrong and no row of the catalogue explains, each with the command that repeats it."""

from __future__ import annotations

import dataclasses
import shlex
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.fleet.v1.result_pb2 import Case, Result, Sentence

    from llmenv_cli.render.run_view import CheckView

# Without a remedy these are nobody's known issue.
TROUBLE = frozenset({"warn", "fail", "error", "timeout", "crash"})
MISSING_PACKAGE = "ModuleNotFoundError"


@dataclasses.dataclass(frozen=True)
class Unexplained:
    """A check, or one case of it, in trouble without a known remedy."""

    check: str
    case: str
    word: str
    reason: Sentence
    command: str


def unexplained(check: CheckView) -> tuple[Unexplained, ...]:
    """The check's cases without a remedy where it has such cases, else the check itself."""
    result = check.result
    if result is None or check.word not in TROUBLE or missing_package(result):
        return ()
    cases = tuple(_case(result, case) for case in _cases_without_remedy(result))
    if cases or result.remedy_id:
        return cases
    command = replay_command(result)
    return (Unexplained(check.name, "", check.word, result.reason, command),)


def replay_command(result: Result, case: str = "") -> str:
    """What runs it again on its machine: the agent there finds it in its spool, or among its last runs."""
    words = ["llmenv-agent", "replay", result.result_id]
    return " ".join([*words, *(["--case", shlex.quote(case)] if case else [])])


def missing_package(result: Result) -> str:
    """The package whose absence ended it, which is its own remedy; empty when it was something else."""
    return result.error.missing if result.error.type == MISSING_PACKAGE else ""


def _cases_without_remedy(result: Result) -> Iterator[Case]:
    yield from (
        case for case in result.cases if WORDS.get(case.status, "unknown") in TROUBLE and not case.remedy_id
    )


def _case(result: Result, case: Case) -> Unexplained:
    command = replay_command(result, case.name)
    return Unexplained(result.check_name, case.name, WORDS[case.status], case.reason, command)
