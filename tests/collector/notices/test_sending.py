"""Delivery over HTTP and HTTPS to a receiver that fails, is slow, redirects and hangs up."""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from llmenv_collector import clock
from llmenv_collector.notices import delivery_store, notice_store, sender
from llmenv_collector.notices.notice_store import Notice
from llmenv_collector.notices.outbox import LONGEST_REST_SECONDS, wait_seconds

from .lab import Lab, Mac
from .receiver import SECRET, Receiver

if TYPE_CHECKING:
    from pathlib import Path


def failing(lab: Lab, receiver: Receiver, **more: Any) -> Any:
    """A webhook for which a failing check waits."""
    webhook = lab.webhook(receiver, **more)
    lab.watch = lab.watching(webhook)
    lab.look()
    Mac(lab, "mini-1").run(packages="fail")
    lab.look()
    return webhook


def state(lab: Lab) -> tuple[Any, ...]:
    (row,) = lab.rows("SELECT state, attempts, outcome FROM v1.notices")
    return row


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (500, "status 500"),
        (404, "status 404"),
        (302, "status 302: it redirects, which is not followed"),
        ("close", "it closed the connection without an answer"),
    ],
    ids=["fails", "refuses", "redirects", "hangs-up"],
)
def test_a_failed_attempt_is_visible_and_repeated_with_the_same_id(
    lab: Lab, receiver: Receiver, answer: int | str, outcome: str
) -> None:
    """The body is the same, byte for byte, and nothing is asked of another address."""
    receiver.answers = [answer]
    webhook = failing(lab, receiver, retry_seconds=0.01)
    lab.send(webhook)
    assert state(lab) == ("waiting", 1, outcome)
    while state(lab)[0] == "waiting":
        lab.send(webhook)
    assert state(lab) == ("delivered", 2, "status 204")
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert (first.path, second.path) == ("/hook", "/hook")
    assert first.is_signed()
    assert second.is_signed()


def test_a_slow_receiver_is_given_up_on_after_its_time(lab: Lab, receiver: Receiver) -> None:
    """And asked again later."""
    receiver.answers = ["slow"]
    webhook = failing(lab, receiver, timeout_seconds=0.5, retry_seconds=3_600)
    assert lab.send(webhook) == 30
    assert state(lab) == ("waiting", 1, "no answer within 0.5 s")


def test_a_receiver_that_asks_for_time_gets_it(lab: Lab, receiver: Receiver) -> None:
    """Retry-After, in seconds; no longer than an hour."""
    receiver.answers = [429]
    webhook = failing(lab, receiver, retry_seconds=0.01)
    lab.send(webhook)
    (row,) = lab.rows("SELECT epoch(next_attempt_at - last_attempt_at) FROM v1.notices")
    assert row[0] >= 6.9
    assert [sender.wait_of(text) for text in ("7", "99999", "x", "", "-1")] == [7, 3_600, 0, 0, 0]


def test_nobody_listening_is_said_without_the_address(
    lab: Lab, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """An address may be a secret: it stands neither in the outcome nor in the log, and no secret does."""
    webhook = failing(lab, receiver)
    receiver.server.server_close()
    receiver.server.shutdown()
    with caplog.at_level(logging.DEBUG):
        lab.send(webhook)
    assert state(lab) == ("waiting", 1, "it cannot be connected to: Connection refused")
    said = caplog.text + str(lab.audited("notice.tell")) + repr(webhook)
    assert "webhook lab: it cannot be connected to" in caplog.text
    assert "/hook" not in said
    assert SECRET not in said


def test_a_delivery_is_given_up_after_days_and_that_is_audited(lab: Lab, receiver: Receiver) -> None:
    """Here after no time at all."""
    receiver.answers = [500]
    webhook = failing(lab, receiver, give_up_seconds=0.0)
    lab.send(webhook)
    assert state(lab) == ("given_up", 1, "status 500")
    assert len(lab.audited("notice.give_up")) == 2
    lab.send(webhook)
    assert len(receiver.received) == 1


def test_a_delivery_is_audited_for_the_notice_and_each_change(lab: Lab, receiver: Receiver) -> None:
    """By the name of the webhook."""
    lab.send(failing(lab, receiver))
    told = lab.audited("notice.tell")
    assert [detail.split(",")[0] for detail in told] == ["lab status 204"] * 2


def test_a_webhook_gets_the_kinds_that_it_wants(lab: Lab, receiver: Receiver) -> None:
    """Another one waits for nothing of the rest."""
    webhook = failing(lab, receiver, kinds=frozenset({"regression"}))
    lab.send(webhook)
    assert receiver.received == []
    assert lab.rows("SELECT webhook FROM v1.notices") == [(None,)]


def test_a_chat_service_gets_a_text_and_nothing_else(lab: Lab, receiver: Receiver) -> None:
    """In the language of the webhook; unsigned where it has no secret."""
    lab.send(failing(lab, receiver, body="text", language="zh", secret_file=None))
    (received,) = receiver.received
    assert set(received.content) == {"text"}
    assert "mini-1" in received.content["text"]
    assert "webhook-signature" not in received.headers


def test_a_secret_that_others_may_read_sends_nothing(lab: Lab, receiver: Receiver) -> None:
    """It is read anew for each attempt, so that it can be changed, and looked at each time."""
    webhook = failing(lab, receiver)
    webhook.secret_file.chmod(0o644)
    lab.send(webhook)
    assert receiver.received == []
    assert "others may read it" in state(lab)[2]


def test_certificates_are_verified(lab: Lab, tmp_path: Path) -> None:
    """Of an authority that is not known nothing is taken; of the named one, it is."""
    certificate, key = self_signed(tmp_path)
    with Receiver(certificate=(certificate, key)) as receiver:
        webhook = failing(lab, receiver, retry_seconds=0.01)
        lab.send(webhook)
        assert state(lab) == ("waiting", 1, "its certificate is not trusted")
        assert receiver.received == []
        trusting = lab.webhook(receiver, ca_file=certificate)
        while state(lab)[0] == "waiting":
            lab.send(trusting)
        assert [one.is_signed() for one in receiver.received] == [True]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, an hour long."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "receiver.pem", folder / "receiver-key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, private


def test_waits_double_up_to_an_hour(lab: Lab, receiver: Receiver) -> None:
    """Each is spread over its second half."""
    webhook = lab.webhook(receiver)
    for attempts in range(40):
        longest = min(5.0 * 2**attempts, 3_600)
        assert longest / 2 <= wait_seconds(webhook, attempts) <= longest


def backlog(lab: Lab, *webhooks: Any, notices: int = 1) -> None:
    """So many wait for each of them."""

    def add(connection: Any) -> None:
        for _ in range(notices):
            notice_store.add(connection, Notice(kind="machine_silent"), webhooks, now=clock.now())

    lab.store.request(add).result()


def attempts(lab: Lab, webhook: str = "lab") -> list[tuple[Any, ...]]:
    return lab.rows(f"SELECT attempts, state FROM v1.notices WHERE webhook = '{webhook}' ORDER BY ALL")


def test_a_webhook_that_fails_keeps_no_other_waiting(
    lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much waits for it, and for longer."""
    monkeypatch.setattr(delivery_store, "A_ROUND", 3)
    with Receiver(answers=[500]) as broken:
        dead, healthy = lab.webhook(broken, name="dead"), lab.webhook(receiver)
        backlog(lab, dead, notices=5)
        backlog(lab, healthy)
        lab.send(dead, healthy)
    assert attempts(lab) == [(1, "delivered")]


def test_after_a_failure_all_that_is_due_waits(lab: Lab, receiver: Receiver) -> None:
    """Not only what failed: one attempt is made, and the next when the receiver had time."""
    receiver.answers = [500]
    webhook = lab.webhook(receiver, retry_seconds=3_600)
    backlog(lab, webhook, notices=3)
    assert lab.send(webhook) == LONGEST_REST_SECONDS
    lab.send(webhook)
    assert len(receiver.received) == 1
    assert attempts(lab) == [(0, "waiting"), (0, "waiting"), (1, "waiting")]


def test_a_notice_that_is_refused_keeps_no_other_waiting(lab: Lab, receiver: Receiver) -> None:
    """What was tried less goes first."""
    receiver.answers = [413]
    webhook = lab.webhook(receiver, retry_seconds=0.01)
    backlog(lab, webhook, notices=3)
    lab.send(webhook)
    while len(receiver.received) < 4:
        lab.send(webhook)
    refused, *others, last = [one.id for one in receiver.received]
    assert last == refused
    assert refused not in others
