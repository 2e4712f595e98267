"""Runs the work of one check with nothing around it: the baseline of suite_overhead.py.

`TARGET_PYTHON plain_check.py CHECK.py` imports what the check requires and calls its
`run` with a stand-in that records nothing: no conditions, no facts, no cases on
disk, no deadline, no result.  Finding and loading a language model is work of the
check, so that part is the probe's own.
"""

import contextlib
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROBE = Path(__file__).resolve().parent.parent / "agent" / "llmenv_agent" / "probe"


class Nothing:
    """Answers every call with nothing, and is its own context manager."""

    def __getattr__(self, name):
        return lambda *_, **__: None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        return kind is not None and issubclass(kind, Exception)


class PlainAccelerator(Nothing):
    def torch_device(self):
        import torch

        return torch.device("cpu")


class PlainProbe(Nothing):
    device = "cpu"

    def __init__(self, check_path, parameters, scratch):
        self.check_path = check_path
        self.parameters = parameters
        self.scratch = scratch
        self.accelerator = PlainAccelerator()
        self.case_statuses = {}
        self.language_model = probe_module("language_model").LanguageModel(self)

    def measure(self, name, value, unit, better=None, trials=(), warmups=()):
        return value

    def expect(self, name, met, *_, **__):
        return met

    def peak_memory_bytes(self):
        return 0.0

    def is_completed(self, name):
        return False

    def case(self, name, **_):
        return Nothing()

    def run_in_second_process(self, name, environment=None, **_):
        command = [sys.executable, __file__, str(self.check_path), f"run_{name}"]
        subprocess.run(command, env={**os.environ, **(environment or {})}, check=False)
        return Nothing()


def probe_module(name):
    if "llmenv_probe" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "llmenv_probe", PROBE / "__init__.py", submodule_search_locations=[str(PROBE)]
        )
        sys.modules["llmenv_probe"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"llmenv_probe.{name}")


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    path = Path(sys.argv[1])
    function = sys.argv[2] if len(sys.argv) > 2 else "run"
    check = load(path)
    for name in getattr(check, "REQUIRES", ()):
        importlib.import_module(name)
    parameters = dict(getattr(check, "PARAMETERS", {}))
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        getattr(check, function)(PlainProbe(path, parameters, Path(scratch)))


if __name__ == "__main__":
    main()
