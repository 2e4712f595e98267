"""Carries one check: `python -X utf8 -u -I __main__.py CHECK.py PARAMETERS.json RESULT_FILE`.

Mounts its own folder as the package `llmenv_probe` by file path, so that the
target interpreter's sys.path stays as its users see it.
"""

import importlib.util
import sys
from pathlib import Path


def _mount(folder: Path) -> None:
    """Make `llmenv_probe` importable from `folder` without touching sys.path."""
    spec = importlib.util.spec_from_file_location(
        "llmenv_probe", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"llmenv_probe cannot be loaded from {folder}")
    package = importlib.util.module_from_spec(spec)
    sys.modules["llmenv_probe"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _mount(Path(__file__).resolve().parent)
    sys.exit(importlib.import_module("llmenv_probe.main").main(sys.argv[1:]))
