"""Certificates that really end: renewed while everything runs, and after an outage that outlived them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from .conftest import BIN, Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 120.0
PRESENT = '''"""Is anything there?"""

SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {}


def run(probe):
    probe.passed("Something is.")
'''


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose certificates end after fifteen seconds."""
    fleet = Fleet(tmp_path)
    fleet.environment |= {
        "LLMENV_CERTIFICATE_SECONDS": "15",
        "LLMENV_SERVER_CERTIFICATE_SECONDS": "15",
        "LLMENV_HEARTBEAT_SECONDS": "1",
    }
    try:
        fleet.initialise()
        yield fleet
    finally:
        if fleet.collector is not None and fleet.collector.poll() is None:
            fleet.end_collector(signal.SIGKILL)


def configure(fleet: Fleet) -> Path:
    """One check that only passes, so that the tests are about certificates."""
    folder = fleet.folder / "checks"
    folder.mkdir()
    (folder / "present.py").write_text(PRESENT)
    return fleet.configure(
        Path(sys.executable),
        f'[agent]\nchecks_folders = ["{folder}"]',
        '[suite.once]\nchecks = ["present"]\n[schedule.once]\nevery = "720h"',
    )


@contextlib.contextmanager
def daemon(fleet: Fleet, configuration: Path, *, state_dir: Path, log: Path) -> Iterator[None]:
    """An agent that runs until the block ends, and then in order."""
    command = [BIN / "llmenv-agent", "run", "--config", configuration, "--state-dir", state_dir]
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=fleet.environment, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        code = process.wait(90)
    assert code == 0, log.read_text()


def eventually(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def certificates(fleet: Fleet) -> list[x509.Certificate]:
    """Of the machine, and of the collector."""
    identity = json.loads((fleet.folder / "agent" / "identity.json").read_text())
    server = (fleet.folder / "collector" / "server.pem").read_bytes()
    return [x509.load_pem_x509_certificate(pem) for pem in (identity["certificate_pem"].encode(), server)]


@contextlib.contextmanager
def logged_in_long_ago(fleet: Fleet) -> Iterator[None]:
    """As somebody else: the first time with the login of the admin, hours later."""
    own, other = Path(fleet.environment["LLMENV_CONFIG_DIR"]), fleet.folder / "somebody"
    if not other.exists():
        shutil.copytree(own, other)
        kept = other / "credentials.json"
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {"learnt_at": 0}))
    fleet.environment["LLMENV_CONFIG_DIR"] = str(other)
    yield
    fleet.environment["LLMENV_CONFIG_DIR"] = str(own)


def have_ended(found: list[x509.Certificate]) -> bool:
    return all(dt.datetime.now(dt.UTC) > one.not_valid_after_utc for one in found)


def assert_each_is_stored_once(fleet: Fleet) -> None:
    spooled = fleet.spooled()
    stored = fleet.stored("SELECT sequence, record_id::VARCHAR, kind FROM store.record ORDER BY sequence")
    assert stored == [(row.sequence, row.record_id, row.kind) for row in spooled]
    order = fleet.stored("SELECT sequence FROM store.record ORDER BY received_at, sequence")
    assert order == [(row.sequence,) for row in spooled]


def test_certificates_are_renewed_while_everything_runs(short_lived: Fleet) -> None:
    """An open stream outlives the certificates that it began with; the next one shows the new one."""
    fleet, log = short_lived, short_lived.folder / "agent.log"
    first = certificates(fleet)
    with daemon(fleet, configure(fleet), state_dir=fleet.folder / "agent", log=log):
        eventually(lambda: have_ended(first), log)
        eventually(lambda: log.read_text().count("the certificate is renewed") > 1, log)
        assert log.read_text().count("connected;") == 1
        fleet.end_collector(signal.SIGTERM)
        fleet.start_collector()
        eventually(lambda: log.read_text().count("connected;") == 2, log)
    assert not {one.serial_number for one in first} & {one.serial_number for one in certificates(fleet)}
    assert "refuses this machine's certificate" not in log.read_text()


def test_the_authority_is_rotated_without_touching_a_machine(short_lived: Fleet) -> None:
    """The agent learns the new one over its stream and renews under it; then the former one is retired."""
    fleet, log = short_lived, short_lived.folder / "agent.log"
    token, other = fleet.token(), {"LLMENV_STATE_DIR": str(fleet.folder / "other")}
    former = (fleet.folder / "collector" / "ca.pem").read_bytes()

    def status() -> str:
        return fleet.call("llmenv-collector", "ca", "status").stdout

    with daemon(fleet, configure(fleet), state_dir=fleet.folder / "agent", log=log):
        eventually(lambda: "connected;" in log.read_text(), log)
        fleet.call("llmenv-collector", "ca", "rotate")
        with logged_in_long_ago(fleet):
            fleet.call("llmenv", "run", "list")
        assert "is being rotated already" in fleet.call("llmenv-collector", "ca", "rotate", codes=(2,)).stderr
        # What was made before goes on: a login, and a token with the pin of the former authority.
        assert "machine_id" in fleet.call("llmenv", "fleet", "machines", "--format", "json").stdout
        fleet.environment |= other
        fleet.call("llmenv-agent", "enroll", token=token)
        fleet.environment["LLMENV_STATE_DIR"] = str(fleet.folder / "agent")
        eventually(lambda: "authority is rotated" in log.read_text(), log)
        lagging = fleet.call("llmenv-collector", "ca", "retire", codes=(2,)).stderr
        assert "would be locked out" in lagging  # at least the other machine, whose agent never ran
        _, _, line = fleet.call("llmenv-collector", "machine", "list").stdout.splitlines()
        fleet.call("llmenv-collector", "machine", "retire", line.split()[0])
        eventually(lambda: "LAGS BEHIND" not in status(), log)
        fleet.call("llmenv-collector", "ca", "retire")
        eventually(lambda: log.read_text().count("authority is rotated") == 2, log)
        connected = log.read_text().count("connected;")
        fleet.end_collector(signal.SIGTERM)
        fleet.start_collector()
        eventually(lambda: log.read_text().count("connected;") > connected, log)
    identity = json.loads((fleet.folder / "agent" / "identity.json").read_text())
    assert identity["ca_pem"].encode() == (fleet.folder / "collector" / "ca.pem").read_bytes()
    assert former not in (fleet.folder / "collector" / "server.pem").read_bytes()
    assert "refuses this machine's certificate" not in log.read_text()
    # Who asked during the rotation has learnt the new one; who did not within an hour of a login has not.
    with logged_in_long_ago(fleet):
        fleet.call("llmenv", "run", "list")
    assert "`llmenv login` again" in fleet.call("llmenv", "fleet", "machines", codes=(5,)).stderr
    fleet.call("llmenv", "login", token=fleet.token("--role", "viewer"))


def test_an_outage_that_outlives_both_certificates_loses_nothing(short_lived: Fleet) -> None:
    """The agent proves the key of a certificate that has ended to a collector that has a new one."""
    fleet, configuration = short_lived, configure(short_lived)
    fleet.end_collector(signal.SIGTERM)
    for _ in range(3):
        assert fleet.start_agent(configuration, "--deliver-within", "1s").wait(120) == 6
    eventually(lambda: have_ended(certificates(fleet)), fleet.folder / "agent.log")
    fleet.start_collector()
    agent = fleet.start_agent(configuration, "--deliver-within", "60s")
    assert agent.wait(120) == 0, (fleet.folder / "agent.log").read_text()
    fleet.end_collector(signal.SIGTERM)
    assert_each_is_stored_once(fleet)


def test_a_cloned_disk_is_seen_and_both_copies_are_told(fleet: Fleet) -> None:
    """Two agents with one identity and one spool: nothing of either is lost, and both know what to do."""
    configuration = configure(fleet)
    fleet.end_collector(signal.SIGTERM)
    fleet.environment["LLMENV_HEARTBEAT_SECONDS"] = "1"
    fleet.start_collector()
    assert fleet.start_agent(configuration).wait(120) == 0
    original, clone = fleet.folder / "agent", fleet.folder / "clone"
    shutil.copytree(original, clone)
    logs = {folder: folder.with_suffix(".daemon.log") for folder in (original, clone)}
    with contextlib.ExitStack() as stack:
        for folder, log in logs.items():
            stack.enter_context(daemon(fleet, configuration, state_dir=folder, log=log))
        for log in logs.values():
            eventually(lambda log=log: "another agent has this machine's identity" in log.read_text(), log)
        for folder in logs:
            said = fleet.call("llmenv-agent", "status", "--state-dir", str(folder)).stdout
            assert "enroll --replace" in said
        listed = json.loads(fleet.call("llmenv", "fleet", "machines", "--format", "json").stdout)
        assert [bool(one["doubled_at"]) for one in listed] == [True]
        fleet.call("llmenv-agent", "enroll", "--replace", "--state-dir", str(clone), token=fleet.token())
    again = fleet.folder / "again.log"
    with daemon(fleet, configuration, state_dir=clone, log=again):
        eventually(lambda: "connected;" in again.read_text(), again)
    assert "another agent" not in again.read_text()
    fleet.end_collector(signal.SIGTERM)
    machines = fleet.stored("SELECT count(*), count(doubled_at) FROM v1.machines")
    assert machines == [(2, 1)]
    assert fleet.stored("SELECT count(*) - count(DISTINCT record_id) FROM store.record") == [(0,)]
