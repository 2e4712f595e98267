"""Which modules of the probe a check is made of, read from its imports without running them.

A check file may import from `llmenv_probe`, the name under which the probe's folder is mounted in the
target: a table of operations, a way of timing.  What it imports decides what it does, so it belongs to the
check's definition.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBE = Path(__file__).parent / "probe"
PACKAGE = "llmenv_probe"


def probe_sources(tree: ast.Module) -> list[Path]:
    """Files that `tree` imports from the probe, and those that these import, in the order of their paths."""
    found: set[Path] = set()
    waiting = list(_imported(tree, PROBE / "__main__.py"))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported_by(path)
    return sorted(found)


@functools.cache
def _imported_by(path: Path) -> tuple[Path, ...]:
    """Read once a process: the probe's files do not change beneath a running agent."""
    return tuple(_imported(ast.parse(path.read_bytes()), path))


def _imported(tree: ast.Module, importer: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            folder = _folder(node, importer)
            if folder is not None:
                yield from _modules(folder, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == PACKAGE:
                    yield from _modules(PROBE.joinpath(*parts[1:]), [])


def _folder(node: ast.ImportFrom, importer: Path) -> Path | None:
    """The module or package after `from`, as a path without its ending; None outside the probe."""
    parts = node.module.split(".") if node.module else []
    if node.level:
        return importer.parents[node.level - 1].joinpath(*parts)
    return PROBE.joinpath(*parts[1:]) if parts[:1] == [PACKAGE] else None


def _modules(place: Path, names: list[str]) -> Iterator[Path]:
    """The file of `place`, and of each name in it that is a module itself."""
    candidates = [place.with_suffix(".py"), place / "__init__.py"]
    candidates += [place / f"{name}.py" for name in names]
    candidates += [place / name / "__init__.py" for name in names]
    yield from (path for path in candidates if path.is_file())
