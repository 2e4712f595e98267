"""The fleet as somebody who watches knows it: machines, the newest results, and where to go on.

A thread reads what the collector says, so that a terminal can be drawn and left meanwhile; between the two
there is room for a few responses, and the collector is held up by a reader who is slower.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_watch_pb2 as messages
from llmenv.machine_names import machine_names

from llmenv_cli.errors import CliError, UnreachableError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from llmenv_cli.client import FleetClient

RETRY_SECONDS = 2.0
MOST_RESULTS = 200
MOST_RESPONSES = 8


@dataclasses.dataclass(frozen=True)
class Said:
    """A response; the first of a stream has all machines."""

    response: messages.WatchFleetResponse
    is_first: bool


@dataclasses.dataclass(frozen=True)
class Lost:
    """The collector does not answer, and is asked again."""

    why: str


class Feed:
    """What the collector says, begun again from where it was after each loss."""

    def __init__(self, client: FleetClient, request: messages.WatchFleetRequest) -> None:
        self._client = client
        self._request = request
        self._positions: dict[str, int] = {}
        self._news: queue.Queue[Said | Lost | CliError] = queue.Queue(MOST_RESPONSES)
        self._is_over = threading.Event()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        threading.Thread(target=self._read, name="fleet-watch", daemon=True).start()
        try:
            yield
        finally:
            self._is_over.set()

    def next(self, *, seconds: float) -> Said | Lost | None:
        """None when nothing came in so many seconds.  Raises CliError when nothing more will come."""
        try:
            news = self._news.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(news, CliError):
            raise news
        return news

    def _read(self) -> None:
        has_answered = False
        while not self._is_over.is_set():
            try:
                for said in self._stream():
                    has_answered = True
                    self._put(said)
                self._put(Lost("The collector has ended the answer."))
            except UnreachableError as error:
                self._put(Lost(str(error)) if has_answered else error)
                if not has_answered:
                    return
            except CliError as error:
                self._put(error)
                return
            except ValueError:  # gRPC's word for a channel that was closed meanwhile
                if not self._is_over.is_set():
                    raise
                return
            self._is_over.wait(RETRY_SECONDS)

    def _stream(self) -> Iterator[Said]:
        asked = messages.WatchFleetRequest()
        asked.CopyFrom(self._request)
        asked.positions.extend(
            messages.SpoolPosition(spool_id=spool, sequence=at) for spool, at in self._positions.items()
        )
        is_first = True
        for response in self._client.watch_fleet(asked):
            yield Said(response, is_first)
            self._positions.update((one.spool_id, one.sequence) for one in response.positions)
            is_first = False

    def _put(self, news: Said | Lost | CliError) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(queue.Full):
                self._news.put(news, timeout=0.2)
                return


class WatchedFleet:
    """What is known after the responses that were taken in."""

    def __init__(self) -> None:
        self.machines: dict[str, messages.WatchedMachine] = {}
        self.results: deque[messages.WatchedResult] = deque(maxlen=MOST_RESULTS)
        """The newest is the last."""
        self.at: dt.datetime | None = None
        """The collector's time of the newest response; None before the first."""

    def take_in(self, said: Said) -> None:
        response = said.response
        if said.is_first:
            self.machines.clear()
        self.machines.update((one.machine_id, one) for one in response.machines)
        for machine_id in response.left_machine_ids:
            self.machines.pop(machine_id, None)
        self.results.extend(response.results)
        self.at = response.at.ToDatetime()

    @property
    def counts(self) -> dict[str, int]:
        machines = self.machines.values()
        return {
            "machines": len(machines),
            "online": sum(one.is_connected for one in machines),
            "running": sum(one.HasField("run") for one in machines),
            "failing": sum(bool(one.failing_checks) for one in machines),
            "waiting": sum(one.waiting_records for one in machines),
        }

    def names(self, *others: messages.WatchedMachine) -> dict[str, str]:
        """By id what those are called that share a hostname, also with others that come along."""
        machines = [*self.machines.values(), *others]
        return machine_names((one.machine_id, one.hostname) for one in machines)

    @property
    def by_name(self) -> list[messages.WatchedMachine]:
        return sorted(self.machines.values(), key=lambda one: (one.hostname, one.machine_id))
