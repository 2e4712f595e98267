"""`python -m tests.fuzz` (`make fuzz`): records and requests made up at random, as many as are wanted.

First records, ingested, stored and read through every view; then requests to every RPC of a collector;
then, where atheris is installed, as many inputs that it steers by what ingest does with them. Says what was
made up, what became of it and what memory grew, and exits with 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from llmenv.fleet.v1 import record_pb2

from . import ingest_fuzz, random_messages, rpc_fuzz
from .test_fuzz import closing_collector, rpcs_of

MOST_GROWTH_BYTES = 64 << 20
REQUESTS_EACH = 200
SEEDS = 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000, help="records  [default: 1000000]")
    parser.add_argument(
        "--each", type=int, default=REQUESTS_EACH, help="requests for each RPC  [default: 200]"
    )
    parser.add_argument("--seed", type=int, default=1, help="another one makes up others  [default: 1]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        is_calm = records(Path(folder), options.messages, options.seed)
        requests(Path(folder), options.each, options.seed)
    return 0 if is_calm and steered(options.messages) else 1


def records(folder: Path, count: int, seed: int) -> bool:
    begin = time.monotonic()
    tally = ingest_fuzz.run(folder, records=count, seed=seed)
    say(
        f"{tally.records:,} records: {tally.accepted:,} stored, {tally.rejected:,} rejected, none raised;"
        f" {tally.rows_seen:,} rows read through {len(ingest_fuzz.VIEWS)} views; memory grew by"
        f" {tally.growth / 1e6:.0f} MB from {tally.resident_first / 1e6:.0f} MB;"
        f" {time.monotonic() - begin:.0f} s"
    )
    return tally.growth < MOST_GROWTH_BYTES


def requests(folder: Path, each: int, seed: int) -> None:
    with closing_collector(folder) as collector:
        rpcs = rpcs_of(collector)
        rpc_fuzz.run(rpcs, each=2, seed=seed)
        before = rpc_fuzz.resident_bytes(collector.process.pid)
        count = rpc_fuzz.run(rpcs, each=each, seed=seed + 1)
        after = rpc_fuzz.resident_bytes(collector.process.pid)
    codes = ", ".join(f"{code} {number:,}" for code, number in rpcs.codes.most_common())
    say(
        f"{count:,} requests to {len(rpc_fuzz.METHODS)} RPCs: {codes};"
        f" the collector grew from {before / 1e6:.0f} to {after / 1e6:.0f} MB"
    )


def steered(count: int) -> bool:
    if find_spec("atheris") is None:
        say("atheris is not installed: nothing is steered")
        return True
    program, chance = Path(__file__).with_name("steered.py"), random.Random(1)
    with tempfile.TemporaryDirectory() as corpus:
        for number in range(SEEDS):
            made = random_messages.message(record_pb2.Record.DESCRIPTOR, chance)
            made.ClearField("record_id")
            made.ClearField("machine_id")
            (Path(corpus) / str(number)).write_bytes(made.SerializeToString())
        command = [sys.executable, program, f"-runs={count}", "-max_len=20000", corpus]
        return subprocess.run(command, check=False).returncode == 0


def say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
