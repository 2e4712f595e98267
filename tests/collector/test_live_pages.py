"""The live pages are for whoever shows a viewer's token, over TLS, and for nobody else."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from llmenv.ids import new_id
from llmenv.printed_token import PrintedToken
from llmenv_collector.errors import UsageError
from llmenv_collector.identity.authority import Authority
from llmenv_collector.live import server as live_server
from llmenv_collector.live.attempts import MOST_FAILURES, WITHIN_SECONDS, Attempts
from llmenv_collector.live.door import Door
from llmenv_collector.live.handlers import place_of
from llmenv_collector.live.server import LivePages
from llmenv_collector.serving.server_certificate import ServerCertificate
from llmenv_collector.settings import Address, load
from llmenv_collector.storage.data_folder import DataFolder

from .conftest import RunningCollector, run_command
from .visitor import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUBJECTS = (
    "/",
    "/?lang=zh",
    "/machines/01900000-0000-7000-8000-000000000000",
    "/runs/01900000-0000-7000-8000-000000000000",
)
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """One that serves pages, on a port that the system chooses."""
    running = RunningCollector(tmp_path_factory.mktemp("live") / "data", "--http-listen", "127.0.0.1:0")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def token(collector: RunningCollector) -> str:
    """A viewer's, as it is printed."""
    return str(collector.token("--role", "viewer"))


def logged_in(collector: RunningCollector, token: str) -> Visitor:
    visitor = Visitor(collector)
    answer = visitor.log_in(token)
    assert answer.status == 303, answer.text
    return visitor


@pytest.mark.parametrize("path", SUBJECTS)
def test_nothing_is_shown_without_a_login(collector: RunningCollector, path: str) -> None:
    """Whoever comes without a session, or with one that never was, is led to the login and back."""
    for cookie in ("", "made-up"):
        answer = Visitor(collector, cookie).get(path)
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/login?next=%2F")
        assert answer.text == ""


def test_events_are_not_sent_without_a_login(collector: RunningCollector) -> None:
    """A stream is refused, since no form can be shown in it."""
    assert Visitor(collector).get(f"/runs/{new_id()}/events").status == 401


@pytest.mark.parametrize("role", ["viewer", "analyst", "admin"])
def test_a_role_token_opens_the_report(collector: RunningCollector, role: str) -> None:
    """As it was printed; the cookie is for this host, over TLS, hidden from scripts and other sites."""
    visitor = Visitor(collector)
    answer = visitor.log_in(str(collector.token("--role", role)), place="/?lang=zh")
    assert (answer.status, answer.headers["Location"]) == (303, "/?lang=zh")
    marks = set(answer.headers["Set-Cookie"].split("; ")[1:])
    assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"} <= marks
    assert any(mark.startswith("Max-Age=") for mark in marks)
    report = visitor.get("/?lang=zh")
    assert report.status == 200
    assert "<title>机群报告</title>" in report.text
    assert "http-equiv" not in report.text


def test_a_bare_secret_does_as_well(collector: RunningCollector) -> None:
    """As scripts have it."""
    assert Visitor(collector).log_in(collector.secret("--role", "viewer")).status == 303


def test_other_tokens_open_nothing(collector: RunningCollector) -> None:
    """Of a machine, damaged or made up: the form again, with one sentence, and no cookie."""
    for token, sentence in (
        (str(collector.token()), "This token is for enrolling a machine"),
        ("llmenv1.damaged", "The token is damaged"),
        ("made-up", "The token is not known to this collector."),
        ("", "The token is not known to this collector."),
    ):
        visitor = Visitor(collector)
        answer = visitor.log_in(token)
        assert answer.status == 401
        assert sentence in answer.text
        assert visitor.cookie == ""


def test_a_revoked_token_ends_its_session_at_once(collector: RunningCollector) -> None:
    """Not at its expiry."""
    visitor = logged_in(collector, str(collector.token("--role", "viewer", "--label", "leaves")))
    assert visitor.get("/").status == 200
    listing = run_command("token", "list", "--data", str(collector.folder)).stdout.splitlines()
    token_id = next(line.split()[0] for line in listing if line.endswith("leaves"))
    assert run_command("token", "revoke", token_id, "--data", str(collector.folder)).returncode == 0
    assert visitor.get("/").status == 303


def test_a_logout_ends_one_session(collector: RunningCollector, token: str) -> None:
    """The cookie opens nothing any more, also for who kept it; another browser stays logged in."""
    visitor, other = logged_in(collector, token), logged_in(collector, token)
    answer = visitor.post("/logout")
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert visitor.get("/").status == 303
    assert other.get("/").status == 200


def test_another_page_s_form_is_refused(collector: RunningCollector, token: str) -> None:
    """Nobody is logged in or out by a page of somebody else, nor by one that does not say whose it is."""
    visitor = logged_in(collector, token)
    for path in ("/login", "/logout"):
        for origin in ("", "https://evil.example", f"http://{visitor.address}", "null"):
            assert visitor.post(path, origin=origin, token=collector.admin_secret).status == 403
    assert visitor.get("/").status == 200


def test_every_answer_carries_the_headers(collector: RunningCollector, token: str) -> None:
    """Also one that refuses: no framing, no sniffing, no cache, no script but ours, no name of a library."""
    visitor = logged_in(collector, token)
    for path in ("/", "/login", "/logout", "/nothing", "/runs/00000000-0000"):
        answer = visitor.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "llmenv"


def test_there_is_nothing_else(collector: RunningCollector, token: str) -> None:
    """No folder, no listing, no file."""
    visitor = logged_in(collector, token)
    for path in ("/nothing", "/static", "/machines", "/runs/", "/../etc/passwd", "/runs/%2e%2e%2fetc"):
        answer = visitor.get(path)
        assert answer.status == 404, path
        assert "There is nothing here." in answer.text


def test_what_is_not_known_is_said_in_a_sentence(collector: RunningCollector, token: str) -> None:
    """A page, not a traceback."""
    visitor = logged_in(collector, token)
    machine, run = visitor.get(f"/machines/{new_id()}"), visitor.get(f"/runs/{new_id()}")
    assert (machine.status, run.status) == (404, 404)
    assert "There is no machine" in machine.text
    assert "There is no run" in run.text


def test_a_long_form_and_a_long_line_are_refused(collector: RunningCollector) -> None:
    """Neither is read to its end."""
    visitor = Visitor(collector)
    assert visitor.log_in("x" * 20_000).status == 413
    assert visitor.get("/" + "x" * 20_000).status == 400


def test_plain_text_is_not_spoken(collector: RunningCollector) -> None:
    """A request without TLS gets no answer of HTTP."""
    connection = http.client.HTTPConnection(Visitor(collector).address, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/login")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.getresponse()
    connection.close()


def test_the_secret_of_a_session_is_kept_nowhere(collector: RunningCollector, token: str) -> None:
    """Nor is the token in the page or in the log."""
    secret = PrintedToken.parse(token).secret
    visitor = logged_in(collector, token)
    report = visitor.get("/")
    assert secret not in report.text
    for path in collector.folder.rglob("*"):
        assert path.is_dir() or visitor.cookie.encode() not in path.read_bytes(), path
    assert not any(visitor.cookie in line or secret in line for line in collector.log)


def test_an_address_that_fails_too_often_waits(tmp_path: Path) -> None:
    """Also with the right token, and without a look at it."""
    running = RunningCollector(tmp_path / "data", "--http-listen", "127.0.0.1:0")
    try:
        visitor = Visitor(running)
        token = str(running.token("--role", "viewer"))
        assert [visitor.log_in(f"guess-{number}").status for number in range(MOST_FAILURES)] == (
            [401] * MOST_FAILURES
        )
        refused = visitor.log_in(token)
        assert refused.status == 429
        assert 0 < int(refused.headers["Retry-After"]) <= WITHIN_SECONDS
        assert "Too many failed attempts" in refused.text
    finally:
        running.stop()


def test_a_stop_ends_open_streams(tmp_path: Path) -> None:
    """Whoever watches does not hold the collector up, and hears the end of the stream."""
    running = RunningCollector(tmp_path / "data", "--http-listen", "127.0.0.1:0")
    machine = running.enrol()
    visitor = Visitor(running)
    visitor.log_in(running.admin_secret)
    connection = visitor.connect()
    events = f"/machines/{machine.machine_id}/events"
    connection.request("GET", events, headers={"Cookie": f"__Host-llmenv={visitor.cookie}"})
    stream = connection.getresponse()
    assert stream.status == 200
    assert stream.readline() == b"event: state\n"
    assert running.stop() == 0
    assert b"data: " in stream.read()
    connection.close()


def test_the_next_certificate_is_shown_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New connections see it."""
    monkeypatch.setattr(live_server, "RENEWAL_SECONDS", 0.05)
    folder = DataFolder(tmp_path)
    certificate = ServerCertificate(folder, Authority.create(folder))

    async def shown(port: int) -> bytes:
        context = ssl.create_default_context(cafile=str(folder.ca_certificate))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    async def both() -> tuple[bytes, bytes]:
        pages = LivePages(Any, certificate)
        async with pages.open(Address("127.0.0.1", 0)) as port:
            first = await shown(port)
            certificate.with_names({"pages.example"})
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (second := await shown(port)) == first:
                    pass
            return first, second

    first, second = asyncio.run(both())
    assert first != second


def test_failures_are_forgotten_one_by_one() -> None:
    """Each after its time; another address is not held to them."""
    now = [0.0]
    attempts = Attempts(now=lambda: now[0])
    for second in range(MOST_FAILURES):
        now[0] = float(second)
        assert attempts.wait_seconds("10.0.0.1") == 0.0
        attempts.failed("10.0.0.1")
    assert attempts.wait_seconds("10.0.0.1") == WITHIN_SECONDS - (MOST_FAILURES - 1)
    assert attempts.wait_seconds("10.0.0.2") == 0.0
    now[0] = WITHIN_SECONDS
    assert attempts.wait_seconds("10.0.0.1") == 0.0
    attempts.failed("10.0.0.1")
    assert attempts.wait_seconds("10.0.0.1") == 1.0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/", "/"),
        ("/?lang=zh", "/?lang=zh"),
        ("/runs/01900000-0000-7000-8000-000000000000", "/runs/01900000-0000-7000-8000-000000000000"),
        ("//evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/login", "/"),
        ("/runs/x\r\nSet-Cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
        ("/\n", "/"),
    ],
)
def test_a_login_leads_nowhere_outside(text: str, place: str) -> None:
    """Only to a page of ours."""
    assert place_of(text) == place


def test_no_port_is_open_that_nobody_asked_for(tmp_path: Path) -> None:
    """The default; and a wrong address is refused with where it came from."""
    assert load(tmp_path / "collector.toml", flags={}, environment={}).http_listen == ""
    with pytest.raises(UsageError, match=r"--http-listen: 'everywhere' is not host:port"):
        load(tmp_path / "collector.toml", flags={"http_listen": "everywhere"}, environment={})


async def door_answers(sent: bytes, *, seconds: float = 600.0, most: int = 8, others: int = 0) -> bytes:
    """All that a small server behind the door answers to one connection beside others, until it is closed."""

    async def hello(request: web.BaseRequest) -> web.Response:
        doors[0].hear(request)
        return web.Response(text="hello")

    server = web.Server(hello)
    doors = [Door(server, most=most, first_request_seconds=seconds)]
    listening = await asyncio.get_running_loop().create_server(doors[0], "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    beside = [await asyncio.open_connection(host, port) for _ in range(others)]
    for inside, outwards in beside:
        outwards.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await inside.readuntil(b"hello")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(sent)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        for _, one in [*beside, (reader, writer)]:
            one.close()
        listening.close()
        await server.shutdown(1.0)


def test_a_connection_that_says_nothing_is_closed() -> None:
    """Nothing, or the begin of a request and never its end."""
    assert asyncio.run(door_answers(b"", seconds=0.1)) == b""
    slow = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "
    assert asyncio.run(door_answers(slow, seconds=0.1)) == b""


def test_a_connection_that_asks_is_answered() -> None:
    """The door holds nobody up."""
    assert b"hello" in asyncio.run(door_answers(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))


def test_more_connections_than_there_is_room_for_are_closed() -> None:
    """Those inside stay."""
    assert asyncio.run(door_answers(b"", most=2, others=2)) == b""
