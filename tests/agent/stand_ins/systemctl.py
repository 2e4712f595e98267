"""Stands in for systemctl where systemd does not run: starts one unit and answers `show` as systemd does.

Every call is a line of `calls` in STAND_IN_FOLDER. The unit is started with its Environment= and no other
variables.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["STAND_IN_FOLDER"])
UNITS = Path(os.environ["STAND_IN_UNITS"])
STATE = FOLDER / "state.json"


def main(arguments: list[str]) -> int:
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    verb, *words = [word for word in arguments if word != "--user"]
    if verb == "show" and ("--user" in arguments) != (UNITS.name == "user"):
        show({"enabled": False, "pid": 0}, ["no-such.service", words[-1]])  # the other systemd of a machine
        return 0
    state = json.loads(STATE.read_text()) if STATE.exists() else {"enabled": False, "pid": 0}
    match verb:
        case "enable":
            state["enabled"] = True
        case "disable":
            state["enabled"] = False
            end(state)
        case "restart":
            end(state)
            state["pid"] = start(UNITS / words[0])
        case "show":
            show(state, words)
    STATE.write_text(json.dumps(state))
    return 0


def start(unit: Path) -> int:
    lines = unit.read_text().splitlines()
    variables = [shlex.split(line.partition("=")[2])[0] for line in lines if line.startswith("Environment=")]
    (command,) = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    with (FOLDER / "journal").open("ab") as log:
        return subprocess.Popen(
            [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(command)],
            env=dict(line.split("=", 1) for line in variables),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ).pid


def end(state: dict[str, int]) -> None:
    if is_running(state["pid"]):
        os.kill(state["pid"], signal.SIGTERM)
    while is_running(state["pid"]):
        time.sleep(0.05)
    state["pid"] = 0


def show(state: dict[str, int], words: list[str]) -> None:
    running = is_running(state["pid"])
    values = {
        "Version": "252",
        "LoadState": "loaded" if words and (UNITS / words[0]).exists() else "not-found",
        "UnitFileState": "enabled" if state["enabled"] else "",
        "ActiveState": "active" if running else "inactive",
        "MainPID": state["pid"] if running else 0,
        "ExecMainCode": 0,
        "ExecMainStatus": 0,
    }
    for name in words[-1].removeprefix("--property=").split(","):
        sys.stdout.write(f"{name}={values[name]}\n")


def is_running(pid: int) -> bool:
    try:
        return pid > 0 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
