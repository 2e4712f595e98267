"""Runs one check and writes its result file, whatever the check raises.

Only what ends the process itself (a signal, an abort, `os._exit`) leaves no
result file; the agent's runner gives the verdict then.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.util
import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List

from . import parent_watch, result_file
from .context import Probe
from .exceptions import describe
from .findings import Verdict

if TYPE_CHECKING:
    from types import ModuleType


def main(arguments: List[str]) -> int:
    """Run the check named by `arguments`; 0 once a result file is written."""
    check_path, request_path, result_path = (Path(argument) for argument in arguments)
    request = json.loads(request_path.read_text(encoding="utf-8"))
    faulthandler.enable()
    # At the deadline the runner asks for the stacks before it ends the group.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    if request.get("watch_stdin"):
        parent_watch.start()
    probe = Probe(check_path, request, result_path)
    result_file.write(result_path, _examine(probe, request.get("function", "run")))
    return 0


def _examine(probe: Probe, function_name: str) -> Dict[str, Any]:
    seconds = {"import_seconds": 0.0, "run_seconds": 0.0}
    error = None
    try:
        check = _load(probe.check_path)
        with _Stopwatch(seconds, "import_seconds"):
            for name in getattr(check, "REQUIRES", ()):
                importlib.import_module(name)
        with _Stopwatch(seconds, "run_seconds"):
            getattr(check, function_name)(probe)
        probe.conclude()
    except Verdict as verdict:
        # A verdict spoken while an exception was handled keeps that exception.
        cause = verdict.__cause__ or verdict.__context__
        if cause is not None and not isinstance(cause, Verdict):
            error = describe(cause).error
        if probe.status == "skip":
            probe.conclude()
    except BaseException as raised:
        described = describe(raised)
        probe.settle(described.status, described.template, described.values)
        error = described.error
    return probe.result(error=error, peak_memory=probe.peak_memory(), **seconds)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("llmenv_check_" + path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Stopwatch:
    """Puts the monotonic seconds of its block into `seconds[name]`, also when the block raises."""

    def __init__(self, seconds: Dict[str, float], name: str) -> None:
        self._seconds = seconds
        self._name = name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = time.perf_counter() - self._start
