"""How much one peer may ask: calls a second and calls at once, so that none takes what the others need.

A peer is a machine, a person's token, or the address of whoever is not known.  Whoever asks for more is sent
away with NoRoomError, to come again later.  What is kept is bounded however many addresses come.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.errors import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_PEERS = 10_000
"""The one that asked longest ago is forgotten for one more."""


@dataclass(frozen=True)
class Allowance:
    """Calls: so many at one moment, then so many a second, and so many that are open at once."""

    burst: float
    a_second: float
    at_once: int

    def written(self) -> str:
        if self.a_second < 1:
            return f"{self.a_second * 3_600:g} calls an hour"
        return f"{self.a_second:g} calls a second"


PERSON = Allowance(burst=200, a_second=50, at_once=32)
MACHINE = Allowance(burst=120, a_second=2, at_once=16)
# A lab behind one address that rolls out must not be held up.
ADDRESS = Allowance(burst=5_000, a_second=200, at_once=256)

REFUSED = Allowance(burst=20, a_second=1 / 3_600, at_once=1)
"""Of one address, in the audit."""


@dataclass(frozen=True)
class Peer:
    name: str
    allowance: Allowance


@dataclass
class Account:
    credit: float
    at: float
    open: int = 0


class PeerLimits:
    """Lives in the event loop."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    @contextmanager
    def call(self, peer: Peer) -> Iterator[None]:
        """Counts one call until it ends.  Raises NoRoomError."""
        account = self._account(peer)
        if account.open >= peer.allowance.at_once:
            raise NoRoomError(f"{peer.allowance.at_once} calls are open already: end some of them.")
        self.spend(peer)
        account.open += 1
        try:
            yield
        finally:
            account.open -= 1

    def spend(self, peer: Peer) -> None:
        """Raises NoRoomError for one call too many."""
        account = self._account(peer)
        if account.credit < 1:
            raise NoRoomError(f"More than {peer.allowance.written()}: come again later.")
        account.credit -= 1

    def has_credit(self, peer: Peer) -> bool:
        return self._account(peer).credit >= 1

    def _account(self, peer: Peer) -> Account:
        now = self._now()
        account = self._accounts.setdefault(peer.name, Account(peer.allowance.burst, now))
        earned = (now - account.at) * peer.allowance.a_second
        account.credit, account.at = min(account.credit + earned, peer.allowance.burst), now
        self._accounts.move_to_end(peer.name)
        while len(self._accounts) > MOST_PEERS:
            self._accounts.popitem(last=False)
        return account
