"""Notices at a terminal: what was told, what is tried, what is muted until when."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import notice_service_pb2 as messages
from llmenv_cli.commands.fleet_notices import seconds_until
from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2
NOW = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def door(logged_in: Any) -> Any:
    return logged_in.servicer.notices


@pytest.mark.parametrize("how", ["table-en", "table-zh", "md-en", "md-zh"])
@pytest.mark.parametrize("what", ["list", "mutes"])
def test_the_lists_for_people(
    llmenv: Callable[..., Any], golden: Any, door: Any, what: str, how: str
) -> None:
    """Titles and states in both languages; the collector is asked for its texts in them."""
    output_format, language = how.split("-")
    listed = llmenv("fleet", "notices", what, "--format", output_format, "--lang", language)
    assert listed.out == golden(name=f"{what}-{how}")
    assert what == "mutes" or door.requests[-1].language == language


@pytest.mark.parametrize("output_format", ["json", "csv"])
@pytest.mark.parametrize("what", ["list", "mutes"])
def test_the_lists_for_programs(
    llmenv: Callable[..., Any], golden: Any, door: Any, what: str, output_format: str
) -> None:
    """Whole ids and words of the contract; a row a notice and webhook."""
    listed = llmenv("fleet", "notices", what, "--format", output_format)
    assert listed.out == golden(name=f"{what}-{output_format}")


def test_what_a_list_leaves_out_is_said(llmenv: Callable[..., Any], door: Any) -> None:
    """On stderr: what waits, what was cut, and that nobody is told."""
    listed = llmenv("fleet", "notices", "list", "--undelivered", "--limit", "7")
    assert door.requests[-1] == messages.ListNoticesRequest(only_undelivered=True, limit=7, language="en")
    assert listed.err == "Changes that wait, since they are gathered or muted: 3.\n"
    door.listed = messages.ListNoticesResponse(total=9)
    listed = llmenv("fleet", "notices", "list")
    assert listed.err == "The collector has no webhook: nobody is told.\nThe newest 0 of 9.\n"
    assert llmenv("fleet", "notices", "mutes").err == "The newest 1 of 2.\n"


@pytest.mark.parametrize(
    ("is_delivered", "code", "line"),
    [(True, 0, "lab,delivered,status 204"), (False, 1, "lab,refused,status 500")],
    ids=["taken", "refused"],
)
def test_a_webhook_is_tried(
    llmenv: Callable[..., Any], door: Any, is_delivered: bool, code: int, line: str
) -> None:
    """The exit code says whether it arrived."""
    door.is_delivered = is_delivered
    tried = llmenv("fleet", "notices", "test", "lab", "--format", "csv")
    assert (tried.code, tried.err) == (code, "")
    assert tried.out.split() == ["webhook,delivery,outcome", *line.split()]
    assert door.requests[-1].webhook == "lab"


def test_what_is_muted(llmenv: Callable[..., Any], door: Any) -> None:
    """Everything that was given reaches the collector."""
    named = ("--machine", "air-7", "--machine", "studio-3", "--check", "packages")
    muted = llmenv(
        "fleet", "notices", "mute", *named, "--kind", "check_failing", "--reason", "known", "--for", "3d"
    )
    assert muted.code == 0
    assert door.requests[-1] == messages.MuteNoticesRequest(
        machines=["air-7", "studio-3"],
        check_name="packages",
        kind="check_failing",
        reason="known",
        expires_in_seconds=3 * 86_400,
    )
    llmenv("fleet", "notices", "mute", "--check", "ops", "--reason", "known", "--until", "2999-01-01")
    assert door.requests[-1].expires_in_seconds > 10**9


def test_a_mute_is_ended(llmenv: Callable[..., Any], door: Any) -> None:
    """By the beginning of its id."""
    assert llmenv("fleet", "notices", "unmute", "019c6120", "--format", "json").code == 0
    assert door.requests[-1].mute_id == "019c6120"


def test_until_is_a_date_or_a_time() -> None:
    """UTC unless it says otherwise; not over."""
    assert seconds_until("2026-12-02", now=NOW) == 12 * 3_600
    assert seconds_until("2026-12-01T15:00+01:00", now=NOW) == 2 * 3_600
    for text in ("tomorrow", "2026-12-01"):
        with pytest.raises(UsageError, match="--until: "):
            seconds_until(text, now=NOW)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--reason", "known", "--for", "1d"], "Say what is muted: give --machine, --check or --kind."),
        (["--check", "ops", "--for", "1d"], "A mute says why and until when"),
        (["--check", "ops", "--reason", "known"], "A mute says why and until when"),
        (
            ["--check", "ops", "--reason", "known", "--for", "1d", "--until", "2999-01-01"],
            "either --for or --until",
        ),
        (["--kind", "fails", "--reason", "known", "--for", "1d"], "'fails' is not one of"),
    ],
    ids=["nothing", "no-reason", "no-end", "two-ends", "kind"],
)
def test_a_wrong_call_is_one_sentence(
    llmenv: Callable[..., Any], door: Any, arguments: list[str], sentence: str
) -> None:
    """Before anything is asked of a collector."""
    refused = llmenv("fleet", "notices", "mute", *arguments)
    assert (refused.code, door.requests) == (USAGE, [])
    assert sentence in refused.err
