"""What a target consists of, as its own interpreter lists it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from llmenv.fleet.v1 import environment_pb2

from llmenv_agent.targets import Target, TargetError, environment_folder, environment_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INVENTORY = Path(__file__).parent / "probe" / "inventory.py"
INVENTORY_TIMEOUT_SECONDS = 60.0
OLDEST_PYTHON = (3, 9)
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "CREDENTIAL", "KEY")


def describe(target: Target) -> environment_pb2.Environment:
    """The target's interpreter and packages, as its own interpreter lists them.

    It is asked twice at once: isolated, as checks run, and as a trainer starts
    it.  What only the second sees has the origin "user_site" or "pythonpath".
    Raises TargetError where the isolated interpreter does not answer, or is older than the probe's Python.
    """
    with tempfile.TemporaryDirectory(prefix="llmenv-inventory-") as name:
        folder = Path(name)
        isolated = _Inventory(target, folder / "isolated", isolated=True)
        opened = _Inventory(target, folder / "open", isolated=False)
        try:
            seen = isolated.read()
            _require_python(target, seen["python_version"])
            also_seen = _read_if_it_answers(opened)
        finally:
            opened.end()
    return _environment(target, seen, also_seen)


class _Inventory:
    """One run of the inventory script, started at once and read later."""

    def __init__(self, target: Target, output: Path, *, isolated: bool) -> None:
        self._python = target.python
        self._output = output
        self._log = output.with_suffix(".log")
        variables = target.environment()
        if not isolated and "PYTHONPATH" not in variables and "PYTHONPATH" in os.environ:
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]
        flags = ["-X", "utf8", *(["-I"] if isolated else [])]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [str(target.python), *flags, str(INVENTORY), str(output)],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        except OSError as error:
            raise TargetError(f"{target.python} cannot be started: {error.strerror}.") from error

    def read(self) -> dict[str, Any]:
        try:
            self._process.wait(INVENTORY_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.end()
            raise TargetError(
                f"{self._python} does not list its packages within {INVENTORY_TIMEOUT_SECONDS:.0f} s; "
                "name the interpreter itself, not a script that starts one."
            ) from error
        try:
            content: dict[str, Any] = json.loads(self._output.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TargetError(
                f"{self._python} does not list its packages as Python {_dotted(OLDEST_PYTHON)} or later "
                f"does; it said: {self._last_words()}."
            ) from error
        return content

    def end(self) -> None:
        """End it with what it started: a script in the interpreter's place may wait for a child.

        It stays in this process's group, so that Ctrl-C reaches it too.
        """
        if self._process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(self._process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return said[:300].rstrip(".") or f"nothing, and ended with code {self._process.returncode}"


def _require_python(target: Target, version: str) -> None:
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PYTHON:
        raise TargetError(
            f"{target.python} is Python {version}; checks need {_dotted(OLDEST_PYTHON)} or later in a target."
        )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(str(part) for part in version)


def _read_if_it_answers(opened: _Inventory) -> Sequence[Mapping[str, str]]:
    """Its packages; none where a broken user site, which checks never see, keeps it from answering."""
    try:
        packages: list[dict[str, str]] = opened.read()["packages"]
    except TargetError:
        return []
    return packages


def _environment(
    target: Target, seen: Mapping[str, Any], also_seen: Sequence[Mapping[str, str]]
) -> environment_pb2.Environment:
    packages = {(each["name"], each["version"], each["location"]): "environment" for each in seen["packages"]}
    for each in also_seen:
        packages.setdefault((each["name"], each["version"], each["location"]), each["origin"])
    rows = sorted({(name, version, origin) for (name, version, _), origin in packages.items()})
    environment = environment_pb2.Environment(
        name=target.name,
        python_path=str(target.python),
        python_version=seen["python_version"],
        python_implementation=seen["python_implementation"],
        python_architecture=seen["python_architecture"],
        kind=environment_kind(environment_folder(target.python)),
        packages=[environment_pb2.Package(name=row[0], version=row[1], origin=row[2]) for row in rows],
        variables={name: value for name, value in target.own_variables().items() if not _is_secret(name)},
    )
    environment.environment_hash = environment_hash(environment)
    return environment


def environment_hash(environment: environment_pb2.Environment) -> str:
    lines = [environment.python_version, environment.python_architecture]
    lines += [f"{each.name}=={each.version} {each.origin}" for each in environment.packages]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _is_secret(name: str) -> bool:
    return any(word in name.upper() for word in _SECRET_WORDS)
