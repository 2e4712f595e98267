"""Reports that were made, for whoever asks the same again.

A report serves until something new is committed.  One that took a second or more serves after that as well,
for ten times as long as it took and a minute at most, and then says how old it is.  Who asks while the same
report is being made waits for that one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmenv_collector.fleet_report.limits import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

MOST = 8
KEEP_FACTOR, KEEP_SECONDS, QUICK_SECONDS = 10, 60.0, 1.0
"""Times of the time that a report took; at most so long; what takes less is not kept beyond a commit."""


@dataclass
class Answer:
    """A report, and what it is good for.  Times are monotonic, seconds."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    report: messages.GetFleetReportResponse | None = None
    commits: int = -1
    made_at: float = 0.0
    keep_until: float = 0.0


class Answers:
    """Every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self,
        question: Hashable,
        commits: Callable[[], int],
        make: Callable[[], messages.GetFleetReportResponse],
    ) -> messages.GetFleetReportResponse:
        """A report that the caller may not change."""
        answer = self._answer(question)
        with answer.lock:
            now = self._clock()
            if answer.report is not None and answer.commits == commits():
                return answer.report
            if answer.report is not None and now < answer.keep_until:
                return aged(answer.report, seconds=now - answer.made_at)
            # Counted before: what is committed meanwhile may not be in it.
            seen = commits()
            answer.report = make()
            answer.commits, answer.made_at = seen, self._clock()
            took = answer.made_at - now
            keep = min(KEEP_SECONDS, KEEP_FACTOR * took) if took >= QUICK_SECONDS else 0.0
            answer.keep_until = answer.made_at + keep
            return answer.report

    def _answer(self, question: Hashable) -> Answer:
        with self._lock:
            answer = self._kept.pop(question, None) or Answer()
            self._kept[question] = answer
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
            return answer


def aged(report: messages.GetFleetReportResponse, *, seconds: float) -> messages.GetFleetReportResponse:
    """The same, and how old it is."""
    copy: Any = type(report)()
    copy.CopyFrom(report)
    copy.method.limits.append(
        sentence(
            "This report was made {seconds} s ago; what was received since is not in it.",
            seconds=f"{seconds:.0f}",
        )
    )
    answer: messages.GetFleetReportResponse = copy
    return answer
