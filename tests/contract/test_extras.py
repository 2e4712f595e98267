"""A plain install is the CLI: the other programs name the extra that they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

# As an interpreter without the package would answer.
WITHOUT = """
import sys
sys.modules[{package!r}] = None
sys.argv[1:] = {arguments}
from {module} import main
sys.exit(main())
"""


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
    code = WITHOUT.format(package=package, module=module, arguments=arguments)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=str(tmp_path), check=False
    )
    program = module.partition(".")[0].replace("_", "-")
    assert ended.stderr == f"{program}: The package {package} is missing: pip install '{extra}'.\n"
    assert ended.returncode != 0
