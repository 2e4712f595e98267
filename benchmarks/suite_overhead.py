"""What the suite costs beside a plain script that does the same work in one process per check.

Pairs of wall times, taken in turn: `llmenv-agent check` against `plain_check.py`, which
runs the same check functions with a stand-in that records nothing.  Then the time
from the start of the agent's process to the start of its first check.

The last line is JSON: a list of two figures with their targets.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = ROOT / "agent" / "llmenv_agent" / "checks"
AGENT = [sys.executable, "-m", "llmenv_agent.main"]
OVERHEAD_TARGET = 1.05
START_TARGET_SECONDS = 0.300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two small checks instead of the quick suite")
    parser.add_argument("--pairs", type=int, help="pairs of runs (default 5; 3 with --quick)")
    parser.add_argument("--target", type=Path, default=ROOT / ".venv-train" / "bin" / "python")
    options = parser.parse_args()
    names = ["torch_basics", "torch_training"] if options.quick else suite_checks()
    pairs = options.pairs or (3 if options.quick else 5)

    run_agent(names, options.target)  # warm-up: caches of files and of compiled Python
    figures = [pair(names, options.target) for _ in range(pairs)]
    print(f"checks: {', '.join(names)}")
    print(f"{'agent s':>9} {'plain s':>9} {'ratio':>7} {'to first check ms':>18}")
    for agent, plain, start in figures:
        print(f"{agent:9.2f} {plain:9.2f} {agent / plain:7.3f} {start * 1000:18.0f}")
    ratio = statistics.median(agent / plain for agent, plain, _ in figures)
    start = statistics.median(start for *_, start in figures)
    print(
        json.dumps(
            [
                verdict("suite_overhead", ratio, "ratio", OVERHEAD_TARGET),
                verdict("time_to_first_check", start, "s", START_TARGET_SECONDS),
            ]
        )
    )
    return 0


def verdict(name: str, figure: float, unit: str, target: float) -> dict[str, object]:
    return {
        "benchmark": name,
        "figure": round(figure, 4),
        "unit": unit,
        "target": f"<= {target}",
        "holds": figure <= target,
    }


def suite_checks() -> list[str]:
    command = [*AGENT, "checks", "--format", "json"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    return [check["name"] for check in json.loads(listed.stdout) if "quick" in check["suites"]]


def pair(names: list[str], target: Path) -> tuple[float, float, float]:
    """Seconds of the agent, of the plain script, and from the agent's start to its first check."""
    agent, start = run_agent(names, target)
    return agent, run_plain(names, target), start


def run_agent(names: list[str], target: Path) -> tuple[float, float]:
    chosen = [argument for name in names for argument in ("--check", name)]
    command = [*AGENT, "check", *chosen, "--target", str(target), "--device", "cpu", "--format", "json"]
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "LLMENV_STATE_DIR": state, "LLMENV_RUN_LOCK": f"{state}/run.lock"}
        began, start = time.time(), time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        seconds = time.perf_counter() - start
    if ended.returncode not in (0, 1):
        raise SystemExit(f"llmenv-agent check ended with {ended.returncode}:\n{ended.stderr}")
    first = json.loads(ended.stdout)["results"][0]["started_at"]
    return seconds, dt.datetime.fromisoformat(first).timestamp() - began


def run_plain(names: list[str], target: Path) -> float:
    start = time.perf_counter()
    for name in names:
        command = [str(target), str(ROOT / "benchmarks" / "plain_check.py"), str(CHECKS / f"{name}.py")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
