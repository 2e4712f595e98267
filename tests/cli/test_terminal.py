"""On a terminal there is colour, unless NO_COLOR says otherwise; narrow ones lose columns, not letters."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Column, Grid, Report, Section, Verbatim
from llmenv_cli.render.terminal import write_grid, write_report

if TYPE_CHECKING:
    import pytest

RUN = str(Path(__file__).resolve().parent / "runs" / "not_ready.json")
SHOW = "import sys; sys.argv[0] = 'llmenv'; from llmenv_cli.main import main; main()"
COLOUR = re.compile(r"\x1b\[3[0-7]m")
GRID = Grid(
    columns=(Column("Name"), Column("Sentence", wraps=True), Column("Chip", is_optional=True)),
    rows=(("studio-3", "something that was found and takes its room", "Apple M2 Ultra"),),
)


def on_a_terminal(**environment: str) -> str:
    """What llmenv writes to a pseudo-terminal."""
    terminal, line = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    process = subprocess.Popen(
        [sys.executable, "-c", SHOW, "run", "show", RUN],
        stdout=line,
        env={**clean, "TERM": "xterm-256color", **environment},
    )
    os.close(line)
    written = b""
    try:
        while chunk := os.read(terminal, 65_536):
            written += chunk
    except OSError:  # Linux ends a pseudo-terminal so
        pass
    finally:
        os.close(terminal)
    assert process.wait() == 0
    return written.decode()


def grid_at(width: int, monkeypatch: pytest.MonkeyPatch, grid: Grid = GRID) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    write_grid(grid, stream)
    return stream.getvalue()


def test_verdicts_are_coloured_on_a_terminal() -> None:
    """Red and magenta, at least."""
    assert {"\x1b[31m", "\x1b[35m"} <= set(COLOUR.findall(on_a_terminal()))


def test_no_color_is_respected() -> None:
    """See no-color.org."""
    assert COLOUR.findall(on_a_terminal(NO_COLOR="1")) == []


def test_optional_columns_are_shown_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """120 columns are enough for all."""
    assert "Apple M2 Ultra" in grid_at(120, monkeypatch)


def test_optional_columns_go_first_where_room_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence keeps room to be read; no other column is cut."""
    shown = grid_at(40, monkeypatch)
    assert shown.splitlines()[-1].strip() == "--format md: + Chip"
    assert "studio-3" in shown
    assert max(len(line) for line in shown.splitlines()) <= 40


def test_names_are_folded_before_a_figure_loses_a_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 25 that is cut to a 2 is another figure."""
    names = ("bench_memory_bandwidth", "share_of_bandwidth")
    columns = (
        Column("Check"),
        Column("Measurement"),
        *(Column(f"Figure {n}", is_number=True) for n in "abc"),
    )
    shown = grid_at(60, monkeypatch, Grid(columns=columns, rows=((*names, "12,345", "25", "98.5 %"),)))
    assert max(len(line) for line in shown.splitlines()) <= 60
    assert re.search(r"12,345 +25 +98\.5 %", shown)
    folded = [line.split() for line in shown.splitlines()[2:]]
    assert "".join(line[0] for line in folded).startswith("bench_memory")


def test_a_table_that_cannot_fit_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No column vanishes and no figure is cut: the terminal wraps the lines."""
    figures = [str(10**9 + number) for number in range(8)]
    columns = (Column("Name"), *(Column(figure, is_number=True) for figure in figures))
    shown = grid_at(60, monkeypatch, Grid(columns=columns, rows=(("studio-3", *figures),)))
    assert shown.splitlines()[-1].split() == ["studio-3", *figures]


def test_a_statement_is_copied_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line break within a text of SQL would ask for another chip."""
    monkeypatch.setenv("COLUMNS", "20")
    statement = "SELECT * FROM v1.machines WHERE chip = 'Apple M2 Ultra'"
    stream = io.StringIO()
    write_report(Report("A report", (Section("Statements", (Verbatim(statement),)),)), stream)
    assert f"\n  {statement}\n" in stream.getvalue()
