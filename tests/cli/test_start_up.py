"""llmenv starts fast: `--help` loads click and nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "grpc",
    "google.protobuf",
    "duckdb",
    "pyarrow",
    "numpy",
    "rich",
    "cryptography",
    "jinja2",
    "platformdirs",
    "prompt_toolkit",
)
LOADED_BY = """
import json, sys
from llmenv_cli.main import main
sys.argv = ["llmenv", *{arguments!r}]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0, ended.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules_loaded_by(*arguments: str) -> set[str]:
    code = LOADED_BY.format(arguments=list(arguments))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["check", "--help"],
        ["run", "show", "--help"],
        ["sql", "--help"],
        ["export", "--help"],
        ["fleet", "report", "--help"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Neither gRPC nor protobuf nor a database nor rich is needed to print help."""
    loaded = modules_loaded_by(*arguments)
    assert [module for module in HEAVY if module in loaded] == []


def test_a_report_needs_no_grpc() -> None:
    """A run in a file is shown without a collector, so without its libraries."""
    run = Path(__file__).with_name("runs") / "ready_m2_ultra.json"
    loaded = modules_loaded_by("run", "show", str(run), "--format", "md")
    assert [module for module in ("grpc", "duckdb", "pyarrow", "numpy", "rich") if module in loaded] == []
