"""The spool: whether it opens and is whole, and what waits in it or was refused."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from llmenv_agent.doctor.finding import Question
from llmenv_agent.errors import SpoolError
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_agent.doctor.finding import Finding

LONG_SECONDS = 86_400.0


def ask(path: Path) -> Iterator[Finding]:
    said = Question("spool", values={"path": path})
    try:
        if not path.exists():
            yield said.passed("Nothing was recorded yet: there is no {path}.")
            return
        problem = read_damage(path)
        with contextlib.closing(Spool(path)) as spool:
            findings = [*_whole(said, problem), *_ledger(spool)]
    except (OSError, sqlite3.Error, SpoolError) as error:
        yield said.failed(
            "The spool {path} cannot be used: {why}",
            "Run as the owner of {path}. Move a damaged spool away, and keep it: "
            "it may hold what was not delivered.",
            why=str(error).removeprefix(f"The spool {path} cannot be used: "),
        )
        return
    yield from findings


def read_damage(path: Path) -> str:
    """What SQLite finds wrong in the whole file; "" where nothing is."""
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    ) as file:
        found: str = file.execute("PRAGMA integrity_check(1)").fetchone()[0]
    return "" if found == "ok" else found


def _whole(said: Question, problem: str) -> Iterator[Finding]:
    if problem:
        yield said.failed(
            "The spool {path} is damaged: {why}.",
            "Stop the agent, move {path} away, and keep it: it may hold what was not delivered.",
            why=problem,
        )
    else:
        yield said.passed("The spool {path} opens, and every page of it is whole.")


def _ledger(spool: Spool) -> Iterator[Finding]:
    ledger, oldest, letters = spool.ledger(), spool.oldest_waiting_at(), spool.dead_letters()
    hours = 0.0 if oldest is None else (time.time() - oldest) / 3_600
    totals = {
        name: f"{getattr(ledger, name):,}" for name in ("minted", "stored", "rejected", "waiting", "dropped")
    }
    said = Question("delivery", values={**totals, "hours": f"{hours:.1f}"})
    seen = "{minted} records: {stored} stored, {rejected} rejected, {waiting} waiting, {dropped} dropped."
    if hours * 3_600 > LONG_SECONDS:
        yield said.warned(
            "{waiting} records wait, the oldest for {hours} hours.",
            "Start the agent where none runs; else see what is said of the collector above.",
        )
    else:
        yield said.passed(seen)
    if letters:
        yield Question("dead_letters", values={"count": f"{len(letters):,}"}).warned(
            "The collector refused {count} records for good, the last because: {why}",
            "llmenv-agent dead-letters list says which; after an upgrade, llmenv-agent dead-letters retry.",
            why=letters[-1].reason,
        )
