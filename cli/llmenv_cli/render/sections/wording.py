"""How a check, its verdict and its reason are named wherever a report speaks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS

from llmenv_cli.render.numbers import moment, moment_in_column

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.timestamp_pb2 import Timestamp
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Status

    from llmenv_cli.render.run_view import CheckView

MARKS = {"pass": "✓", "warn": "!", "skip": "○", "unknown": "?"}
PROBLEM_MARK = "✗"


def verdict(word: str, texts: Texts) -> str:
    """A mark and the word, such as "✓ pass"."""
    return f"{MARKS.get(word, PROBLEM_MARK)} {texts.say(f'status.{word}')}"


def status_of(status: Status.ValueType, texts: Texts) -> str:
    """The word of a status; that of a newer agent is unknown here."""
    return texts.say(f"status.{WORDS.get(status, 'unknown')}")


def title(name: str, texts: Texts) -> str:
    """What a check is called, such as "PyTorch basics"."""
    return texts.name_of("check", name)


def title_with_name(name: str, texts: Texts) -> str:
    """The same with the name that commands take."""
    return f"{title(name, texts)} (`{name}`)"


def titles(names: Iterable[str], texts: Texts) -> str:
    return texts.say("word.list_separator").join(title(name, texts) for name in names)


def reason(check: CheckView, texts: Texts) -> str:
    """The sentence of the result, or that there is none."""
    if check.result is None:
        return texts.say("checks.never_ran")
    return texts.sentence(check.result.reason) or texts.say("checks.no_reason")


def closed(text: str, texts: Texts) -> str:
    """With a full stop where another sentence follows: what a library raises often has none."""
    return text if text.endswith((".", "!", "?", "…", "。")) else text + texts.say("word.full_stop")


def remedy(check: CheckView, texts: Texts) -> str:
    """What helps, by the catalogue; empty when it has nothing to say."""
    return texts.pick(check.issue.remedy) if check.issue is not None else ""


def when_in_column(timestamp: Timestamp) -> str:
    return moment_in_column(timestamp.ToDatetime())


def when(timestamp: Timestamp) -> str:
    return moment(timestamp.ToDatetime())
