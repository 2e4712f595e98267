"""A plain install is the CLI: the other programs name the extra that they need."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# As an interpreter without the package would answer.
WITHOUT = """
import sys
sys.modules[{package!r}] = None
sys.argv[1:] = {arguments}
from {module} import main
sys.exit(main())
"""


def without(package: str, module: str, arguments: list[str], folder: object, **variables: str) -> str:
    """What the program says on stderr, without traceback."""
    code = WITHOUT.format(package=package, module=module, arguments=arguments)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=str(folder),
        env={**os.environ, **variables},
        check=False,
    )
    assert ended.returncode != 0
    return ended.stderr


@pytest.mark.parametrize(
    ("module", "package", "arguments", "extra"),
    [
        ("llmenv_agent.main", "psutil", ["facts"], "llmenv[agent]"),
        ("llmenv_collector.main", "cryptography", ["init", "--data", "nowhere"], "llmenv[collector]"),
        ("llmenv_collector.main", "duckdb", ["migrate", "--data", "nowhere"], "llmenv[collector]"),
    ],
)
def test_a_missing_package_names_its_extra(
    tmp_path: object, module: str, package: str, arguments: list[str], extra: str
) -> None:
    """One sentence, no traceback."""
    program = module.partition(".")[0].replace("_", "-")
    said = without(package, module, arguments, tmp_path)
    assert said == f"{program}: The package {package} is missing: pip install '{extra}'.\n"


def test_a_lake_names_its_extra_too(tmp_path: Path) -> None:
    """What the file store needs is not enough for it; what is not set is said first, one sentence each."""
    main = "llmenv_collector.main"
    subprocess.run(
        [sys.executable, "-m", main, "init", "--data", tmp_path / "data"], capture_output=True, check=True
    )
    lake = {
        "LLMENV_STORE": "ducklake",
        "LLMENV_LAKE_CATALOG": "postgresql://llmenv@127.0.0.1/llmenv",
        "LLMENV_LAKE_DATA": str(tmp_path / "lake"),
    }
    for variable, remedy in (
        ("LLMENV_LAKE_CATALOG", "LLMENV_LAKE_CATALOG, or lake_catalog in"),
        ("LLMENV_LAKE_DATA", "--lake-data, or lake_data in"),
    ):
        said = without("psycopg", main, ["serve", "--data", "data"], tmp_path, **{**lake, variable: ""})
        assert remedy in said, said
        assert said.count("\n") == 1
    said = without("psycopg", main, ["serve", "--data", "data"], tmp_path, **lake)
    assert said == (
        "llmenv-collector: The package psycopg is missing: pip install 'llmenv[collector,lake]'.\n"
    )
