"""Real agents, real collectors, PostgreSQL: agents move, collectors are killed, PostgreSQL crashes.

`make test-lake` has 200 agents and four collectors; LLMENV_LAKE_AGENTS says how many otherwise.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.lake.conftest import needs_lake
from tests.lake.hopping import Hopping
from tests.lake.lab import BIN, Lab
from tests.lake.records import ledger
from tests.lake.test_exactly_once import collectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_collector.lake.place import Place

    from tests.lake.cluster import Cluster

pytestmark = needs_lake
AGENTS = int(os.environ.get("LLMENV_LAKE_AGENTS", "8"))
COLLECTORS = 4
HOP_SECONDS = 15.0


@pytest.mark.timeout(3_000)
def test_a_fleet_moves_while_everything_fails(place: Place, tmp_path: Path, cluster: Cluster) -> None:
    """Four collectors and a fleet that hops between them: the ledger is whole, and nothing is there twice."""
    port = free_port()
    lab = Lab(tmp_path, place, collectors=COLLECTORS)
    try:
        enrol(lab, port)
        for number in range(COLLECTORS):
            lab.serve(number)
        ports = [lab.wait(number) for number in range(COLLECTORS)]
        with (
            closing(Hopping(port, ports, seconds=HOP_SECONDS, seed=7)) as hopping,
            play(lab, days=8) as playing,
        ):
            time.sleep(HOP_SECONDS)
            for number in (0, 1):
                lab.kill(number)
                lab.serve(number)
                hopping.ports[number] = lab.wait(number)
            cluster.restart()
            output, complaint = playing.communicate(timeout=2_000)
            assert playing.returncode == 0, f"{output}{complaint}{lab.logs()}"
            measured = json.loads(output)
            assert hopping.hops > AGENTS
            asks(lab)
    finally:
        lab.end()
    with collectors(place, tmp_path, 1) as (store,):
        rows, ids, stored = ledger(store)
    assert rows == ids == stored
    assert rows >= measured_records(measured)


def enrol(lab: Lab, port: int) -> None:
    """At one collector, which has the port where later everything is led from."""
    lab.serve(0, agents_port=port)
    lab.wait(0)
    folder = str(lab.folders[0].path)
    tokens = lab.call("llmenv-collector", "token", "create", "--data", folder, "--count", str(AGENTS))
    arguments = ("--machines", str(AGENTS), "--state-dir", str(lab.folder / "agents"), "--tokens", "-")
    lab.call("llmenv-agent", "simulate", *arguments, "--days", "1", given=tokens)
    lab.end()


@contextmanager
def play(lab: Lab, *, days: int) -> Iterator[subprocess.Popen[str]]:
    """Killed at the end, whatever else happened."""
    arguments = ("--machines", str(AGENTS), "--state-dir", str(lab.folder / "agents"), "--days", str(days))
    spread = ("--seed", "2", "--rate", "4800x", "--deliver-within", "20m", "--format", "json")
    with subprocess.Popen(
        [BIN / "llmenv-agent", "simulate", *arguments, *spread],
        env=lab.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as playing:
        try:
            yield playing
        finally:
            playing.kill()


def asks(lab: Lab) -> None:
    """An analyst at another collector than the one that machines were enrolled at."""
    folder = str(lab.folders[2].path)
    token = lab.call("llmenv-collector", "token", "create", "--data", folder, "--role", "analyst")
    lab.call("llmenv", "login", given=token)
    found = lab.call("llmenv", "sql", "--format", "csv", "SELECT count(*) AS machines FROM machines")
    assert found.split() == ["machines", str(AGENTS)]
    refused = lab.call("llmenv", "sql", "SELECT * FROM lake.store.record", codes=(2,))
    assert refused == ""


def measured_records(measured: dict[str, Any]) -> int:
    return int(measured["records"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
