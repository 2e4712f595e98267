"""Plays one round: disturb, calm down, deliver what is left, account for everything."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos import asking
from tests.chaos.account import Account, check_acknowledged
from tests.chaos.disturbances import draw, possible_in
from tests.chaos.promise import UnexplainedError

if TYPE_CHECKING:
    from tests.chaos.disturbances import Disturbance, Plan, Step
    from tests.chaos.world import World

MOST_SECONDS = 30.0
PAUSE_SECONDS = 1.3
"""Longer than any stop that a plan ends by itself."""
ATTENDED_SECONDS = 4.0
"""In which a service does what it was asked for, where nothing disturbs it."""
LOOK_SECONDS = 0.01
TRIES = 5
COPY_EVERY = 3
DELIVERED = 0


@dataclass
class Played:
    """How a round went."""

    number: int
    plan: Plan
    seconds: float
    records: int


class Rounds:
    """Of one world, in order: a later one builds on what earlier ones left."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._account = Account()
        self._stopped_since: dict[str, float] = {}
        self._possible: dict[Disturbance, int]
        self._possible, self.left_out = possible_in(world)
        self._settle()
        self._world.keep_database()

    @property
    def account(self) -> Account:
        return self._account

    def play(self, number: int) -> Played:
        """Raises UnexplainedError."""
        began, minted = time.monotonic(), len(self._account.minted)
        plan = draw(random.Random(f"{self._seed}/{number}"), self._possible)
        self._disturb(plan)
        self._world.calm()
        if plan.asks:
            self._answer()
        elif self._world.agent is None or self._world.agent.returncode != DELIVERED:
            # With records under way: who goes back to this copy delivers them a second time.
            self._world.keep_spool()
            self._settle()
        self._account.check(self._world)
        self._world.went_back = False
        if number % COPY_EVERY == 0:
            self._world.keep_database()
        return Played(number, plan, time.monotonic() - began, len(self._account.minted) - minted)

    def _disturb(self, plan: Plan) -> None:
        world = self._world
        for prepare in plan.before:
            prepare(world)
        if plan.collector_failpoints:
            world.kill("collector")
            world.start_collector(",".join(plan.collector_failpoints))
        later = sorted(plan.later, key=lambda step: step[0])
        if plan.asks:
            world.start_service(",".join(plan.agent_failpoints))
            self._attend(later)
        else:
            world.start_agent(",".join(plan.agent_failpoints))
            self._watch(later)

    def _watch(self, later: list[Step]) -> None:
        """Let things happen when they are due, and put back on its feet what died or stopped of them."""
        world, began = self._world, time.monotonic()
        while world.is_running("agent") or later:
            elapsed = time.monotonic() - began
            if elapsed > MOST_SECONDS:
                world.kill("agent")
                return
            if later and (elapsed >= later[0][0] or not world.is_running("agent")):
                later.pop(0)[1](world)
            self._tend()
            time.sleep(LOOK_SECONDS)

    def _attend(self, later: list[Step]) -> None:
        """Let things happen when they are due, and start again whatever dies, as a service does."""
        world, began = self._world, time.monotonic()
        while later or time.monotonic() - began < ATTENDED_SECONDS:
            if later and time.monotonic() - began >= later[0][0]:
                later.pop(0)[1](world)
            if not world.is_running("agent"):
                world.start_service()
            self._tend()
            time.sleep(LOOK_SECONDS)

    def _answer(self) -> None:
        """Raises UnexplainedError where what was asked for does not come to its end."""
        # Without what may be armed in it still.
        self._world.kill("agent")
        asking.settle(self._world)
        self._world.end("agent")
        self._settle()

    def _tend(self) -> None:
        world = self._world
        if not world.is_running("collector"):
            self._look_at_the_dead()
            world.start_collector()
        for name in ("agent", "collector"):
            if not world.is_stopped(name):
                self._stopped_since.pop(name, None)
            elif time.monotonic() - self._stopped_since.setdefault(name, time.monotonic()) > PAUSE_SECONDS:
                world.go_on(name)

    def _look_at_the_dead(self) -> None:
        """Not where an older database was put back: there the agent is rightly ahead until it is told."""
        if self._world.went_back:
            return
        with contextlib.suppress(sqlite3.OperationalError):  # the agent's disk may be full
            check_acknowledged(self._world)

    def _settle(self) -> None:
        """Nothing disturbs any more: within a few starts of the agent everything is delivered."""
        for _ in range(TRIES):
            self._world.start_agent(deliver_within=20)
            assert self._world.agent is not None
            try:
                if self._world.agent.wait(60) == DELIVERED:
                    return
            except subprocess.TimeoutExpired:
                self._world.kill("agent")
        raise UnexplainedError(f"the agent does not deliver any more: see {self._world.folder}/agent.log")
