"""What the word at the cursor may become: a view, a column, a word of SQL."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llmenv_cli.sql.views import View

WORDS = tuple(
    re.findall(
        r"\w+",
        """
        ple SELECT DISTINCT FROM WHERE GROUP BY HAVING ORDER LIMIT OFFSET QUALIFY AS ON USING JOIN LEFT
        RIGHT FULL INNER CROSS ASOF LATERAL UNION ALL INTERSECT EXCEPT WITH RECURSIVE VALUES CASE WHEN THEN
        ELSE END AND OR NOT IN IS NULL TRUE FALSE BETWEEN LIKE ILIKE EXISTS ASC DESC NULLS FIRST LAST OVER
        PARTITION WINDOW ROWS RANGE FILTER INTERVAL CAST EXCLUDE REPLACE COLUMNS DESCRIBE SUMMARIZE PIVOT
        UNPIVOT DATE TIMESTAMP count sum avg median min max mode stddev quantile_cont arg_max arg_min list
        unnest string_agg first last coalesce nullif greatest least round abs ln exp sqrt date_trunc
        date_diff date_part epoch strftime now lower upper trim length replace split_part starts_with
        contains regexp_matches regexp_extract row_number rank lag lead ntile len list_avg list_median
        map_keys json_extract_string any_value bool_and bool_or
        """,
    )
)
COMMANDS = {"\\d": "views, or one view", "\\q": "leave", "\\?": "help"}
WORD = re.compile(r"\w*$")
OWNER = re.compile(r"(\w+)\.\w*$")
NAMED = re.compile(r"\b(?:from|join)\s+(?:v1\.)?(\w+)(?:\s+(?:as\s+)?(\w+))?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Suggestion:
    text: str
    replaces: int
    """Characters before the cursor."""
    about: str


def suggestions(before: str, after: str, views: Sequence[View]) -> list[Suggestion]:
    """For a cursor between the two: first what the statement already names."""
    start = before.lstrip()
    if start.startswith("\\"):
        return _after_command(start, views)
    typed = WORD.search(before)
    prefix = typed[0] if typed else ""
    named = _named(before + after, views)
    if owner := OWNER.search(before):
        found = _columns([named[owner[1].lower()]] if owner[1].lower() in named else ())
        if owner[1].lower() == "v1":
            found = ((view.name, "view") for view in views)
    elif not prefix:
        return []
    else:
        found = _all(named, views)
    return _matching(found, prefix)


def _all(named: dict[str, View], views: Sequence[View]) -> Iterator[tuple[str, str]]:
    yield from _columns({view.name: view for view in named.values()}.values())
    yield from ((view.name, "view") for view in views)
    if not named:
        yield from _columns(views)
    yield from ((word, "") for word in WORDS)


def _columns(views: Iterable[View]) -> Iterator[tuple[str, str]]:
    for view in views:
        yield from ((column.name, f"{view.name}, {column.type}") for column in view.columns)


def _matching(found: Iterable[tuple[str, str]], prefix: str) -> list[Suggestion]:
    """Each once, words of SQL in the case that is being typed."""
    kept: dict[str, str] = {}
    for text, about in found:
        if text.lower().startswith(prefix.lower()):
            written = text if about else (text.lower() if prefix.islower() else text.upper())
            kept.setdefault(written, about)
    return [Suggestion(text, len(prefix), about) for text, about in kept.items()]


def _named(text: str, views: Sequence[View]) -> dict[str, View]:
    """The views of a statement by their names and by what it calls them."""
    known = {view.name: view for view in views}
    found = {}
    for name, called in NAMED.findall(text):
        if view := known.get(name.lower()):
            found[name.lower()] = view
            if called and called.upper() not in WORDS:
                found[called.lower()] = view
    return found


def _after_command(start: str, views: Sequence[View]) -> list[Suggestion]:
    command, _, name = start.partition(" ")
    if " " not in start:
        return [
            Suggestion(each, len(start), about) for each, about in COMMANDS.items() if each.startswith(start)
        ]
    if command != "\\d":
        return []
    return [
        Suggestion(view.name, len(name), view.meaning) for view in views if view.name.startswith(name.lower())
    ]
