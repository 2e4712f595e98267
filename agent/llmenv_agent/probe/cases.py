"""Cases: the rows of a table-driven check, each written to disk when it begins and when it ends.

The file is RESULT_FILE + ".cases", JSON lines of {"begin": {...}} and
{"end": {...}}.  A case that ends or hangs the process has a begin and no end,
which is how the agent knows whom to blame.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Type

from .exceptions import describe
from .findings import Findings, Verdict
from .result_file import encoded

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class CaseLog:
    """Appends to the cases file; each line is handed to the system at once."""

    def __init__(self, result_path: Path) -> None:
        self._path = result_path.with_name(result_path.name + ".cases")

    def append(self, event: str, case: Dict[str, Any]) -> None:
        with self._path.open("ab") as stream:
            stream.write(encoded({event: case}) + b"\n")


class Case(Findings):
    """One row. What its block raises becomes its status and goes no further."""

    def __init__(self, name: str, parameters: Dict[str, Any], *, log: CaseLog, ended: List[Case]) -> None:
        super().__init__()
        self.name = name
        self.parameters_json = json.dumps(parameters, sort_keys=True)
        self._log = log
        self._ended = ended

    def __enter__(self) -> Case:  # noqa: PYI034 # typing.Self is younger than Python 3.9
        self._log.append("begin", {"name": self.name, "parameters_json": self.parameters_json})
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        raised: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> bool:
        duration = time.perf_counter() - self._start
        self._judge(raised)
        self._log.append("end", {**self.as_message(), "duration_seconds": duration})
        self._ended.append(self)
        return raised is None or isinstance(raised, Exception) or self._is_own_verdict(raised)

    def _judge(self, raised: Optional[BaseException]) -> None:
        if raised is None:
            if not self.status:
                self.settle("error", "The case ended without a verdict.", {})
        elif isinstance(raised, Verdict):
            if raised.owner is not self:
                self.settle(raised.owner.status, "{reason}", {"reason": raised.owner.reason["text"]})
        else:
            described = describe(raised)
            self.settle(described.status, described.template, described.values)

    def _is_own_verdict(self, raised: BaseException) -> bool:
        return isinstance(raised, Verdict) and raised.owner is self

    def as_message(self) -> Dict[str, Any]:
        """The keys of `llmenv.fleet.v1.Case`, with the status as a word."""
        return {
            "name": self.name,
            "parameters_json": self.parameters_json,
            "status": self.status,
            "reason": self.reason,
            "measurements": self.measurements,
            "facts": self.facts,
            "remedy_id": self.remedy,
        }
