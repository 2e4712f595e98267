"""Specifiers of versions as requirements state them: "==2.10.0", ">=5,<6", "~=2.1", "!=2.9.*".

As PEP 440 has them, without epochs.  A local part ("+cpu") counts only where the specifier names one, and
a version before a release ("2.11.0rc1") satisfies an exclusive bound of that release no more than it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CLAUSE = re.compile(r"\s*(===|==|!=|~=|<=|>=|<|>)\s*([A-Za-z0-9.!+_-]+(?:\.\*)?)\s*\Z")
VERSION = re.compile(
    r"v?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?P<pre_number>\d*))?"
    r"(?:(?:[-_.]?(?:post|rev|r)[-_.]?|-)(?P<post>\d+))?"
    r"(?:[-_.]?dev[-_.]?(?P<dev>\d*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?\Z",
    re.IGNORECASE,
)
STAGES = {"a": "a", "alpha": "a", "b": "b", "beta": "b", "c": "rc", "rc": "rc", "pre": "rc", "preview": "rc"}
FINAL = "z"


class SpecifierError(ValueError):
    """What is not understood, in words that end a sentence."""


@dataclass(frozen=True, order=True)
class Version:
    """Compares as PEP 440 orders; trailing zeros of the release do not count."""

    release: tuple[int, ...]
    stage: tuple[str, int]
    post: int
    dev: float
    local: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """Raises SpecifierError."""
        match = VERSION.match(text.strip())
        if match is None:
            raise SpecifierError(f"{text!r} is not a version")
        release = tuple(int(part) for part in match["release"].split("."))
        while len(release) > 1 and release[-1] == 0:
            release = release[:-1]
        stage = (FINAL, 0)
        if match["pre"]:
            stage = (STAGES[match["pre"].lower()], int(match["pre_number"] or 0))
        elif match["dev"] is not None and match["post"] is None:
            stage = ("", 0)  # 1.0.dev1 comes before 1.0a1
        dev = float("inf") if match["dev"] is None else float(match["dev"] or 0)
        local = re.sub(r"[-_.]", ".", (match["local"] or "").lower())
        return cls(release, stage, -1 if match["post"] is None else int(match["post"]), dev, local)

    @property
    def public(self) -> Version:
        return Version(self.release, self.stage, self.post, self.dev)

    @property
    def is_before_release(self) -> bool:
        return self.stage != (FINAL, 0) or self.dev != float("inf")


def satisfies(version: str, specifier: str) -> bool:
    """Whether every clause holds; what is no version satisfies none.  Raises SpecifierError."""
    clauses = clauses_of(specifier)
    try:
        found = Version.parse(version)
    except SpecifierError:
        return False
    return all(holds(operator, wanted, version, found) for operator, wanted in clauses)


def clauses_of(specifier: str) -> list[tuple[str, str]]:
    """Raises SpecifierError."""
    clauses = []
    for text in specifier.split(","):
        match = CLAUSE.match(text)
        if match is None:
            raise SpecifierError(f"{text.strip()!r} is no clause such as ==2.10.0 or >=5")
        operator, wanted = match.groups()
        if wanted.endswith(".*") and operator not in {"==", "!="}:
            raise SpecifierError(f"{text.strip()!r} uses .* with {operator}")
        parsed = wanted if operator == "===" else Version.parse(wanted.removesuffix(".*"))
        if operator == "~=" and len(wanted.split(".")) < 2:
            raise SpecifierError(f"{text.strip()!r} needs two numbers, such as ~=2.1")
        del parsed
        clauses.append((operator, wanted))
    return clauses


def holds(operator: str, wanted: str, text: str, found: Version) -> bool:
    if operator == "===":
        return text.strip().lower() == wanted.lower()
    if operator in {"==", "!="}:
        return equals(found, wanted) == (operator == "==")
    if operator == "~=":
        return found.public >= Version.parse(wanted) and begins_with(found, release_numbers(wanted)[:-1])
    return is_within(operator, found.public, Version.parse(wanted))


def is_within(operator: str, public: Version, bound: Version) -> bool:
    if operator == ">=":
        return public >= bound
    if operator == "<=":
        return public <= bound
    # Of the very release that is named, neither what comes before it nor what is put after it counts.
    is_of_it = public.release == bound.release and not bound.is_before_release
    if operator == "<":
        return public < bound and not (is_of_it and public.is_before_release and public.post == bound.post)
    return public > bound and not (is_of_it and public.post >= 0 > bound.post)


def equals(found: Version, wanted: str) -> bool:
    if wanted.endswith(".*"):
        return begins_with(found, release_numbers(wanted.removesuffix(".*")))
    bound = Version.parse(wanted)
    return found == bound if bound.local else found.public == bound


def begins_with(found: Version, numbers: tuple[int, ...]) -> bool:
    padded = found.release + (0,) * (len(numbers) - len(found.release))
    return padded[: len(numbers)] == numbers


def release_numbers(text: str) -> tuple[int, ...]:
    """All of them, trailing zeros too."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(part) for part in match[1].split(".")) if match else ()
