"""Stands in for launchctl where there is no Mac: loads one job from its plist and runs it for real.

Answers as launchctl(1) does for the subcommands that the agent uses. Every call is a line of `calls`, and the
job is started with the variables of its plist and no others, as launchd starts it.

STAND_IN_FOLDER  keeps `calls` and `loaded.json`
STAND_IN_SCREEN  the person is logged in at the screen: the domain gui/UID exists
"""

from __future__ import annotations

import json
import os
import plistlib
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["STAND_IN_FOLDER"])
LOADED = FOLDER / "loaded.json"
DISABLED = FOLDER / "disabled"


def main(arguments: list[str]) -> int:
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    return {
        "bootstrap": bootstrap,
        "bootout": bootout,
        "print": print_target,
        "print-disabled": print_disabled,
        "enable": enable,
    }[arguments[0]](*arguments[1:])


def bootstrap(domain: str, path: str) -> int:
    job = plistlib.loads(Path(path).read_bytes())
    if DISABLED.exists() or LOADED.exists() or not has_domain(domain):
        return failed(5, "Bootstrap failed: 5: Input/output error")
    with Path(job["StandardErrorPath"]).open("ab") as log:
        process = subprocess.Popen(
            job["ProgramArguments"],
            env=job["EnvironmentVariables"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    LOADED.write_text(json.dumps({"target": f"{domain}/{job['Label']}", "path": path, "pid": process.pid}))
    return 0


def bootout(target: str) -> int:
    """Returns while the job still ends, as launchctl does."""
    if (job := loaded(target)) is None:
        return failed(3, "Boot-out failed: 3: No such process")
    if is_running(job["pid"]):
        os.kill(job["pid"], signal.SIGTERM)
    job["ends_by"] = time.time() + 1.0
    LOADED.write_text(json.dumps(job))
    return 0


def print_target(target: str) -> int:
    if target.count("/") < 2 and not target.startswith("system/"):
        return 0 if has_domain(target) else failed(112, f"Could not find domain for {target}")
    if (job := loaded(target)) is None:
        return failed(113, f'Could not find service "{target.rpartition("/")[2]}" in domain')
    running = is_running(job["pid"])
    lines = [
        f"{target} = {{",
        f"\tactive count = {int(running)}",
        f"\tpath = {job['path']}",
        f"\tstate = {'running' if running else 'not running'}",
        *([f"\tpid = {job['pid']}"] if running else []),
        "\tenvironment = {",
        "\t\tstate = of something else",
        "\t}",
        f"\tlast exit code = {'(never exited)' if running else '4'}",
        "}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def print_disabled(domain: str) -> int:
    label = "disabled" if DISABLED.exists() else "enabled"
    sys.stdout.write(f'\tdisabled services = {{\n\t\t"org.llmenv.agent" => {label}\n\t}}\n')
    return 0


def enable(target: str) -> int:
    DISABLED.unlink(missing_ok=True)
    return 0


def has_domain(domain: str) -> bool:
    return not domain.startswith("gui/") or bool(os.environ.get("STAND_IN_SCREEN"))


def loaded(target: str) -> dict[str, object] | None:
    try:
        job = json.loads(LOADED.read_text())
    except FileNotFoundError:
        return None
    if "ends_by" in job and time.time() > job["ends_by"] and not is_running(job["pid"]):
        LOADED.unlink()
        return None
    return job if job["target"] == target else None


def is_running(pid: int) -> bool:
    """A zombie, which the test's own process has not waited for, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def failed(code: int, words: str) -> int:
    sys.stderr.write(words + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
