"""Follows commands to their end: each step once, also when the collector was away in between."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS, troubled_checks
from llmenv.fleet.v1.record_pb2 import CommandOutcome

from llmenv_cli.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from llmenv.fleet.v1.fleet_service_pb2 import IssuedCommand, WatchCommandResponse

    from llmenv_cli.client import FleetClient

RETRY_SECONDS = 2.0
FINAL = (
    CommandOutcome.STATE_ENDED,
    CommandOutcome.STATE_EXPIRED,
    CommandOutcome.STATE_REFUSED,
    CommandOutcome.STATE_CANCELLED,
)


@dataclasses.dataclass
class WatchedCommand:
    """A command as it was last said to be; `words` has the status word of each check, by run and check."""

    command: IssuedCommand
    words: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    has_run: bool = False
    """Whether a check began: those that a machine leaves out have a word too."""

    @property
    def is_over(self) -> bool:
        return self.command.state in FINAL

    def troubled(self, *, is_apple_silicon: bool) -> Mapping[str, str]:
        """Checks that did not end well in one of the runs, with their word."""
        found: dict[str, str] = {}
        for run_id in self.command.run_ids:
            words = {check: word for (run, check), word in self.words.items() if run == run_id}
            found |= troubled_checks(words, words, is_apple_silicon=is_apple_silicon)
        return found

    def went_well(self, *, is_apple_silicon: bool) -> bool:
        """It ran to its end, and every check ended well."""
        is_done = self.command.state == CommandOutcome.STATE_ENDED and not self.command.reason
        return is_done and self.has_run and not self.troubled(is_apple_silicon=is_apple_silicon)


class WatchedCommands:
    """What is known of commands after the steps that were followed."""

    def __init__(self) -> None:
        self._by_id: dict[str, WatchedCommand] = {}
        self._told: dict[str, tuple[object, ...]] = {}
        self._begun: set[tuple[str, str]] = set()

    def follow(self, steps: Iterable[WatchCommandResponse]) -> Iterator[WatchCommandResponse]:
        """Those that say something new: a stream that began again repeats what was said."""
        for step in steps:
            watched = self._by_id.setdefault(step.command.command_id, WatchedCommand(step.command))
            if self._is_new(step, watched):
                yield step

    def _is_new(self, step: WatchCommandResponse, watched: WatchedCommand) -> bool:
        check = (step.run_id, step.check_began or step.check_ended)
        if step.check_began:
            is_new = check not in self._begun
            self._begun.add(check)
            watched.has_run = True
        elif step.check_ended:
            is_new = check not in watched.words
            watched.words[check] = WORDS.get(step.status, "unknown")
        else:
            watched.command, told = step.command, _shown(step.command)
            is_new = self._told.get(step.command.command_id) != told
            self._told[step.command.command_id] = told
        return is_new

    @property
    def sorted(self) -> list[WatchedCommand]:
        """By hostname."""
        return sorted(self._by_id.values(), key=lambda one: (one.command.hostname, one.command.command_id))


def steps(
    client: FleetClient, identity: str, *, on_lost: Callable[[str], None]
) -> Iterator[WatchCommandResponse]:
    """Until the last command has ended.  `on_lost` hears once why the collector does not answer.

    Raises CliError when it never did.
    """
    has_answered = is_lost = False
    while True:
        try:
            for step in client.watch(identity):
                has_answered, is_lost = True, False
                yield step
        except UnreachableError as error:
            if not has_answered:
                raise
            if not is_lost:
                on_lost(str(error))
            is_lost = True
            time.sleep(RETRY_SECONDS)
        else:
            return


def _shown(command: IssuedCommand) -> tuple[object, ...]:
    """What a person is told of a command; whether it is connected matters while it waits."""
    waits = command.state == CommandOutcome.STATE_UNSPECIFIED
    return command.state, command.reason, command.HasField("cancelled_at"), waits and command.is_connected
