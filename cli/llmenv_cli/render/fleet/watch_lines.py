"""The fleet as lines, for whatever reads a pipe: the machines at first, then each thing that happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS
from llmenv.harmless import harmless_line

from llmenv_cli.render.fleet.watch import TURNS, called
from llmenv_cli.render.sections.wording import title, titles, verdict, when

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1 import fleet_watch_pb2 as messages


class Lines:
    """Speaks the language of `texts`."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self.names: Mapping[str, str] = {}
        """By id of those that share a hostname."""

    def of_machines(
        self, before: Mapping[str, messages.WatchedMachine], now: Iterable[messages.WatchedMachine]
    ) -> Iterator[str]:
        """What is otherwise of each than it was; all of one that was not known."""
        for machine in now:
            yield from self._machine(before.get(machine.machine_id), machine)

    def left(self, machine: messages.WatchedMachine) -> str:
        return self._say("line_left", machine=called(machine, self.names))

    def result(self, result: messages.WatchedResult) -> str:
        turn = TURNS.get(result.turn)
        return self._say(
            "line_result_turned" if turn else "line_result",
            machine=called(result, self.names),
            environment=result.environment_name,
            verdict=verdict(WORDS.get(result.status, "unknown"), self._texts),
            check=title(result.check_name, self._texts),
            turn=self._say(turn) if turn else "",
            reason=self._texts.sentence(result.reason),
        )

    def left_out(self, count: int) -> str:
        return self._say("line_left_out", count=f"{count:,}")

    def lost(self, why: str) -> str:
        return self._say("line_lost", why=why)

    def found(self) -> str:
        return self._say("line_found")

    def _machine(
        self, before: messages.WatchedMachine | None, machine: messages.WatchedMachine
    ) -> Iterator[str]:
        if before is None or before.is_connected != machine.is_connected:
            yield self._presence(machine)
        yield from self._run(before, machine)
        failing = list(machine.failing_checks)
        # Later on each result says how it turned.
        if before is None and failing:
            yield self._say(
                "line_failing", machine=called(machine, self.names), checks=titles(failing, self._texts)
            )
        if machine.waiting_records != (before.waiting_records if before is not None else 0):
            count = f"{machine.waiting_records:,}"
            yield self._say("line_waiting", machine=called(machine, self.names), count=count)

    def _presence(self, machine: messages.WatchedMachine) -> str:
        if machine.is_connected:
            return self._say("line_online", machine=called(machine, self.names))
        if not machine.HasField("last_seen_at"):
            return self._say("line_never_seen", machine=called(machine, self.names))
        return self._say("line_offline", machine=called(machine, self.names), time=when(machine.last_seen_at))

    def _run(self, before: messages.WatchedMachine | None, machine: messages.WatchedMachine) -> Iterator[str]:
        was = before.run if before is not None and before.HasField("run") else None
        run = machine.run if machine.HasField("run") else None
        if was is not None and (run is None or run.run_id != was.run_id) and machine.is_connected:
            yield self._say("line_run_over", machine=called(machine, self.names), suite=was.suite)
        if run is not None and (was is None or was.run_id != run.run_id):
            yield self._say(
                "line_run" if before is not None else "line_in_run",
                machine=called(machine, self.names),
                suite=run.suite,
                environment=run.environment_name,
                device=run.device,
                ended=run.ended_checks,
                planned=run.planned_checks,
            )

    def _say(self, key: str, **values: object) -> str:
        return harmless_line(self._texts.say(f"watch.{key}", **values))
