"""The token that people copy, and the addresses in it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv.addresses import split_address
from llmenv.printed_token import PrintedToken


def encoded(content: str) -> str:
    return "llmenv1." + base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def printed(content: object) -> str:
    return encoded(json.dumps(content))


@given(st.text("abcXYZ019-_", min_size=1), st.text("abcXYZ019-_", min_size=1), st.integers(1, 65_535))
def test_parse_is_the_inverse_of_printing(pin: str, secret: str, port: int) -> None:
    """Surrounding blanks from copying do not matter."""
    token = PrintedToken(address=f"collector.lab:{port}", pin=pin, secret=secret)
    assert PrintedToken.parse(f"  {token}\n") == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "llmenv1.",
        "llmenv1.%%%",
        printed([]),
        printed({}),
        printed({"a": "localhost:1"}),
        printed({"a": "localhost", "p": "pin", "t": "secret"}),
        printed({"a": "localhost:1", "p": "", "t": "secret"}),
        printed({"a": "localhost:1", "p": "pin", "t": "\ud800"}),
        printed({"a": "localhost:1", "p": "\ud800", "t": "secret"}),
        pytest.param(encoded("[" * 200_000), id="nested"),
    ],
)
def test_what_is_no_token_is_refused_without_being_repeated(text: str) -> None:
    """The sentence says what to do and does not print what may be a secret."""
    with pytest.raises(ValueError, match="token") as caught:
        PrintedToken.parse(text)
    assert not text or text.removeprefix("llmenv1.") not in str(caught.value) or text == "llmenv1."


def test_a_token_is_not_printed_by_accident() -> None:
    """A dataclass shows itself in logs and tracebacks."""
    assert "hush" not in repr(PrintedToken(address="localhost:1", pin="pin", secret="hush"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("collector.lab:7443", ("collector.lab", 7443)),
        ("[::1]:7443", ("::1", 7443)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
    ],
)
def test_addresses_are_host_and_port(address: str, expected: tuple[str, int]) -> None:
    """IPv6 hosts stand in brackets, as in a URL."""
    assert split_address(address) == expected


@pytest.mark.parametrize(
    "address", ["", "collector", "collector:", ":7443", "::1", "c:http", "c:70000", "c:0"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match="is not host:port"):
        split_address(address)
