"""Whether whole suites get through the memory of an 8 GB Mac: each check fits or is skipped with arithmetic.

Checks are told the limits of a MacBook Air with an M1 and 8 GB, of which `--available` GB are free, and run
on the CPU.  The kernel holds each of their processes to that figure (RLIMIT_DATA counts what a process may
write to, touched or not): a check that takes more than it asked for does not get it, and ends badly.  Only
Linux holds a process to it; elsewhere nothing is run.

The last line is JSON: a list with the count of checks and cases that ended as fail, error, timeout or crash.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1 import machine_pb2
from llmenv_agent.environments import describe
from llmenv_agent.execution import Execution, execute
from llmenv_agent.local_check import Progress
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from llmenv.fleet.v1 import result_pb2
    from llmenv_agent.suites import Suite

ROOT = Path(__file__).resolve().parent.parent
SUITES = ("quick", "full", "bench")
GIB = 2**30
BAD = {"fail", "error", "timeout", "crash"}
DOES_NOT_FIT = "Does not fit"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the suite quick alone")
    parser.add_argument("--suite", action="append", default=[], metavar="NAME", help="default: all but soak")
    parser.add_argument("--check", action="append", default=[], metavar="NAME", help="these checks instead")
    parser.add_argument(
        "--checks", action="append", default=[], type=Path, metavar="FOLDER", help="own checks"
    )
    parser.add_argument("--available", type=float, default=3.0, metavar="GB", help="free memory (default 3)")
    parser.add_argument("--target", type=Path, default=ROOT / ".venv-train" / "bin" / "python")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("Only Linux holds a process to the memory it may write to: nothing was run.\n[]")
        return 0
    known = read_repertoire(options.checks)
    names = options.suite or (SUITES[:1] if options.quick else SUITES)
    suites = [known.custom(options.check)] if options.check else [known.suite(name) for name in names]
    available = int(options.available * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (available, available))
    results = {
        result.check_name: result for suite in suites for result in run(suite, options.target, available)
    }
    print(f"{'check':26} {'status':8} {'peak GB':>8} {'cases':>6} {'do not fit':>11}  reason")
    for result in results.values():
        print(line(result))
    ended_badly = sum(count_bad(result) for result in results.values())
    print(json.dumps([verdict("small_mac", ended_badly)]))
    return 0


def run(suite: Suite, python: Path, available: int) -> list[result_pb2.Result]:
    """The results of the suite on a machine with the limits of the small Mac."""
    target = target_from(str(python))
    conditions = machine_pb2.Conditions(available_memory_bytes=available)
    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(
            suite=suite,
            target=target,
            device="cpu",
            machine=small_mac(),
            environment=describe(target),
            emit=Progress(total=len(suite.definitions)).show,
            read_conditions=lambda: conditions,
            leftover_file=Path(folder) / "leftover.json",
        )
        return list(execute(execution).results)


def small_mac() -> machine_pb2.Machine:
    """What sizes a check: the chip and the memory. Not Apple Silicon, where nothing would run on the CPU."""
    return machine_pb2.Machine(chip="Apple M1", gpu_cores=8, memory_bytes=8 * GIB)


def line(result: result_pb2.Result) -> str:
    skipped = sum(DOES_NOT_FIT in each.reason.text for each in (result, *result.cases))
    worst = next((case for case in result.cases if WORDS[case.status] in BAD), result)
    return (
        f"{result.check_name:26} {WORDS[result.status]:8} {result.peak_memory.process_bytes / 1e9:8.2f}"
        f" {len(result.cases):6} {skipped:11}  {worst.reason.text[:110]}"
    )


def count_bad(result: result_pb2.Result) -> int:
    cases = sum(WORDS[case.status] in BAD for case in result.cases)
    return cases or int(WORDS[result.status] in BAD)


def verdict(name: str, figure: int) -> dict[str, object]:
    return {"benchmark": name, "figure": figure, "unit": "checks", "target": "== 0", "holds": figure == 0}


if __name__ == "__main__":
    sys.exit(main())
