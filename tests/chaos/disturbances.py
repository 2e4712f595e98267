"""What can be done to a fleet in one round: each disturbance makes a plan, drawn from the round's own chance.

A plan is what is armed or put in place before the agent starts, and what happens how long after it did.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from llmenv import failpoints

from tests.chaos import asking
from tests.chaos.proxy import FAIR, Weather

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.world import World

Chance: TypeAlias = random.Random
Step: TypeAlias = "tuple[float, Callable[[World], None]]"
Disturbance: TypeAlias = "Callable[[Chance], Plan]"
LONGEST_START = 1.8
"""Seconds after the start of an agent within which its work is done, on a machine that is not busy."""
ALL_FAILPOINTS = (*failpoints.AGENT, *failpoints.COLLECTOR)
COMMAND_STEPS = tuple(name for name in ALL_FAILPOINTS if ".command." in name)
SCHEDULE_STEPS = tuple(name for name in ALL_FAILPOINTS if ".schedule" in name)
"""With those before, what only people's wishes come to."""
DELIVERY_STEPS = tuple(name for name in ALL_FAILPOINTS if name not in COMMAND_STEPS + SCHEDULE_STEPS)


@dataclass
class Plan:
    """`says` is what a person reads of it."""

    says: str
    agent_failpoints: list[str] = field(default_factory=list)
    collector_failpoints: list[str] = field(default_factory=list)
    before: list[Callable[[World], None]] = field(default_factory=list)
    later: list[Step] = field(default_factory=list)
    asks: bool = False
    """Whether people ask something of the machine: then it runs as a service."""

    def merged(self, other: Plan) -> Plan:
        """Both at once."""
        return Plan(
            says=f"{self.says}; {other.says}",
            agent_failpoints=[*self.agent_failpoints, *other.agent_failpoints],
            collector_failpoints=[*self.collector_failpoints, *other.collector_failpoints],
            before=[*self.before, *other.before],
            later=[*self.later, *other.later],
            asks=self.asks or other.asks,
        )


def moment(chance: Chance) -> float:
    return round(chance.uniform(0.0, LONGEST_START), 3)


def a_while(chance: Chance) -> float:
    return round(chance.uniform(0.1, 1.2), 3)


def failpoint(chance: Chance) -> Plan:
    """A step of either side, at one of the first times that it is reached."""
    name = chance.choice(DELIVERY_STEPS)
    action = chance.choice(failpoints.ACTIONS)
    nth = chance.choice((1, 1, 2, 3)) if "fork" not in name and "checkpoint" not in name else 1
    entry = f"{name}={action}:{nth}"
    plan = Plan(says=f"failpoint {entry}")
    if name.startswith("agent."):
        plan.agent_failpoints.append(entry)
    else:
        plan.collector_failpoints.append(entry)
    if "reject" in name:
        plan.before.extend(_poison for _ in range(nth))
    if "fork" in name:
        plan.before.append(_older_spool)
    if "checkpoint" in name:
        plan.later.append((moment(chance), _checkpoint))
    return plan


def before_commit(chance: Chance) -> Plan:
    """The collector dies with rows in hand: nobody may have been told that they are durable."""
    entry = f"collector.commit.before=kill:{chance.randint(1, 6)}"
    return Plan(says=f"failpoint {entry}", collector_failpoints=[entry])


def kill(chance: Chance) -> Plan:
    """kill -9 of one side or both, at any time."""
    victims = chance.choice((("agent",), ("collector",), ("agent", "collector")))
    plan = Plan(says=f"kill {' and '.join(victims)}")
    for name in victims:
        plan.later.append((moment(chance), lambda world, name=name: world.kill(name)))  # type: ignore[misc]
    return plan


def pause(chance: Chance) -> Plan:
    """SIGSTOP for a while: a machine that sleeps, a collector that swaps."""
    name, start, length = chance.choice(("agent", "collector")), moment(chance), a_while(chance)
    return Plan(
        says=f"{name} stands still at {start} s for {length} s",
        later=[(start, lambda world: world.stop(name)), (start + length, lambda world: world.go_on(name))],
    )


def cut(chance: Chance) -> Plan:
    """Connections end, and new ones are refused for a while."""
    start, length = moment(chance), a_while(chance)

    def begin(world: World) -> None:
        world.proxy.weather = Weather(refuse=True)
        world.proxy.cut()

    return Plan(
        says=f"network cut at {start} s for {length} s", later=[(start, begin), (start + length, _fair)]
    )


def half_open(chance: Chance) -> Plan:
    """The agent's side is gone, and the collector goes on waiting for it."""
    start = moment(chance)
    return Plan(says=f"half-open at {start} s", later=[(start, lambda world: world.proxy.abandon())])


def silence(chance: Chance) -> Plan:
    """Nothing passes any more; after a while it does again, or the connection is gone."""
    start, length, breaks = moment(chance), a_while(chance), chance.random() < 0.5

    def end(world: World) -> None:
        if breaks:
            world.proxy.cut()
        world.proxy.weather = FAIR

    return Plan(
        says=f"silence at {start} s for {length} s{', then a cut' if breaks else ''}",
        later=[(start, _weather(Weather(hold=True))), (start + length, end)],
    )


def delay(chance: Chance) -> Plan:
    """Every chunk takes its time."""
    weather = Weather(delay_seconds=round(chance.uniform(0.005, 0.1), 3))
    return Plan(says=f"delay of {weather.delay_seconds} s", before=[_weather(weather)])


def slow_reader(chance: Chance) -> Plan:
    """A few kilobytes a second, so that buffers fill on both sides."""
    weather = Weather(bytes_per_second=float(chance.choice((20_000, 60_000, 200_000))))
    start, length = moment(chance), a_while(chance)
    return Plan(
        says=f"{weather.bytes_per_second:.0f} bytes a second from {start} s for {length} s",
        later=[(start, _weather(weather)), (start + length, _fair)],
    )


def link_down(chance: Chance) -> Plan:
    """The interface itself goes down: packets are lost, and neither side is told."""
    start, length = moment(chance), a_while(chance)
    return Plan(
        says=f"link down at {start} s for {length} s",
        later=[
            (start, lambda world: world.link.set(up=False)),
            (start + length, lambda world: world.link.set(up=True)),
        ],
    )


def disk_full(chance: Chance) -> Plan:
    """No byte is left for a while on the disk of either side."""
    name, start, length = chance.choice(("agent", "collector")), moment(chance), a_while(chance)
    return Plan(
        says=f"disk of the {name} full at {start} s for {length} s",
        later=[
            (start, lambda world: world.disks[name].fill()),
            (start + length, lambda world: world.disks[name].empty()),
        ],
    )


def clock_step(chance: Chance) -> Plan:
    """Somebody sets the time of one side, forwards or back."""
    name, start = chance.choice(("agent", "collector")), moment(chance)
    seconds = chance.choice((-86_400, -3_000, -60, -1, 1, 60, 3_000, 86_400, 864_000))
    return Plan(
        says=f"clock of the {name} {seconds:+d} s at {start} s",
        later=[(start, lambda world: world.clocks[name].set(seconds))],
    )


def older_spool(_chance: Chance) -> Plan:
    """The agent's disk goes back to an earlier day (Time Machine, a clone)."""
    return Plan(says="an older spool", before=[_older_spool])


def older_database(_chance: Chance) -> Plan:
    """The collector goes back to a backup, and the agent delivers again."""
    return Plan(says="an older database", before=[lambda world: world.restore_database()])


def poison(_chance: Chance) -> Plan:
    """A record that no collector can accept lies between the others."""
    return Plan(says="a poison record", before=[_poison])


def command(chance: Chance) -> Plan:
    """Somebody has the machine run a check while something else happens."""
    start = moment(chance)
    asked = Plan(says=f"a command at {start} s", later=[(start, asking.command)], asks=True)
    return asked.merged(_meanwhile(chance, COMMAND_STEPS))


def schedule(chance: Chance) -> Plan:
    """Somebody sets a schedule that is due at once while something else happens."""
    start, name = moment(chance), f"often-{chance.getrandbits(32):08x}"
    asked = Plan(
        says=f"a schedule at {start} s",
        later=[(start, lambda world: asking.schedule(world, name=name))],
        asks=True,
    )
    return asked.merged(_meanwhile(chance, SCHEDULE_STEPS))


def _meanwhile(chance: Chance, steps: tuple[str, ...]) -> Plan:
    """What disturbs what was asked for: half of the time at a step that only this comes to."""
    if chance.random() < 0.5:
        return chance.choice(WHILE_ASKED)(chance)
    entry = f"{chance.choice(steps)}={chance.choice(failpoints.ACTIONS)}"
    plan = Plan(says=f"failpoint {entry}")
    (plan.agent_failpoints if entry.startswith("agent.") else plan.collector_failpoints).append(entry)
    return plan


# Neither side goes back to an older copy: it would rightly do again what it knows nothing of.
WHILE_ASKED: tuple[Disturbance, ...] = (kill, kill, pause, cut, half_open, silence)

# How often each comes up, relative to the others.
DISTURBANCES: dict[Disturbance, int] = {
    failpoint: 30,
    kill: 14,
    pause: 8,
    cut: 8,
    half_open: 6,
    silence: 6,
    delay: 3,
    slow_reader: 4,
    link_down: 5,
    disk_full: 8,
    clock_step: 6,
    older_spool: 3,
    older_database: 4,
    poison: 3,
    before_commit: 8,
    command: 6,
    schedule: 4,
}
ASKING = frozenset({command, schedule})
NOT_WHILE_ASKED = frozenset({older_spool, older_database, clock_step, failpoint})
"""After these the machine may rightly do once more what it was asked for."""
ALSO = 0.25
"""Share of rounds with a second disturbance."""


def draw(chance: Chance, possible: dict[Disturbance, int]) -> Plan:
    """The plan of one round."""
    first, second = chance.choices(list(possible), list(possible.values()), k=2)
    plan = first(chance)
    both = {first, second}
    is_apart = len(both) == 1 or (both & ASKING and both & NOT_WHILE_ASKED)
    if chance.random() >= ALSO or is_apart:
        return plan
    return plan.merged(second(chance))


def possible_in(world: World) -> tuple[dict[Disturbance, int], list[str]]:
    """Those that this system allows, and why others are left out."""
    missing: dict[Disturbance, str] = {}
    if not world.link.can_go_down:
        missing[link_down] = "no network of our own (needs root)"
    if not all(disk.is_small for disk in world.disks.values()):
        missing[disk_full] = "no small disks (needs root)"
    if not all(clock.can_step for clock in world.clocks.values()):
        missing[clock_step] = "no clock that can be stepped (needs a C compiler)"
    kept = {each: weight for each, weight in DISTURBANCES.items() if each not in missing}
    return kept, [f"{each.__name__}: {why}" for each, why in missing.items()]


def _weather(weather: Weather) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.proxy.weather = weather

    return change


def _fair(world: World) -> None:
    world.proxy.weather = FAIR


def _poison(world: World) -> None:
    world.poison()


def _older_spool(world: World) -> None:
    world.restore_spool()


def _checkpoint(world: World) -> None:
    world.checkpoint()
