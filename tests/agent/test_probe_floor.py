"""The probe and the checks run on Python 3.9 and load nothing but the standard library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import llmenv_agent
import pytest

PACKAGE = Path(llmenv_agent.__file__).parent
CARRIED = sorted([*(PACKAGE / "probe").rglob("*.py"), *(PACKAGE / "checks").glob("*.py")])


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_syntax_is_that_of_python_3_9(path: Path) -> None:
    """The file parses with the grammar of Python 3.9."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_nothing_younger_than_python_3_9_is_used() -> None:
    """vermin finds no function, module or syntax that Python 3.9 lacks."""
    vermin = Path(sys.executable).with_name("vermin")
    command = [str(vermin), "-t=3.9-", "--violations", "--no-tips", *map(str, CARRIED)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_of_the_file_needs_the_standard_library_alone(path: Path) -> None:
    """What is imported at the top level is the probe itself or in the standard library."""
    names = {name for node in ast.parse(path.read_text(encoding="utf-8")).body for name in imported(node)}
    assert names - sys.stdlib_module_names - {"llmenv_probe"} == set()


def imported(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return {node.module.partition(".")[0]}
    return set()
