"""`llmenv login`: the pin is checked before the secret leaves this machine, and the secret is kept."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import threading
from typing import TYPE_CHECKING, Any

import keyring
import keyring.backend
import keyring.errors
import pytest
from cryptography.hazmat.primitives import serialization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REFUSED = 5
UNREACHABLE = 3


@pytest.fixture
def free_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def mute_port() -> Iterator[int]:
    """Somebody listens there, and speaks no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(64)
                connection.sendall(b"220 mail.lab ESMTP\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield int(listener.getsockname()[1])


def test_login_keeps_what_is_needed_to_ask_again(
    llmenv: Callable[..., Any], collector: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Address, CA and secret; stdout stays empty, since nothing is data."""
    monkeypatch.setenv("LLMENV_TOKEN", collector.token())
    outcome = llmenv("login")
    assert (outcome.code, outcome.out) == (0, "")
    assert f"Logged in to {collector.address} as analyst (laptop) until 2026-05-01 00:00 UTC." in outcome.err
    kept = json.loads((tmp_path / "config" / "credentials.json").read_text("utf-8"))
    assert kept["address"] == collector.address
    assert ssl.PEM_cert_to_DER_cert(kept["ca_pem"]) == collector.authority.certificate.public_bytes(
        serialization.Encoding.DER
    )
    assert llmenv("run", "list").code == 0


class Ring(keyring.backend.KeyringBackend):
    """A keyring of the test's own."""

    priority = 5  # type: ignore[assignment]  # keyring makes it a property of classes

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.is_locked = False
        self.removals = 0

    def get_password(self, service: str, username: str) -> str | None:
        if self.is_locked:
            raise keyring.errors.KeyringLocked("it is locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.is_locked:
            raise keyring.errors.KeyringLocked("it is locked")
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self.removals += 1
        if self.is_locked:
            raise keyring.errors.KeyringLocked("it is locked")
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("not there")


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    monkeypatch.setenv("LLMENV_KEYRING", "auto")
    made = Ring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: made)
    for name in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(keyring, name, getattr(made, name))
    return made


def test_the_token_is_kept_in_the_keyring_where_there_is_one(
    llmenv: Callable[..., Any], collector: Any, ring: Ring, tmp_path: Path
) -> None:
    """The file holds the address and the CA, and no secret; logging out takes it from the keyring."""
    outcome = llmenv("login", stdin=collector.token().encode())
    assert "The token is kept in the system's keyring." in outcome.err
    kept = tmp_path / "config" / "credentials.json"
    ((place, secret),) = ring.kept.items()
    assert place == ("llmenv", collector.address)
    assert secret not in kept.read_text("utf-8")
    assert llmenv("run", "list").code == 0
    ring.is_locked = True
    locked = llmenv("run", "list")
    assert (locked.code, "keyring does not give the token: it is locked" in locked.err) == (2, True)
    ring.is_locked = False
    assert llmenv("logout").code == 0
    assert (ring.kept, kept.exists()) == ({}, False)


def test_a_keyring_that_refuses_leaves_the_token_to_the_file(
    llmenv: Callable[..., Any], collector: Any, ring: Ring
) -> None:
    """As one that is locked does, whether a token is in it from before or not."""
    ring.is_locked = True
    assert "readable by you alone" in llmenv("login", stdin=collector.token().encode()).err
    assert llmenv("run", "list").code == 0
    ring.is_locked = False
    assert "system's keyring" in llmenv("login", stdin=collector.token().encode()).err
    ring.is_locked = True
    assert "readable by you alone" in llmenv("login", stdin=collector.token().encode()).err
    assert llmenv("run", "list").code == 0


def test_a_person_can_do_without_the_keyring(
    llmenv: Callable[..., Any], collector: Any, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked; but a token that was there before is taken out of it."""
    monkeypatch.setenv("LLMENV_KEYRING", "never")
    assert llmenv("login", stdin=collector.token().encode()).code == 0
    assert ring.removals == 0
    monkeypatch.setenv("LLMENV_KEYRING", "auto")
    llmenv("login", stdin=collector.token().encode())
    monkeypatch.setenv("LLMENV_KEYRING", "never")
    llmenv("login", stdin=collector.token().encode())
    assert ring.kept == {}
    assert llmenv("run", "list").code == 0


def test_who_am_i(llmenv: Callable[..., Any], collector: Any, logged_in: Any) -> None:
    """For people and for programs, asked of the collector."""
    said = llmenv("whoami").out
    assert all(part in said for part in (collector.address, "analyst", "laptop", "2026-05-01 00:00"))
    (told,) = json.loads(llmenv("whoami", "--format", "json").out)
    assert told == {
        "collector": collector.address,
        "role": "analyst",
        "label": "laptop",
        "expires_at": "2026-05-01T00:00:00+00:00",
        "collector_version": "0.1.0",
    }


def aged(kept: Path, **other: object) -> dict[str, Any]:
    """What is kept, as from before the collector was asked whom to trust."""
    content: dict[str, Any] = json.loads(kept.read_text("utf-8")) | {"learnt_at": 0.0} | other
    kept.write_text(json.dumps(content))
    return content


def test_the_next_authority_is_learnt_by_the_way(
    llmenv: Callable[..., Any], logged_in: Any, stranger_ca_pem: str, ring: Ring, tmp_path: Path
) -> None:
    """Once an hour, after a call that was answered; the token stays where it is."""
    kept = tmp_path / "config" / "credentials.json"
    before = aged(kept)
    both = logged_in.servicer.ca_pem = before["ca_pem"] + stranger_ca_pem
    assert llmenv("run", "show", "nothing-like-it").code == 2
    assert json.loads(kept.read_text("utf-8")) == before
    assert llmenv("run", "list").code == 0
    after = json.loads(kept.read_text("utf-8"))
    assert (after["ca_pem"], after["learnt_at"] > 0, after["token"]) == (both, True, before["token"])
    asked = len(logged_in.servicer.requests)
    assert llmenv("run", "list").code == 0
    assert len(logged_in.servicer.requests) == asked + 1
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "told", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_authority_is_not_learnt(
    llmenv: Callable[..., Any], logged_in: Any, told: str, tmp_path: Path
) -> None:
    """As from a collector that is older, or broken: who is logged in stays so."""
    kept = tmp_path / "config" / "credentials.json"
    before = aged(kept)
    logged_in.servicer.ca_pem = told
    assert llmenv("run", "list").code == 0
    after = json.loads(kept.read_text("utf-8"))
    assert (after["ca_pem"], after["learnt_at"] > 0) == (before["ca_pem"], True)


def test_a_login_made_meanwhile_is_left_alone(
    llmenv: Callable[..., Any], logged_in: Any, stranger_ca_pem: str, tmp_path: Path
) -> None:
    """To another collector, say."""
    from llmenv_cli.credentials import Credentials

    kept = tmp_path / "config" / "credentials.json"
    aged(kept)
    known = Credentials.load()
    other = aged(kept, address="other.lab:7443")
    known.learn(stranger_ca_pem)
    assert json.loads(kept.read_text("utf-8")) == other


def test_logging_out_forgets(llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path) -> None:
    """Also twice, and also what is damaged."""
    kept = tmp_path / "config" / "credentials.json"
    assert "Logged out of 127.0.0.1" in llmenv("logout").err
    assert not kept.exists()
    assert llmenv("logout").err == "Nobody was logged in.\n"
    assert llmenv("whoami").code == 2
    kept.write_text("{")
    assert llmenv("logout").code == 0
    assert not kept.exists()


def test_credentials_are_for_their_owner_alone(logged_in: Any, tmp_path: Path) -> None:
    """Mode 0600."""
    mode = (tmp_path / "config" / "credentials.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_secret_is_never_printed(
    llmenv: Callable[..., Any], collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in success nor in failure."""
    monkeypatch.setenv("LLMENV_TOKEN", collector.token("secret-that-is-not-known"))
    outcome = llmenv("login")
    assert outcome.code == REFUSED
    assert "secret-that-is-not-known" not in outcome.err + outcome.out


def test_token_from_stdin(llmenv: Callable[..., Any], collector: Any) -> None:
    """A pipe keeps it out of the process list."""
    assert llmenv("login", stdin=collector.token().encode() + b"\n").code == 0


def test_another_address_than_in_the_token(llmenv: Callable[..., Any], collector: Any) -> None:
    """Through a tunnel, say; the pin still has to be right."""
    token = collector.token(address="collector.unreachable:7443")
    assert llmenv("login", collector.address, stdin=token.encode()).code == 0


def test_wrong_pin_is_refused_before_the_secret_is_sent(llmenv: Callable[..., Any], collector: Any) -> None:
    """Somebody else answers at the address: no request reaches it."""
    outcome = llmenv("login", stdin=collector.token(pin="x" * 43).encode())
    assert outcome.code == REFUSED
    assert "certificate authority is another" in outcome.err
    assert collector.servicer.requests == []


def test_nobody_answers(llmenv: Callable[..., Any], collector: Any, free_port: int) -> None:
    """The address and the system's reason are named."""
    outcome = llmenv("login", f"127.0.0.1:{free_port}", stdin=collector.token().encode())
    assert outcome.code == UNREACHABLE
    assert f"No collector answers at 127.0.0.1:{free_port}: Connection refused." in outcome.err


def test_something_else_answers(llmenv: Callable[..., Any], collector: Any, mute_port: int) -> None:
    """A mail server is no collector."""
    outcome = llmenv("login", f"127.0.0.1:{mute_port}", stdin=collector.token().encode())
    assert outcome.code == UNREACHABLE
    assert "does not speak TLS" in outcome.err


def test_expired_token(llmenv: Callable[..., Any], collector: Any, tmp_path: Path) -> None:
    """The collector's own sentence is passed on, and nothing is kept."""
    outcome = llmenv("login", stdin=collector.token("expired-secret").encode())
    assert outcome.code == REFUSED
    assert outcome.err == (
        f"llmenv: The collector at {collector.address} does not accept the token: The token has expired.\n"
    )
    assert not (tmp_path / "config" / "credentials.json").exists()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "hello",
        "llmenv1.",
        "llmenv1.!!!",
        "llmenv1.e30",
        "llmenv1.W10",
        "llmenv1.eyJhIjoiIiwicCI6IngiLCJ0IjoieSJ9",
    ],
)
def test_damaged_token(llmenv: Callable[..., Any], token: str) -> None:
    """One sentence, exit code 2, whatever was pasted."""
    outcome = llmenv("login", stdin=token.encode())
    assert outcome.code == 2
    assert "token" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    "address", ["collector", "collector:", ":7443", "collector:http", "collector:70000", "c:0"]
)
def test_address_that_is_none(llmenv: Callable[..., Any], collector: Any, address: str) -> None:
    """host:port is asked for."""
    outcome = llmenv("login", address, stdin=collector.token().encode())
    assert outcome.code == 2
    assert "is not host:port" in outcome.err
