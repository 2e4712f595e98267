"""What collector.toml says of webhooks, and one sentence for each mistake in it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from llmenv_collector import settings
from llmenv_collector.errors import UsageError
from llmenv_collector.notices.webhook import Webhook, webhooks_of

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '[[webhook]]\nname = "lab"\nurl = "https://hooks.example.org/secret-part"\nsecret_file = "hook"\n'


def read(folder: Path, text: str) -> tuple[Webhook, ...]:
    file = folder / "collector.toml"
    file.write_text(text)
    assert settings.load(file, flags={}, environment={}) == settings.Settings()
    return webhooks_of(settings.read_tables(file, "webhook"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a secret in it."""
    (tmp_path / "hook").write_text("0123456789abcdef\n")
    (tmp_path / "hook").chmod(0o600)
    return tmp_path


def test_a_webhook_has_defaults_and_reads_its_secret(folder: Path) -> None:
    """Relative to the folder of collector.toml; its address is in no representation."""
    (webhook,) = read(folder, GOOD)
    assert (webhook.name, webhook.host, webhook.timeout_seconds) == ("lab", "hooks.example.org", 10)
    assert webhook.secret() == b"0123456789abcdef"
    assert "secret-part" not in repr(webhook)


def test_a_secret_may_be_in_a_variable_and_as_standard_webhooks_writes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base64 after whsec_."""
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(bytes(range(24))).decode())
    (webhook,) = read(folder, GOOD.replace('secret_file = "hook"', 'secret_variable = "HOOK_SECRET"'))
    assert webhook.secret() == bytes(range(24))


def test_an_address_may_be_in_a_private_file(folder: Path) -> None:
    """Since those of chat services are secrets."""
    (folder / "address").write_text("https://chat.example.org/T0/B0/x\n")
    (folder / "address").chmod(0o600)
    text = '[[webhook]]\nname = "chat"\nbody = "text"\nurl_file = "address"\n'
    (webhook,) = read(folder, text)
    assert (webhook.url, webhook.secret()) == ("https://chat.example.org/T0/B0/x", None)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('name = "lab"', 'name = "Lab 1"', "line 2, name of [[webhook]]: 'Lab 1' is no name"),
        ('name = "lab"\n', "", "line 1, name of [[webhook]]: it is missing."),
        ("https://", "http://", "line 3, url of [[webhook]]: it begins with https://"),
        ("https://", "ftp://", "line 3, url of [[webhook]]: it begins with https://"),
        ("https://hooks.example.org", "https://u:p@h", "line 3, url of [[webhook]]: it is no address"),
        ('secret_file = "hook"\n', "", "secret_file of [[webhook]]: it is missing: notices are signed"),
        ('secret_file = "hook"', 'secret_file = "gone"', "gone cannot be read: No such file"),
        (
            'secret_file = "hook"',
            'secret_variable = "NO_SUCH"',
            "variable NO_SUCH: a secret has at least 16",
        ),
        (
            'secret_file = "hook"',
            'secret_file = "hook"\nkinds = ["check_fails"]',
            "no kind 'check_fails'; there are check_failing,",
        ),
        (
            'secret_file = "hook"',
            'secret_file = "hook"\ntimeout_seconds = 0',
            "line 5, timeout_seconds of [[webhook]]: it is a number from 0.1 to 60, not 0.",
        ),
        (
            'secret_file = "hook"',
            'secret_file = "hook"\ncolour = "red"',
            "line 5, colour of [[webhook]]: there is no such key",
        ),
        (
            'secret_file = "hook"',
            'secret_file = "hook"\nca_file = "none.pem"',
            "ca_file of [[webhook]]: there is no file",
        ),
        ("[[webhook]]", "[webhook]", "write webhook as tables, each under a line [[webhook]]."),
        ("[[webhook]]", GOOD + "[[webhook]]", "line 2, name of [[webhook]]: two are called 'lab'."),
    ],
    ids=[
        "name",
        "no-name",
        "plain-http",
        "ftp",
        "user-in-url",
        "unsigned",
        "no-file",
        "no-variable",
        "kind",
        "number",
        "unknown-key",
        "no-authority",
        "no-array",
        "twice",
    ],
)
def test_each_mistake_is_one_sentence(folder: Path, before: str, after: str, sentence: str) -> None:
    """It names the file and the line."""
    with pytest.raises(UsageError) as error:
        read(folder, GOOD.replace(before, after, 1))
    assert sentence in str(error.value)
    assert str(folder) in str(error.value) or "variable" in str(error.value)
    assert "secret-part" not in str(error.value)


def test_a_secret_for_everybody_to_read_is_refused(folder: Path) -> None:
    """With what to do."""
    (folder / "hook").chmod(0o640)
    with pytest.raises(UsageError, match="run `chmod 600"):
        read(folder, GOOD)


def test_plain_http_is_for_this_machine_alone(folder: Path) -> None:
    """By any of its names."""
    for host in ("127.0.0.1:8080", "localhost", "[::1]:8080"):
        (webhook,) = read(folder, GOOD.replace("https://hooks.example.org", f"http://{host}"))
        assert webhook.url.startswith("http://")
