"""Wanted versions from a requirements file: a pin a line, and a sentence with its line for what is none.

Follows `-r OTHER`. Options of pip say nothing about versions and are passed over; a requirement without a
version, with a marker, or from an address wants no version of every machine, so it is left out and said.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from llmenv.named_file import refuse_pipes

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_FILE = 2**20
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
REQUIREMENT = re.compile(rf"(?P<name>{NAME})\s*(?:\[[^\]]*\])?\s*(?P<rest>.*)")
VERSION = r"[0-9][A-Za-z0-9.!+_-]*"
CLAUSE = re.compile(rf"(?:(?:==|!=)\s*{VERSION}(?:\.\*)?|(?:<=|>=|<|>|~=|===)\s*{VERSION})")
INCLUDE = re.compile(r"(?:-r|--requirement)(?:\s+|=)?(?P<file>.+)")
HASH = re.compile(r"\s--hash[= ]\S+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WantedVersion:
    """The name is normalised, the specifier as in the file but for its blanks."""

    package: str
    specifier: str
    where: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """`left_out` has a sentence for each line that wants no version of every machine."""

    versions: tuple[WantedVersion, ...]
    left_out: tuple[str, ...]


def read_requirements(file: Path) -> Wanted:
    """Raises UsageError for what cannot be read or understood, and where no version is wanted at all."""
    found = list(_read(file, ()))
    versions = [one for one in found if isinstance(one, WantedVersion)]
    first: dict[str, WantedVersion] = {}
    for one in versions:
        if one.package in first:
            raise UsageError(f"{one.where}: {one.package} is wanted already in {first[one.package].where}.")
        first[one.package] = one
    if not versions:
        raise UsageError(f"{file} wants no version of any package, such as torch==2.11.0.")
    return Wanted(versions=tuple(versions), left_out=tuple(one for one in found if isinstance(one, str)))


def normalised(name: str) -> str:
    """As indexes of packages compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_line(line: str, *, where: str) -> WantedVersion | str | None:
    """A version that is wanted, a sentence why there is none, or nothing where the line says nothing."""
    text = HASH.sub("", re.sub(r"(^|\s)#.*", "", line)).strip()
    if not text or text.startswith("--"):
        return None
    if text.startswith(("-", ".", "/")) or "://" in text:
        return f"{where}: {text!r} names no version, so it is left out."
    requirement, _, marker = text.partition(";")
    match = REQUIREMENT.fullmatch(requirement.strip())
    if match is None:
        raise UsageError(f"{where}: {text!r} is no requirement such as torch==2.11.0.")
    if match["rest"].startswith("@"):
        return f"{where}: {text!r} names no version, so it is left out."
    specifier = _specifier(match["rest"], where=where, text=text)
    if marker:
        return f"{where}: {text!r} holds on some machines only, so it is left out."
    if not specifier:
        return f"{where}: {text!r} names no version, so it is left out."
    return WantedVersion(package=normalised(match["name"]), specifier=specifier, where=where)


def _read(file: Path, above: tuple[Path, ...]) -> Iterator[WantedVersion | str]:
    if file.resolve() in above:
        raise UsageError(f"{file} includes itself.")
    for number, line in _lines(_text(file)):
        where = f"{file}, line {number}"
        include = INCLUDE.fullmatch(re.sub(r"(^|\s)#.*", "", line).strip())
        if include is not None:
            yield from _read(file.parent / include["file"].strip(), (*above, file.resolve()))
            continue
        found = parse_line(line, where=where)
        if found is not None:
            yield found


def _text(file: Path) -> str:
    try:
        refuse_pipes(file)
        with file.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    if len(content) > LARGEST_FILE:
        raise UsageError(f"{file} is no requirements file: it is larger than 1 MiB.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no requirements file: it is not UTF-8 at byte {error.start}.") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with the number of their first; a backslash at the end continues one."""
    joined, begin = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begin = begin or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        yield begin, joined + line
        joined, begin = "", 0
    if joined:
        yield begin, joined


def _specifier(rest: str, *, where: str, text: str) -> str:
    inner = rest.strip()
    if inner.startswith("(") and inner.endswith(")"):
        inner = inner[1:-1].strip()
    if not inner:
        return ""
    clauses = [clause.strip() for clause in inner.split(",") if clause.strip()]
    wrong = next((clause for clause in clauses if not CLAUSE.fullmatch(clause)), None)
    if wrong is not None or not clauses:
        raise UsageError(
            f"{where}: {wrong or inner!r} in {text!r} is no version such as ==2.11.0 or >=2.10,<3."
        )
    return ",".join("".join(clause.split()) for clause in clauses)
