"""An agent whose collector is behind the balancer of deploy/haproxy: mutual TLS passes through."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Fleet

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATION = REPOSITORY / "deploy" / "haproxy" / "haproxy.cfg"
PAGE = REPOSITORY / "docs" / "deployment.md"
MOVE = "shutdown sessions server agents/collector-1"
PATIENCE_SECONDS = 120.0
MOST_OF_AN_ADDRESS = 4
BARE_PYTHON = Path(sys.executable)


class Balancer:
    """HAProxy with the configuration that is shipped, on ports of the test's own."""

    def __init__(self, folder: Path, *, control: Path, people: int, agents: int) -> None:
        self.log = folder / "haproxy.log"
        self.port = self.people_port = 0
        self._control = control
        self._file = folder / "haproxy.cfg"
        self._collector = {7443: people, 7444: agents}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Its sockets are opened here, so that nobody else can take their ports."""
        with (
            socket.create_server(("127.0.0.1", 0)) as agents,
            socket.create_server(("127.0.0.1", 0)) as people,
        ):
            self.port, self.people_port = agents.getsockname()[1], people.getsockname()[1]
            self._file.write_text(self._rewritten(agents.fileno(), people.fileno()), encoding="utf-8")
            with self.log.open("wb") as log:
                self._process = process = subprocess.Popen(
                    ["haproxy", "-db", "-f", str(self._file)],
                    stdout=log,
                    stderr=log,
                    pass_fds=[agents.fileno(), people.fileno()],
                )
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def ask(self, command: str) -> str:
        """Of its control socket, as `socat` would."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(30)
            control.connect(str(self._control))
            control.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: control.recv(65_536), b"")).decode()

    def server(self, name: str, backend: str = "agents") -> dict[str, str]:
        """What it says of one; nothing while it cannot be asked."""
        try:
            heading, *lines = self.ask("show stat").removeprefix("# ").splitlines()
        except (OSError, ValueError):
            return {}
        rows = [dict(zip(heading.split(","), line.split(","), strict=False)) for line in lines if line]
        return next((row for row in rows if (row["pxname"], row.get("svname")) == (backend, name)), {})

    def _rewritten(self, agents: int, people: int) -> str:
        """The first collector is the real one; where the second would be, nobody listens."""
        text = CONFIGURATION.read_text(encoding="utf-8")
        text = text.replace("/run/haproxy/admin.sock", str(self._control))
        text = text.replace("bind :7444", f"bind fd@{agents}").replace("bind :7443", f"bind fd@{people}")
        text = text.replace("check port 7443", f"check port {self._collector[7443]}")
        for port, real in self._collector.items():
            text = text.replace(f"192.0.2.11:{port}", f"127.0.0.1:{real}")
        # As many files as that needs are not to be had everywhere.
        text = text.replace("maxconn 100000", "maxconn 100")
        text = text.replace("sc0_conn_cur gt 500 ", f"sc0_conn_cur gt {MOST_OF_AN_ADDRESS} ")
        # On a machine that much else is done on a handshake may take long.
        text = text.replace("timeout check 10s", "timeout check 60s")
        return text.replace("192.0.2.12", "127.0.0.2").replace("inter 10s", "inter 500ms")


def wait_until(condition: Callable[[], bool], balancer: Balancer) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert balancer.is_running(), balancer.log.read_text()
        assert time.monotonic() < end, balancer.log.read_text()
        time.sleep(0.05)


def has_status(balancer: Balancer, server: str, backend: str, status: str) -> bool:
    return balancer.server(server, backend).get("status", "").startswith(status)


def streams(balancer: Balancer) -> int:
    """All that went to the collector so far."""
    return int(balancer.server("collector-1").get("stot", -1))


@pytest.fixture
def balancer(fleet: Fleet) -> Iterator[Balancer]:
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed (apt-get install haproxy)")
    # The path of a socket has to be short, and that of a test's folder is not.
    with tempfile.TemporaryDirectory(prefix="llmenv-") as short:
        made = Balancer(
            fleet.folder,
            control=Path(short) / "control",
            people=fleet.people_port,
            agents=fleet.agents_port,
        )
        with made.serving():
            wait_until(lambda: has_status(made, "collector-1", "agents", "UP"), made)
            yield made


@pytest.mark.slow
def test_an_agent_delivers_through_it_and_comes_back_when_its_stream_is_moved(
    fleet: Fleet, balancer: Balancer
) -> None:
    """What is documented for spreading streams after a restart ends one, and it begins anew by itself."""
    configuration = fleet.configure(BARE_PYTHON)
    text = configuration.read_text(encoding="utf-8")
    configuration.write_text(f'[agent]\ncollectors = ["127.0.0.1:{balancer.port}"]\n{text}', encoding="utf-8")
    assert fleet.start_agent(configuration).wait(timeout=300) == 0, (fleet.folder / "agent.log").read_text()
    wait_until(lambda: streams(balancer) >= 1, balancer)

    log = (fleet.folder / "agent.log").open("ab")
    with log:
        agent = subprocess.Popen(
            [str(Path(sys.executable).parent / "llmenv-agent"), "run", "--config", str(configuration)],
            env=fleet.environment,
            stderr=log,
        )
    try:
        wait_until(lambda: balancer.server("collector-1").get("scur") == "1", balancer)
        assert MOVE in PAGE.read_text(encoding="utf-8")
        before = streams(balancer)
        balancer.ask(MOVE)
        wait_until(lambda: streams(balancer) > before, balancer)
        wait_until(lambda: balancer.server("collector-1").get("scur") == "1", balancer)
        wait_until(lambda: has_status(balancer, "collector-1", "people", "UP"), balancer)
        wait_until(lambda: has_status(balancer, "collector-2", "agents", "DOWN"), balancer)
    finally:
        agent.terminate()
        agent.wait(timeout=60)


@pytest.mark.slow
def test_one_address_does_not_take_all_connections(fleet: Fleet, balancer: Balancer) -> None:
    """What it opens beyond its share is closed before any handshake; another one is answered."""
    wait_until(lambda: has_status(balancer, "collector-1", "people", "UP"), balancer)
    at = ("127.0.0.1", balancer.people_port)
    with ExitStack() as flood:
        for _ in range(MOST_OF_AN_ADDRESS + 3):
            with suppress(ConnectionResetError):  # one too many may be closed before it is told of
                flood.enter_context(socket.create_connection(at, timeout=60))
        wait_until(lambda: balancer.server("FRONTEND", "people").get("dcon") == "3", balancer)
        other = flood.enter_context(socket.create_connection(at, timeout=60, source_address=("127.0.0.2", 0)))
        context = ssl.create_default_context(cafile=str(fleet.folder / "collector" / "ca.pem"))
        with context.wrap_socket(other, server_hostname="localhost") as answered:
            assert answered.version()
    assert balancer.server("FRONTEND", "people")["dcon"] == "3"
