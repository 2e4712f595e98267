"""Commands as rows: where each is, and how it went."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from llmenv.fleet.v1.record_pb2 import CommandOutcome

from llmenv_cli.command_request import described
from llmenv_cli.render.listing import Field, Listing, Row
from llmenv_cli.render.run_view import STATUS_WORDS
from llmenv_cli.render.sections.wording import title, when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_service_pb2 import IssuedCommand

    from llmenv_cli.render.listing import Value
    from llmenv_cli.watched_commands import WatchedCommand

LISTED = (
    "command_id",
    "batch_id",
    "machine_id",
    "hostname",
    "asked",
    "state",
    "reason",
    "issued_at",
    "expires_at",
    "issued_by",
    "run_ids",
)
OUTCOMES = ("command_id", "machine_id", "hostname", "state", "went_well", "statuses", "finding", "run_ids")
FOR_PROGRAMS = frozenset({"batch_id", "machine_id", "run_ids"})


def state_word(command: IssuedCommand) -> str:
    """Such as "started"; "issued" before the machine has said anything."""
    if command.state not in CommandOutcome.State.values() or not command.state:
        return "issued"
    return CommandOutcome.State.Name(command.state).removeprefix("STATE_").lower()


def selected_listing(commands: Iterable[IssuedCommand], texts: Texts) -> Listing:
    """The machines that a command would be for."""
    keys = ("machine_id", "hostname", "connected")
    rows = [
        Row(
            values={
                "machine_id": command.machine_id,
                "hostname": command.hostname,
                "connected": command.is_connected,
            },
            shown={"connected": texts.say(f"word.{'mark_yes' if command.is_connected else 'mark_neither'}")},
        )
        for command in commands
    ]
    return Listing(fields=_fields(keys, texts), rows=rows)


def commands_listing(commands: Iterable[IssuedCommand], texts: Texts) -> Listing:
    """A row a command."""
    return Listing(
        fields=_fields(LISTED, texts),
        rows=[_listed(command, texts) for command in commands],
        hidden=FOR_PROGRAMS,
    )


def outcomes_listing(
    watched: Iterable[WatchedCommand], texts: Texts, *, apple_silicon: Mapping[str, bool]
) -> Listing:
    """A row a command that was followed to its end.  `apple_silicon` is said by machine id."""
    rows = [
        _outcome(one, texts, is_apple_silicon=apple_silicon.get(one.command.machine_id, False))
        for one in watched
    ]
    return Listing(fields=_fields(OUTCOMES, texts), rows=rows, hidden=FOR_PROGRAMS | {"command_id"})


def _fields(keys: Sequence[str], texts: Texts) -> list[Field]:
    return [
        Field(
            key=key,
            title=texts.say(f"column.{key}"),
            wraps=key in {"asked", "reason", "finding", "statuses"},
            is_optional=key in {"reason", "issued_at", "expires_at", "issued_by"},
        )
        for key in keys
    ]


def _listed(command: IssuedCommand, texts: Texts) -> Row:
    values: dict[str, Value] = {
        "command_id": command.command_id,
        "batch_id": command.batch_id,
        "machine_id": command.machine_id,
        "hostname": command.hostname,
        "asked": described(command.run_checks),
        "state": state_word(command),
        "reason": command.reason,
        "issued_at": command.issued_at.ToDatetime(dt.UTC),
        "expires_at": command.expires_at.ToDatetime(dt.UTC),
        "issued_by": command.issued_by,
        "run_ids": ", ".join(command.run_ids),
    }
    shown = {
        "state": state(command, texts),
        "issued_at": when_in_column(command.issued_at),
        "expires_at": when_in_column(command.expires_at),
    }
    return Row(values=values, shown=shown)


def _outcome(one: WatchedCommand, texts: Texts, *, is_apple_silicon: bool) -> Row:
    troubled = one.troubled(is_apple_silicon=is_apple_silicon)
    went_well = one.went_well(is_apple_silicon=is_apple_silicon)
    counts = Counter(one.words.values())
    ordered = {word: counts[word] for word in STATUS_WORDS if counts[word]}
    command = one.command
    values: dict[str, Value] = {
        "command_id": command.command_id,
        "machine_id": command.machine_id,
        "hostname": command.hostname,
        "state": state_word(command),
        "went_well": went_well,
        "statuses": ", ".join(f"{word} {count}" for word, count in ordered.items()),
        "finding": command.reason or ", ".join(f"{check} {word}" for check, word in troubled.items()),
        "run_ids": ", ".join(command.run_ids),
    }
    named = texts.say("word.list_separator").join(
        texts.say("summary.blocking", check=title(check, texts), status=texts.say(f"status.{word}"))
        for check, word in troubled.items()
    )
    shown = {
        "state": state(command, texts),
        "went_well": texts.say("word.mark_yes" if went_well else "word.mark_no"),
        "statuses": ", ".join(f"{texts.say(f'status.{word}')} {count}" for word, count in ordered.items()),
        "finding": texts.phrase(command.reason) if command.reason else named,
    }
    return Row(values=values, shown=shown)


def state(command: IssuedCommand, texts: Texts) -> str:
    """The same as a person reads it; one that was taken back and goes on for the moment says so."""
    word = state_word(command)
    if command.HasField("cancelled_at") and word in {"issued", "accepted", "started"}:
        word = "being_cancelled"
    return texts.say(f"command_state.{word}")
