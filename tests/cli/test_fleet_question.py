"""Options of the fleet report: what is sent, and what is refused before the collector is asked."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.periods import moment
from llmenv_cli.errors import UsageError
from llmenv_cli.requirements_file import WantedVersion, parse_line, read_requirements

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = dt.datetime(2026, 2, 16, 7, tzinfo=dt.UTC)
USAGE = 2


def asked(llmenv: Callable[..., Any], logged_in: Any, *arguments: str) -> messages.GetFleetReportRequest:
    """What the collector was asked."""
    before = len(logged_in.servicer.requests)
    ended = llmenv("fleet", "report", *arguments)
    assert len(logged_in.servicer.requests) == before + 1, ended.err
    request: messages.GetFleetReportRequest = logged_in.servicer.requests[-1]
    return request


def test_without_an_option_nothing_is_set(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """The collector's own defaults hold."""
    assert asked(llmenv, logged_in) == messages.GetFleetReportRequest()


def test_every_option_is_sent(llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path) -> None:
    """Names normalised, percentages as shares."""
    pins = tmp_path / "requirements.txt"
    pins.write_text("torch == 2.11.0\nMLX_LM>=0.26,<1\n")
    request = asked(
        llmenv,
        logged_in,
        *("--by", "package", "--package", "Torch", "--baseline", "torch==2.10.0"),
        *("--candidate", "TORCH == 2.11.0", "--where", "labels['room'] = 'b12'", "--check", "ops"),
        *("--check", "peft_lora", "--chip", "Apple M2 Max", "--pin", str(pins), "--min-effect", "2.5%"),
        *("--fdr", "10 %", "--as-of", "2024-01-31T18:00+01:00", "--since", "1d", "--explain"),
    )
    expected = messages.GetFleetReportRequest(
        where="labels['room'] = 'b12'",
        checks=["ops", "peft_lora"],
        by=messages.AXIS_PACKAGE,
        package="torch",
        baseline="torch==2.10.0",
        candidate="torch==2.11.0",
        reference_chip="Apple M2 Max",
        pins=[{"package": "torch", "specifier": "==2.11.0"}, {"package": "mlx-lm", "specifier": ">=0.26,<1"}],
        minimum_effect=0.025,
        false_discovery_rate=0.1,
        explain=True,
    )
    expected.as_of.FromJsonString("2024-01-31T17:00:00Z")
    expected.since.FromJsonString("2024-01-30T17:00:00Z")
    assert request == expected


def test_since_is_sent_as_a_moment(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """30 days before now; the epoch itself is the whole history; and nothing at all without the flag."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)
    since = asked(llmenv, logged_in, "--since", "30d").since.ToDatetime(dt.UTC)
    assert before - dt.timedelta(hours=1) < since < before + dt.timedelta(hours=1)
    whole = asked(llmenv, logged_in, "--since", "all")
    assert (whole.HasField("since"), whole.since.ToSeconds()) == (True, 0)
    assert not asked(llmenv, logged_in).HasField("since")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-15", dt.datetime(2026, 2, 16, tzinfo=dt.UTC)),
        ("2026-02-16", None),
        ("2026-02-16T06:00", dt.datetime(2026, 2, 16, 6, tzinfo=dt.UTC)),
        ("2026-02-16T08:00+02:00", dt.datetime(2026, 2, 16, 6, tzinfo=dt.UTC)),
        ("2026-02-16 06:00Z", dt.datetime(2026, 2, 16, 6, tzinfo=dt.UTC)),
    ],
)
def test_moments(text: str, expected: dt.datetime | None) -> None:
    """A day is meant to its end; today has none yet, which is the same as now."""
    assert moment(text, now=NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "2026-02-30", "2026-02-17", "2026-02-16T07:01", "0001-01-01"])
def test_no_moments(text: str) -> None:
    """Neither what is no date nor what is yet to come."""
    with pytest.raises(ValueError, match=r"\.$"):
        moment(text, now=NOW)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "yesterday"], "no length of time"),
        (["--since", "0d"], "no length of time"),
        (["--as-of", "tomorrow"], "no date such as"),
        (["--as-of", "9999-12-31"], "yet to come"),
        (["--by", "colour"], "Invalid value for '--by'"),
        (["--package", "to rch"], "no name of a package"),
        (["--baseline", "torch"], "no version such as torch==2.11.0"),
        (["--candidate", "torch>=2"], "no version such as torch==2.11.0"),
        (["--baseline", "torch==2.10.0", "--candidate", "numpy==2.3.5"], "these are several: numpy, torch"),
        (["--package", "numpy", "--baseline", "torch==2.10.0"], "these are several: numpy, torch"),
        (["--baseline", "torch==2.10.0", "--candidate", "torch==2.10.0"], "the same version"),
        (["--min-effect", "3"], "no percentage"),
        (["--min-effect", "0%"], "no percentage"),
        (["--min-effect", "-3%"], "no percentage"),
        (["--fdr", "100%"], "no percentage"),
        (["--fdr", "nan%"], "no percentage"),
        (["--check", ""], "1 to 200 characters"),
        (["--chip", "x" * 201], "1 to 200 characters"),
        (["--pin", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--format", "yaml"], "Invalid value for '--format'"),
        (["--lang", "fr"], "Invalid value for '--lang'"),
        (["--output", "/nowhere/report"], "there is no folder /nowhere"),
        (["--output", "/"], "it is a folder"),
    ],
    ids=lambda part: " ".join(part)[:60] if isinstance(part, list) else "",
)
def test_bad_values_are_one_sentence(
    llmenv: Callable[..., Any], logged_in: Any, arguments: list[str], words: str
) -> None:
    """What is wrong and how to write it; the collector is not asked."""
    asked_before = len(logged_in.servicer.requests)
    refused = llmenv("fleet", "report", *arguments)
    assert (refused.code, refused.out) == (USAGE, "")
    assert words in refused.err
    assert "Traceback" not in refused.err
    assert len(logged_in.servicer.requests) == asked_before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("torch==2.11.0", ("torch", "==2.11.0")),
        ("torch == 2.11.0  # the one that works", ("torch", "==2.11.0")),
        ("torch[opt]~=2.10", ("torch", "~=2.10")),
        ("Foo.Bar_baz (>=1, <2)", ("foo-bar-baz", ">=1,<2")),
        ("torch==2.11.0 --hash=sha256:00ff", ("torch", "==2.11.0")),
        ("torch==2.*,!=2.9.*", ("torch", "==2.*,!=2.9.*")),
        ("torch==2.11.0+cpu", ("torch", "==2.11.0+cpu")),
    ],
)
def test_lines_that_want_a_version(line: str, expected: tuple[str, str]) -> None:
    """As pip understands them."""
    wanted = parse_line(line, where="here")
    assert isinstance(wanted, WantedVersion)
    assert (wanted.package, wanted.specifier) == expected


@pytest.mark.parametrize("line", ["", "   ", "# torch==2.11.0", "--index-url https://example.org/simple"])
def test_lines_that_want_nothing(line: str) -> None:
    """Options of pip and comments say nothing about versions."""
    assert parse_line(line, where="here") is None


@pytest.mark.parametrize(
    "line",
    [
        "torch",
        "-e .",
        "./wheels/torch.whl",
        "torch @ https://example.org/torch.whl",
        "git+https://example.org/torch.git",
        "mlx==0.30.0; sys_platform == 'darwin'",
    ],
)
def test_lines_that_are_left_out_are_said(line: str) -> None:
    """They want no version of every machine."""
    said = parse_line(line, where="requirements.txt, line 3")
    assert isinstance(said, str)
    assert said.startswith("requirements.txt, line 3: ")
    assert said.endswith("so it is left out.")


@pytest.mark.parametrize(
    "line", ["torch=2.11.0", "torch==", "torch==2.11.0 2.12.0", "=1+1", "torch>2.*", "?!"]
)
def test_lines_that_are_wrong_name_themselves(tmp_path: Path, line: str) -> None:
    """The file and the line, so that an editor can go there."""
    file = tmp_path / "pins.txt"
    file.write_text(f"numpy==2.3.5\n\n{line}\n")
    with pytest.raises(UsageError, match=r"pins\.txt, line 3: .*such as"):
        read_requirements(file)


def test_files_include_others(tmp_path: Path) -> None:
    """Beside the including file; a line that goes on counts by its first."""
    (tmp_path / "base.txt").write_bytes(b"\xef\xbb\xbfnumpy==2.3.5\r\n")
    file = tmp_path / "pins.txt"
    file.write_text("-r base.txt\ntorch \\\n  ==2.11.0\npeft\n")
    wanted = read_requirements(file)
    assert [(one.package, one.specifier) for one in wanted.versions] == [
        ("numpy", "==2.3.5"),
        ("torch", "==2.11.0"),
    ]
    assert wanted.left_out == (f"{file}, line 4: 'peft' names no version, so it is left out.",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "wants no version"),
        (b"torch\n", "wants no version"),
        (b"\xff\xfe\x00", "not UTF-8 at byte 0"),
        (b"-r pins.txt\n", "includes itself"),
        (b"-r other.txt\n", "other.txt cannot be read"),
        (b"torch==1\nTorch==2\n", "line 2: torch is wanted already in"),
        (b"#" * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes, words: str) -> None:
    """One sentence with the file."""
    file = tmp_path / "pins.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_requirements(file)


def test_what_a_requirements_file_does_not_pin_is_said(
    llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path
) -> None:
    """On stderr, and the rest is asked."""
    file = tmp_path / "pins.txt"
    file.write_text("torch==2.11.0\npeft\n")
    reported = llmenv("fleet", "report", "--pin", str(file), "--format", "json")
    assert f"{file}, line 2: 'peft' names no version" in reported.err
    assert [pin.package for pin in logged_in.servicer.requests[-1].pins] == ["torch"]
