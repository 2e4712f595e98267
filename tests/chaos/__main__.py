"""Plays rounds of chaos and prints the ledger; exit code 1 when a record is unexplained."""

# ruff: noqa: T201 (a program that prints)

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.promise import UnexplainedError
from tests.chaos.rounds import Rounds
from tests.chaos.world import World

if TYPE_CHECKING:
    from tests.chaos.rounds import Played


def main() -> int:
    options = parsed()
    folder = Path(tempfile.mkdtemp(prefix="llmenv-chaos-"))
    print(f"seed {options.seed}, rounds {options.first} to {options.first + options.rounds - 1}, in {folder}")
    world = World(folder)
    try:
        failed = play(world, options)
    finally:
        world.close()
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000, help="how many to play (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="what every round is drawn from (default 1)")
    parser.add_argument("--first", type=int, default=1, help="number of the first round (default 1)")
    return parser.parse_args()


def play(world: World, options: argparse.Namespace) -> bool:
    """Whether a promise was broken; the folder then stays."""
    began = time.monotonic()
    rounds = Rounds(world, options.seed)
    for reason in rounds.left_out:
        print(f"left out: {reason}")
    for number in range(options.first, options.first + options.rounds):
        try:
            played = rounds.play(number)
        except UnexplainedError as error:
            print(f"round {number} of seed {options.seed}: {error}\nEverything lies in {world.folder}.")
            return True
        print(line(played), flush=True)
    print(f"\n{options.rounds} rounds in {time.monotonic() - began:.0f} s")
    print(" · ".join(f"{name} {count}" for name, count in sorted(rounds.account.totals.items())))
    return False


def line(played: Played) -> str:
    return f"{played.number:>5}  {played.seconds:5.1f} s  {played.records:>3} records  {played.plan.says}"


if __name__ == "__main__":
    sys.exit(main())
