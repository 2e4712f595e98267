"""No person is found in log tails: the own name and home, and the homes of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llmenv_agent import privacy
from llmenv_agent.check_process import LOG_TAIL_BYTES, _log_text
from llmenv_agent.privacy import PERSON, without
from llmenv_agent.process import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDINGS = Path(__file__).parent.parent / "recordings"
LINE = 'File "/Users/ada/llm/train.py", line 3, in ada: /home/bob/.cache/x /Users/Shared/y (ada@mac) adaptive'
CLEANED = (
    f'File "~/llm/train.py", line 3, in {PERSON}: /home/{PERSON}/.cache/x /Users/Shared/y'
    f" ({PERSON}@mac) adaptive"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINE, CLEANED),
        ("/Users/ada", "~"),
        ("/Users/adam/x", f"/Users/{PERSON}/x"),
        ("'/Users/eve:/Users/mallory'", f"'/Users/{PERSON}:/Users/{PERSON}'"),
        ("HOME=/Users/ada\nada", f"HOME=~\n{PERSON}"),
        ("/Users/José Müller/x", f"/Users/{PERSON} Müller/x"),
        ("nothing of anybody", "nothing of anybody"),
    ],
    ids=["traceback", "home", "longer-name", "list", "lines", "space", "nobody"],
)
def test_names_and_homes_are_taken_out_of_log_tails(text: str, expected: str) -> None:
    """As tracebacks, caches and lists of paths have them; words that begin like a name stay."""
    assert without(text, home="/Users/ada", name="ada") == expected
    assert without(expected, home="/Users/ada", name="ada") == expected


@pytest.mark.parametrize("name", ["root", "admin", "me", ""])
def test_a_name_of_nobody_stays(name: str) -> None:
    """It would take ordinary words with it, and identifies no person."""
    text = "root admin me: nothing"
    assert without(text, home="", name=name) == text


def recordings(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.txt")):
        yield path.read_text(encoding="utf-8", errors="replace")


def test_recordings_stay_as_they_are_and_lose_who_is_planted() -> None:
    """What real tools print has a person planted in each line, and loses just that."""
    texts = list(recordings(RECORDINGS))
    assert len(texts) > 10
    for text in texts:
        plain = without(text, home="/Users/zoe-planted", name="zoe-planted")
        assert "/Users/" not in plain.replace("/Users/Shared", "").replace(f"/Users/{PERSON}", "")
        planted = "\n".join(f"/Users/zoe-planted/x zoe-planted {line}" for line in plain.splitlines())
        cleaned = without(planted, home="/Users/zoe-planted", name="zoe-planted")
        assert "zoe" not in cleaned
        assert [line.removeprefix(f"~/x {PERSON} ") for line in cleaned.splitlines()] == plain.splitlines()


def test_recordings_of_real_macs_name_nobody(mac_recordings: Path) -> None:
    """Whatever is in them."""
    for text in recordings(mac_recordings):
        cleaned = without(text, home="/Users/ada", name="ada")
        assert "/Users/" not in cleaned.replace("/Users/Shared", "").replace(f"/Users/{PERSON}", "")


def test_what_a_check_prints_is_cleaned_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """And stays within its bound."""
    monkeypatch.setattr(privacy, "own_name", lambda: "ada")
    monkeypatch.setattr(privacy, "own_home", lambda: "/Users/ada")
    printed = b"ada\n" * LOG_TAIL_BYTES + b"/Users/ada/x"
    ended = Ended(
        returncode=0,
        stopped=None,
        children_left_behind=0,
        log_tail=printed,
        log_bytes_cut=0,
        wall_seconds=1.0,
    )
    log, cut = _log_text(ended)
    assert log.endswith(f"{PERSON}\n~/x")
    assert len(log.encode()) <= LOG_TAIL_BYTES
    assert cut > 0


def test_who_runs_the_agent_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system says it; what was known before does not count here, and this not afterwards."""
    monkeypatch.setenv("LOGNAME", "zoe-planted")
    privacy.own_name.cache_clear()
    try:
        assert privacy.own_name() == "zoe-planted"
    finally:
        privacy.own_name.cache_clear()
    assert Path(privacy.own_home()).is_absolute()
