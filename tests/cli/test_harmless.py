"""What agents send does not steer the terminal of whoever reads it."""

from __future__ import annotations

import io

import pytest
from llmenv.catalog.texts import texts
from llmenv.fleet.v1 import run_pb2
from llmenv_cli.render.blocks import Column, Grid, Paragraph, Report, Section
from llmenv_cli.render.listing import plain
from llmenv_cli.render.markdown import markdown
from llmenv_cli.render.run_view import RunView
from llmenv_cli.render.sections import header
from llmenv_cli.render.terminal import write_report

HOSTILE = "\x1b]0;owned\x07\x1b[2Jmac\x9b1m\u202e"
REPORT = Report(
    title=HOSTILE,
    sections=(Section(HOSTILE, (Paragraph(HOSTILE), Grid(columns=(Column(HOSTILE),), rows=((HOSTILE,),)))),),
)


def on_the_terminal() -> str:
    stream = io.StringIO()
    write_report(REPORT, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "written", [on_the_terminal, lambda: markdown(REPORT), lambda: plain(HOSTILE)], ids=["table", "md", "csv"]
)
def test_escape_sequences_are_shown_and_not_obeyed(written: object) -> None:
    """The letters stay; no control character does."""
    assert callable(written)
    text = written()
    assert "mac" in text
    assert [each for each in HOSTILE if not each.isprintable() and each in text] == []


def test_an_outcome_of_a_newer_agent_is_not_known() -> None:
    """The report of such a run is shown all the same."""
    run = run_pb2.Run(run_id="r")
    run.MergeFromString(b"\x60\x4d")  # outcome = 77
    assert run.outcome == 77
    section = header.header(RunView(run), texts("en"))
    shown = [row for block in section.blocks if isinstance(block, Grid) for row in block.rows]
    assert texts("en").say("outcome.0") in {row[1] for row in shown}
