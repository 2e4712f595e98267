"""Lists what this interpreter sees: `python [-I] inventory.py OUTPUT_FILE`.

Writes JSON: the interpreter's version, implementation and architecture, and for
each distribution its name (normalised by PEP 503), version, location and
origin.  The first distribution of a name on sys.path is the one imported, so it
is the one listed.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import site
import sys
from pathlib import Path
from typing import Any, Dict, List

_NAME = re.compile(r"^Name:\s*(\S+)", re.MULTILINE | re.IGNORECASE)
_VERSION = re.compile(r"^Version:\s*(\S+)", re.MULTILINE | re.IGNORECASE)


def inventory() -> Dict[str, Any]:
    return {
        "python_version": platform.python_version(),
        "python_implementation": platform.python_implementation(),
        "python_architecture": platform.machine(),
        "packages": packages(),
    }


def packages() -> List[Dict[str, str]]:
    found: Dict[str, Dict[str, str]] = {}
    for distribution in importlib.metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        header = text.partition("\n\n")[0]
        # Parsing the whole message takes ten times as long.
        name, version = _NAME.search(header), _VERSION.search(header)
        if name and version:
            normalised = re.sub(r"[-_.]+", "-", name.group(1)).lower()
            location = str(distribution.locate_file(""))
            row = {"name": normalised, "version": version.group(1), "location": location}
            found.setdefault(normalised, {**row, "origin": _origin(location)})
    return list(found.values())


def _origin(location: str) -> str:
    """Where a distribution that an isolated interpreter does not see comes from."""
    user_site = site.getusersitepackages()
    return "user_site" if location.startswith(user_site) else "pythonpath"


if __name__ == "__main__":
    if not sys.flags.isolated:
        del sys.path[0]  # the folder of this file, which no trainer has there
    Path(sys.argv[1]).write_text(json.dumps(inventory()), encoding="utf-8")
