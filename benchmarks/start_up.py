"""How long people wait for `llmenv --help`, beside an interpreter that does nothing.

Pairs of wall times of whole processes, taken in turn. The last line is JSON: the
median time with its target.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

LLMENV = Path(sys.executable).with_name("llmenv")
TARGET_SECONDS = 0.150


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 pairs instead of 50")
    pairs = 10 if parser.parse_args().quick else 50
    wall([str(LLMENV), "--help"])  # warm-up: caches of files and of compiled Python
    figures = [(wall([str(LLMENV), "--help"]), wall([sys.executable, "-c", "pass"])) for _ in range(pairs)]
    times = [helped for helped, _ in figures]
    median = statistics.median(times)
    ratio = statistics.median(helped / bare for helped, bare in figures)
    print(f"llmenv --help: {min(times):.3f} to {max(times):.3f} s, median {median:.3f} s of {pairs}")
    print(f"beside `python -c pass`: {ratio:.1f} times as long")
    figure = {
        "benchmark": "help",
        "figure": round(median, 4),
        "unit": "s",
        "target": f"<= {TARGET_SECONDS}",
        "holds": median <= TARGET_SECONDS,
    }
    print(json.dumps(figure))
    return 0


def wall(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
