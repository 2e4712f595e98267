"""How often an address may fail to log in."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_FAILURES = 10
WITHIN_SECONDS = 300.0
MOST_ADDRESSES = 10_000
"""The one that failed longest ago is forgotten for one more."""


class Attempts:
    """Failures of each address; a success is no reason to forget them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_seconds(self, address: str) -> float:
        """How long it has to wait before it may try again; 0 when it may now."""
        failures = self._recent(address)
        if len(failures) < MOST_FAILURES:
            return 0.0
        return max(failures[0] + WITHIN_SECONDS - self._now(), 0.0)

    def failed(self, address: str) -> None:
        failures = self._recent(address)
        failures.append(self._now())
        self._failures[address] = failures
        self._failures.move_to_end(address)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)

    def _recent(self, address: str) -> deque[float]:
        failures = self._failures.get(address) or deque(maxlen=MOST_FAILURES)
        while failures and failures[0] + WITHIN_SECONDS <= self._now():
            failures.popleft()
        return failures
