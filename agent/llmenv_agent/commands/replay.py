"""`llmenv-agent replay`: one recorded result again, and whether it is the same."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from llmenv_agent.commands import options
from llmenv_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.comparison import Difference
    from llmenv_agent.recorded import Recorded
    from llmenv_agent.replay import Replay

# More packages or cases than this are counted; JSON has them all.
MOST_LINES = 20


@click.command("replay")
@click.argument("source", metavar="RESULT")
@click.option("--check", metavar="NAME", help="Of a run's file: the result of this check.")
@click.option("--result", "result_id", metavar="ID", help="Of a run's file: the result with this id.")
@click.option("--case", metavar="NAME", help="Run and compare this case alone.")
@click.option(
    "--target",
    metavar="PYTHON",
    help="Interpreter, environment folder, or name of a configured target.  [default: the one recorded]",
)
@options.checks_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print: text for people, JSON for programs.",
)
@options.config_option
@options.state_dir_option
def command(
    *,
    source: str,
    check: str | None,
    result_id: str | None,
    case: str | None,
    target: str | None,
    folders: tuple[Path, ...],
    form: str,
    config: Path | None,
    state_dir: Path | None,
) -> int:
    """Run one result again as it was recorded, and say whether it came out the same.

    RESULT is the JSON file of a run (- for stdin), or the beginning of the id of a result: of one of the last
    runs of `check` here, or in this agent's spool. Check, parameters, seed, device, interpreter and the
    recorded environment variables are those of the result. Compared are status, reason, unmet expectations
    and cases, never timings; what else is not as it was, such as the check itself or a package, is named.
    Exit code 0: the same; 1: different.
    """
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.replay import replay

    configuration = load_configuration(config, state_dir=state_dir, checks_folders=folders)
    recorded = _recorded(source, check or "", result_id or "", configuration.state_dir)
    replayed = replay(recorded, configuration, target=target or "", case=case or "")
    if replayed is None:
        return ExitCode.INTERRUPTED
    click.echo(_as_json(replayed) if form == "json" else _as_text(replayed))
    return ExitCode.DONE if replayed.is_same else ExitCode.NOT_READY


def _recorded(source: str, check: str, result_id: str, state_dir: Path) -> Recorded:
    from llmenv_agent import recorded

    if recorded.is_file(source):
        return recorded.from_file(source, check=check, result_id=result_id)
    if check or result_id:
        raise click.UsageError("--check and --result choose from a file; the id of a result needs neither.")
    return recorded.by_id(source, state_dir)


def _as_json(replayed: Replay) -> str:
    from google.protobuf.json_format import MessageToDict

    content = {
        "verdict": "same" if replayed.is_same else "different",
        "check": replayed.result.check_name,
        "case": replayed.case or None,
        "recorded_result_id": replayed.recorded.result.result_id,
        "differences": [dataclasses.asdict(each) for each in replayed.differences],
        "circumstances": [dataclasses.asdict(each) for each in replayed.circumstances],
        "result": MessageToDict(replayed.result, preserving_proto_field_name=True),
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def _as_text(replayed: Replay) -> str:
    from llmenv.catalog.status import WORDS

    from llmenv_agent.replay import find_case

    seen = find_case(replayed.result, replayed.case) if replayed.case else None
    judged = seen or replayed.result
    name = f"{replayed.result.check_name} {replayed.case}".strip()
    verdict = "same" if replayed.is_same else "different"
    lines = [f"{verdict}: {name} on {replayed.result.device}: {WORDS[judged.status]}  {judged.reason.text}"]
    lines += _lines(replayed.differences)
    if replayed.circumstances:
        lines += ["Not as it was recorded:", *_lines(replayed.circumstances)]
    return "\n".join(lines)


def _lines(differences: tuple[Difference, ...]) -> list[str]:
    lines = [f"  {each.what}: was {each.was}, is {each.now}" for each in differences[:MOST_LINES]]
    rest = len(differences) - MOST_LINES
    return [*lines, *([f"  and {rest} more; --format json has them all"] if rest > 0 else [])]
