"""What `llmenv fleet run` and `watch` say on stderr while they wait: a line a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from llmenv.catalog.status import WORDS
from llmenv.harmless import harmless

from llmenv_cli.render.command_listing import state, state_word
from llmenv_cli.render.sections.wording import title, verdict, when

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_service_pb2 import IssuedCommand, WatchCommandResponse


class CommandTalk:
    """Speaks the language of `texts`."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def step(self, step: WatchCommandResponse) -> None:
        hostname, environment = step.command.hostname, step.environment_name
        if step.check_began:
            check = title(step.check_began, self._texts)
            self.say("began", machine=hostname, environment=environment, check=check)
        elif step.check_ended:
            self.say(
                "ended",
                machine=hostname,
                environment=environment,
                check=title(step.check_ended, self._texts),
                verdict=verdict(WORDS.get(step.status, "unknown"), self._texts),
                reason=self._texts.sentence(step.reason),
            )
        else:
            self._state(step.command)

    def say(self, key: str, **values: object) -> None:
        click.echo(harmless(self._texts.say(f"commands.{key}", **values)), err=True)

    def _state(self, command: IssuedCommand) -> None:
        is_awaited = state_word(command) == "issued" and not command.is_connected
        if is_awaited and not command.HasField("cancelled_at"):
            self.say("awaited", machine=command.hostname, until=when(command.expires_at))
        elif command.reason:
            why = self._texts.phrase(command.reason)
            self.say("state_and_why", machine=command.hostname, state=state(command, self._texts), reason=why)
        else:
            self.say("state", machine=command.hostname, state=state(command, self._texts))
