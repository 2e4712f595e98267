"""What a parameter of a check may be: one line of text in the check's file, by the parameter's name.

    "1..100"             a whole number from 1 to 100
    "8..4096 by 8"       and a multiple of 8
    "0.001..0.1"         a number, since an end has a point
    "auto | float32"     one of these words
    "text"               text
    "names"              a list of texts, or one text with commas between them
    "list of 1..64"      a list of such values, none of them twice

No list and no text is empty.  A line of 1 to 4096 refuses what no library has a good word for, and what
a check would answer with a failure that says nothing of the machine.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Protocol

_NUMBER = r"\d+(?:\.\d+)?"
_RANGE = re.compile(rf"(?P<least>{_NUMBER})\.\.(?P<most>{_NUMBER})(?: by (?P<step>[1-9]\d*))?")
_WORDS = re.compile(r"[A-Za-z][\w-]*(?: \| [A-Za-z][\w-]*)*")
_LIST = "list of "


class Rule(Protocol):
    """`words` goes on after "must be"; `read` gives the value as the check is given it.

    `read` raises ValueError for what the rule does not allow.
    """

    @property
    def words(self) -> str: ...

    def read(self, value: object) -> Any: ...


@dataclasses.dataclass(frozen=True)
class _Range:
    least: float
    most: float
    step: int
    is_whole: bool

    @property
    def words(self) -> str:
        kind = "a whole number" if self.is_whole else "a number"
        multiple = f", a multiple of {self.step}" if self.step > 1 else ""
        return f"{kind} from {self.least:g} to {self.most:.15g}{multiple}"

    def read(self, value: object) -> Any:
        kinds = int if self.is_whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not self._holds(value):
            raise ValueError("no such number")
        return value

    def _holds(self, number: float) -> bool:
        """NaN is in no range, and a multiple is asked for of whole numbers alone."""
        return self.least <= number <= self.most and not (self.is_whole and number % self.step)


@dataclasses.dataclass(frozen=True)
class _OneOf:
    choices: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"one of {', '.join(self.choices)}"

    def read(self, value: object) -> Any:
        if value not in self.choices:
            raise ValueError("none of these")
        return value


class _Text:
    words = "text"

    def read(self, value: object) -> Any:
        if not isinstance(value, str) or not value.strip():
            raise ValueError("no text")
        return value


@dataclasses.dataclass(frozen=True)
class _List:
    """`may_be_text` lets people write `a,b`."""

    each: Rule
    words: str
    may_be_text: bool = False

    def read(self, value: object) -> Any:
        if self.may_be_text and isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("no list, or an empty one")
        read = [self.each.read(each) for each in value]
        if len(set(read)) < len(read):
            raise ValueError("one value twice")
        return read


def parse_rule(text: object) -> Rule:
    """Raises ValueError for what is no rule."""
    if not isinstance(text, str):
        raise ValueError("a rule is text")  # noqa: TRY004 # the file is wrong, not our types
    if text.startswith(_LIST):
        each = parse_rule(text.removeprefix(_LIST))
        return _List(each, f"a list of which each is {each.words}, none twice")
    if text == "names":
        return _List(_Text(), "names, in a list or with commas between them", may_be_text=True)
    if text == "text":
        return _Text()
    if found := _RANGE.fullmatch(text):
        return _range(found["least"], found["most"], found["step"] or "1")
    if _WORDS.fullmatch(text):
        return _OneOf(tuple(text.split(" | ")))
    raise ValueError(f"{text!r} is no rule")


def _range(least: str, most: str, step: str) -> Rule:
    is_whole = "." not in least + most
    if float(least) > float(most) or (not is_whole and step != "1"):
        raise ValueError("an empty range, or multiples of a fraction")
    return _Range(float(least), float(most), int(step), is_whole)
