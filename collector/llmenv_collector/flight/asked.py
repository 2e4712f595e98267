"""What a driver's ticket holds: the statement itself, so that nothing is kept for one that is never redeemed.

Whoever makes one up asks no more than they may ask anyway.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from llmenv.ids import new_id

from llmenv_collector.errors import UsageError
from llmenv_collector.sql.statements import Question

MAX_ROWS_HEADER = "llmenv-max-rows"
"""Of a call: rows at most, as its caller wants them; then an answer that is cut is no error."""


@dataclass(frozen=True)
class Asked:
    """One statement that a driver was promised the answer of."""

    asked_id: str
    sql: str
    arrow_parameters: bytes = b""
    max_rows: int = 0

    @classmethod
    def new(cls, sql: str, *, arrow_parameters: bytes = b"", max_rows: int = 0) -> Asked:
        return cls(new_id(), sql, arrow_parameters, max_rows)

    @classmethod
    def from_handle(cls, handle: bytes) -> Asked:
        """Raises UsageError for what is none of ours."""
        try:
            asked_id, sql, parameters, max_rows = json.loads(handle)
            str(sql).encode()  # JSON may hold what is no text
            return cls(str(asked_id), str(sql), base64.b64decode(parameters), int(max_rows))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise UsageError("The ticket is none of this collector's: ask again.") from error

    def handle(self) -> bytes:
        parameters = base64.b64encode(self.arrow_parameters).decode()
        return json.dumps([self.asked_id, self.sql, parameters, self.max_rows]).encode()

    def question(self, person: str) -> Question:
        return Question(
            self.sql, max_rows=max(0, self.max_rows), person=person, arrow_parameters=self.arrow_parameters
        )


def max_rows_of(text: str) -> int:
    """Of the header; 0 without one."""
    if not text.isascii() or not (text or "0").isdigit():
        raise UsageError(f"{MAX_ROWS_HEADER} must be a whole number, not {text!r}.")
    return int(text or "0")
