"""Which of the collectors on a lake does what is to be done once: a lock in PostgreSQL says so.

Whoever holds the lock asks its connection every few seconds; when that is gone, so is the lock, and the next
one to ask has it.  For those seconds two may think that they hold it, so nothing that is right only once
rests on it: compactions that collide are refused by DuckLake, and deliveries have a fence of their own.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from llmenv_collector.lake.fence import connected

if TYPE_CHECKING:
    from llmenv_collector.lake.place import Place

ELECTION_LOCK = 0x6C6C6D656E760002
ASK_SECONDS = 2.0


class Election:
    """Takes part from its creation to withdraw()."""

    def __init__(self, place: Place, *, ask_seconds: float = ASK_SECONDS) -> None:
        self._place = place
        self._ask_seconds = ask_seconds
        self._connection: psycopg.Connection[Any] | None = None
        self.is_elected = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lake-election", daemon=True)
        self._thread.start()

    def withdraw(self) -> None:
        """Another one is elected as soon as this one's connection is closed, which is not waited for."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.is_elected = self._ask()
            except psycopg.Error:
                self._leave()
            self._ended.wait(self._ask_seconds)
        self._leave()

    def _ask(self) -> bool:
        if self._connection is None:
            self._connection = connected(self._place)
        if self.is_elected:
            self._connection.execute("SELECT 1")
            return True
        query = "SELECT pg_try_advisory_lock(%s)"
        ((is_elected,),) = self._connection.execute(query, (ELECTION_LOCK,)).fetchall()
        return bool(is_elected)

    def _leave(self) -> None:
        self.is_elected = False
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = None
