"""How pages name checks, verdicts, machines and times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Sentence, Status


class Wording:
    """Of one language."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self.say = texts.say

    def check(self, name: str) -> str:
        return self._texts.name_of("check", name)

    def status(self, status: Status.ValueType) -> str:
        """The word of a status; that of a newer agent is unknown here."""
        return self.say(f"status.{WORDS.get(status, 'unknown')}")

    def sentence(self, sentence: Sentence) -> str:
        return self._texts.sentence(sentence)

    def moment(self, timestamp: Timestamp) -> str:
        """In UTC, to the minute."""
        return f"{timestamp.ToDatetime():%Y-%m-%d %H:%M} UTC"
