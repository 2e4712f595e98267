"""How single fields of messages become values of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.catalog.status import WORDS

from llmenv_collector import clock

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from llmenv.fleet.v1 import result_pb2


def status_word(status: result_pb2.Status.ValueType) -> str:
    """A status that a newer agent added is unknown here."""
    return WORDS.get(status, "unknown")


def word(enum: Any, prefix: str, number: int) -> str:
    """The value's name in lower case without the enum's prefix; its number when it is not known here."""
    if number not in enum.values():
        return str(number)
    return str(enum.Name(number)).removeprefix(prefix).lower()


def number_of(enum: Any, prefix: str, word: str) -> int:
    """The value that was made a word."""
    return int(word) if word.isdigit() else int(enum.Value(prefix + word.upper()))


def optional(message: Message, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def time_of(message: Message, name: str) -> int | None:
    return clock.from_timestamp(getattr(message, name)) if message.HasField(name) else None
