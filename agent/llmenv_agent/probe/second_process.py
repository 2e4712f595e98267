"""A second process of the same interpreter and check file, for what must be set before an import."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional

# What is kept of the log's end: warnings that repeat in a loop must not fill the memory.
MOST_LOG_BYTES = 4 * 1024 * 1024


class SecondOutcome(NamedTuple):
    """How the second process ended; `status` is a word of status, `crash` without a result.

    `log` is the end of what it wrote to stdout and stderr, which goes to this process's own stderr as well.
    """

    status: str
    reason: str
    error_type: str
    message: str
    facts: Dict[str, Any]
    measurements: Dict[str, float]
    log: str = ""


def run(
    check_path: Path,
    function_name: str,
    *,
    request: Mapping[str, Any],
    environment: Mapping[str, str],
    scratch: Path,
    timeout_seconds: Optional[float] = None,
) -> SecondOutcome:
    """Run `function_name(probe)` of the check in a fresh process and wait for it.

    It stays in this process's group, so that the agent's deadline ends both.
    """
    folder = Path(tempfile.mkdtemp(prefix="second-", dir=scratch))
    (folder / "request.json").write_text(json.dumps({**request, "function": function_name}), encoding="utf-8")
    entry = Path(__file__).with_name("__main__.py")
    command = [sys.executable, "-X", "utf8", "-u", "-I", str(entry)]
    command += [str(check_path), str(folder / "request.json"), str(folder / "result.json")]
    try:
        with (folder / "log").open("wb") as log:
            ended = subprocess.run(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
                check=False,
            )
        outcome = _read(folder / "result.json", ended.returncode)
    except subprocess.TimeoutExpired:
        outcome = _without_result("timeout", f"did not end within {timeout_seconds:g} s")
    return outcome._replace(log=_passed_on(folder / "log"))


def _passed_on(path: Path) -> str:
    """The end of the log, after it has been written to stderr."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - MOST_LOG_BYTES))
        text = str(log.read(), "utf-8", "replace")
    sys.stderr.write(text)
    return text


def _read(path: Path, returncode: int) -> SecondOutcome:
    if not path.exists():
        return _without_result("crash", _end_in_words(returncode))
    result = json.loads(path.read_text(encoding="utf-8"))
    error = result["error"] or {}
    return SecondOutcome(
        status=result["status"],
        reason=result["reason"]["text"],
        error_type=error.get("type", ""),
        message=error.get("message", ""),
        facts={fact["name"]: _fact_value(fact) for fact in result["facts"]},
        measurements={each["name"]: float(each["value"]) for each in result["measurements"]},
    )


def _fact_value(fact: Mapping[str, Any]) -> Any:
    return next(fact[key] for key in ("text", "number", "flag") if key in fact)


def _without_result(status: str, reason: str) -> SecondOutcome:
    return SecondOutcome(status, reason, "", "", {}, {})


def _end_in_words(returncode: int) -> str:
    if returncode >= 0:
        return f"exited with code {returncode} without a result"
    return f"ended with {signal.Signals(-returncode).name}"
