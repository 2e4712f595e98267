"""The fleet at this moment as one screen: a line a machine, and below them the newest results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import fleet_watch_pb2 as messages
from llmenv.harmless import harmless_line
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from llmenv_cli.render.sections.wording import title, titles, verdict
from llmenv_cli.render.terminal import MARK_STYLES

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from llmenv.catalog.texts import Texts
    from rich.console import RenderableType

    from llmenv_cli.watched_fleet import WatchedFleet

# Title, two lines of summary and trouble, two headings with their rules, and blank lines between.
FURNITURE = 10
LEAST_ROWS = 3
TURNS = {
    messages.WatchedResult.TURN_BEGINS_TO_FAIL: "begins_to_fail",
    messages.WatchedResult.TURN_FAILS_NO_MORE: "fails_no_more",
}


class Screen:
    """Speaks the language of `texts`."""

    def __init__(self, texts: Texts, *, address: str) -> None:
        self._texts = texts
        self._address = address

    def frame(self, fleet: WatchedFleet, *, now: dt.datetime, lost: str, height: int) -> RenderableType:
        """As much as fits in so many lines."""
        room = max(height - FURNITURE, 2 * LEAST_ROWS)
        results = list(fleet.results)[::-1]
        result_rows = max(min(len(results), room - min(len(fleet.machines), room // 2)), LEAST_ROWS)
        return Group(
            self._head(now),
            Text(self.summary(fleet), no_wrap=True, overflow="ellipsis"),
            self._trouble(fleet, lost),
            self._machines(fleet, now=now, most=room - result_rows),
            Text(""),
            self._results(results[:result_rows], fleet.names()),
        )

    def summary(self, fleet: WatchedFleet) -> str:
        return self._say("summary", **{name: f"{count:,}" for name, count in fleet.counts.items()})

    def _head(self, now: dt.datetime) -> RenderableType:
        row = Table.grid(expand=True)
        row.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        row.add_column(justify="right", no_wrap=True)
        left = f"{self._say('ctrl_c')}   {now:%H:%M:%S} UTC"
        row.add_row(Text(self._say("title", address=self._address), style="bold"), Text(left, style="dim"))
        return row

    def _trouble(self, fleet: WatchedFleet, lost: str) -> Text:
        if not lost or fleet.at is None:
            return Text("")
        said = self._say("lost", why=lost, time=f"{fleet.at:%H:%M:%S} UTC")
        return Text(harmless_line(said), style="red", no_wrap=True, overflow="ellipsis")

    def _machines(self, fleet: WatchedFleet, *, now: dt.datetime, most: int) -> RenderableType:
        if not fleet.machines:
            return Text(self._say("no_machines"))
        machines = fleet.by_name
        left_out = len(machines) - most
        if left_out > 0:
            left_out += 1
            # Those of whom there is something to say; the order of names is kept among equals.
            machines = sorted(machines, key=rank)[: max(most - 1, 1)]
        table = grid(
            [self._say(name) for name in ("machine", "state", "runs", "fails", "waiting")],
            ratios={2: 3, 3: 2},
        )
        table.columns[4].justify = "right"
        names = fleet.names()
        for one in machines:
            table.add_row(*self._machine(one, called(one, names), now=now))
        more = self._say("more_machines", count=f"{left_out:,}")
        return Group(table, Text(more, style="dim")) if left_out > 0 else table

    def _machine(self, machine: messages.WatchedMachine, name: str, *, now: dt.datetime) -> Sequence[Text]:
        failing = titles(machine.failing_checks, self._texts)
        return (
            Text(harmless_line(name)),
            self._state(machine, now=now),
            Text(harmless_line(self.run(machine.run)) if machine.HasField("run") else ""),
            Text(f"✗ {harmless_line(failing)}" if failing else "", style=MARK_STYLES["✗"]),
            Text(f"{machine.waiting_records:,}" if machine.waiting_records else ""),
        )

    def _state(self, machine: messages.WatchedMachine, *, now: dt.datetime) -> Text:
        if machine.is_connected:
            return Text(f"✓ {self._say('online')}", style=MARK_STYLES["✓"])
        if not machine.HasField("last_seen_at"):
            return Text(f"? {self._say('never_seen')}", style=MARK_STYLES["?"])
        minutes = int((now - machine.last_seen_at.ToDatetime()).total_seconds() // 60)
        said = self._say("offline_for", time=self._length(minutes)) if minutes > 0 else self._say("offline")
        return Text(f"○ {said}", style=MARK_STYLES["○"])

    def run(self, run: messages.WatchedRun) -> str:
        return self._say(
            "run_and_check" if run.check_name else "run",
            suite=run.suite,
            ended=run.ended_checks,
            planned=run.planned_checks,
            check=title(run.check_name, self._texts),
        )

    def _length(self, minutes: int) -> str:
        if minutes < 60:
            return self._say("minutes", count=minutes)
        if minutes < 48 * 60:
            return self._say("hours", count=minutes // 60)
        return self._say("days", count=minutes // (24 * 60))

    def _results(
        self, results: Sequence[messages.WatchedResult], machine_names: Mapping[str, str]
    ) -> RenderableType:
        if not results:
            return Text(self._say("no_results"), style="dim")
        say = self._texts.say
        names = ("watch.time", "watch.machine", "column.check", "column.status", "column.finding")
        table = grid([say(name) for name in names], ratios={2: 2, 4: 3})
        for one in results:
            word = verdict(WORDS.get(one.status, "unknown"), self._texts)
            table.add_row(
                Text(f"{one.received_at.ToDatetime():%H:%M:%S}", style="dim"),
                Text(harmless_line(called(one, machine_names))),
                Text(harmless_line(title(one.check_name, self._texts))),
                Text(word, style=MARK_STYLES.get(word[:1], "")),
                self._finding(one),
            )
        return table

    def _finding(self, result: messages.WatchedResult) -> Text:
        reason = harmless_line(self._texts.sentence(result.reason))
        if result.turn not in TURNS:
            return Text(reason)
        style = "bold red" if result.turn == messages.WatchedResult.TURN_BEGINS_TO_FAIL else "bold green"
        turn = self._say(TURNS[result.turn])
        return Text.assemble((turn, style), f" · {reason}" if reason else "")

    def _say(self, key: str, **values: object) -> str:
        return self._texts.say(f"watch.{key}", **values)


def called(one: messages.WatchedMachine | messages.WatchedResult, names: Mapping[str, str]) -> str:
    """`names` has by id those that share a hostname."""
    return names.get(one.machine_id) or one.hostname or one.machine_id


def rank(machine: messages.WatchedMachine) -> int:
    """Who is at work or fails something comes before who is away, and who is well at rest last."""
    if machine.HasField("run"):
        return 0
    if machine.failing_checks:
        return 1
    return 3 if machine.is_connected else 2


def grid(titles: Sequence[str], *, ratios: Mapping[int, int]) -> Table:
    """As wide as the terminal; what does not fit a line is cut, so that a row stays a line."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=True, padding=(0, 1, 0, 0))
    for number, name in enumerate(titles):
        table.add_column(
            Text(name, no_wrap=True), ratio=ratios.get(number), no_wrap=True, overflow="ellipsis"
        )
    return table
