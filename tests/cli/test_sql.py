"""llmenv sql: parameters, formats, views, and where a statement ends."""

from __future__ import annotations

import datetime as dt
import io
import json
import stat
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv_cli.errors import UnreachableError, UsageError
from llmenv_cli.sql import pointing, statements
from llmenv_cli.sql.answer import Answer
from llmenv_cli.sql.completion import suggestions
from llmenv_cli.sql.output import STREAMED
from llmenv_cli.sql.parameters import parameters_of
from llmenv_cli.sql.prompt import is_entry
from llmenv_cli.sql.views import View, ViewColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USAGE, UNREACHABLE = 2, 3
TIME = dt.datetime(2026, 2, 15, 16, 30, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "name": ["a;b", None],
        "labels": pa.array([[("room", "b12")], []], pa.map_(pa.string(), pa.string())),
        "trials": [[1.5, 2.5], None],
        "total": pa.array([12, 13], pa.decimal128(38, 0)),
        "at": pa.array([TIME, None], pa.timestamp("us", tz="UTC")),
        "value": [float("nan"), 0.1],
    }
)


def answer_of(
    table: pa.Table, *, batch_rows: int = 1, rows: int | None = None
) -> list[messages.QueryResponse]:
    """As a collector sends it: a part for the time, one a batch, one for the end."""
    sink = io.BytesIO()
    parts = [messages.QueryResponse()]
    parts[0].snapshot_at.FromDatetime(TIME)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=batch_rows):
            writer.write_batch(batch)
            parts.append(messages.QueryResponse(arrow_ipc=sink.getvalue()))
            sink.seek(0)
            sink.truncate()
    parts.append(messages.QueryResponse(arrow_ipc=sink.getvalue()))
    return [*parts, messages.QueryResponse(rows=table.num_rows if rows is None else rows)]


def view(name: str, *columns: str) -> View:
    described = tuple(ViewColumn(name=each, type="VARCHAR", unit="", meaning="") for each in columns)
    return View(name=name, meaning="", time_column=None, question="", example="", columns=described)


VIEWS = [view("machines", "hostname", "chip"), view("runs", "hostname", "suite", "started_at")]


def test_parameters_are_sent_beside_the_statement(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """Each with the type that was asked for; text is text, whatever it looks like."""
    logged_in.servicer.query_parts = answer_of(TABLE)
    written = ["chip=Apple M2 'Ultra'; --", "os=26.3", "n:integer=-3", "x:number=1e3", "on:boolean=TRUE"]
    written += ["since:time=2026-03-01", "until:time=2026-03-01T12:00:00.5+02:00", "none:null=", "1=first"]
    flags = [part for each in written for part in ("--param", each)]
    assert llmenv("sql", "SELECT $chip", *flags).code == 0
    request = logged_in.servicer.requests[-1]
    assert request.sql == "SELECT $chip"
    kinds = [(each.name, each.WhichOneof("value")) for each in request.parameters]
    assert kinds == [
        ("chip", "text"),
        ("os", "text"),
        ("n", "integer"),
        ("x", "number"),
        ("on", "boolean"),
        ("since", "time"),
        ("until", "time"),
        ("none", None),
        ("1", "text"),
    ]
    assert request.parameters[0].text == "Apple M2 'Ultra'; --"
    assert request.parameters[6].time.ToJsonString() == "2026-03-01T10:00:00.500Z"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        pytest.param(["n"], "is no parameter", id="no value"),
        pytest.param(["n:int=1"], "is 'int', and not text, integer", id="no type"),
        pytest.param(["n:integer=1.5"], "n is no integer: '1.5'", id="no integer"),
        pytest.param(["n:integer=9223372036854775808"], "n is no integer", id="too large"),
        pytest.param(["n:boolean=yes"], "n is no boolean: 'yes'", id="no boolean"),
        pytest.param(["n:time=March"], "n is no time: 'March'", id="no time"),
        pytest.param(["n:null=0"], "n is no null", id="not null"),
        pytest.param(["n=\udcff"], "n is no text", id="no UTF-8"),
        pytest.param(["n=1", "$n=2"], "n is given twice", id="twice"),
    ],
)
def test_a_parameter_that_cannot_be_one(written: list[str], words: str) -> None:
    """Said before anything is asked."""
    with pytest.raises(UsageError, match=words.replace("'", ".")):
        parameters_of(written)


def test_a_statement_from_a_file_or_stdin(llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path) -> None:
    """The text is sent as it is."""
    logged_in.servicer.query_parts = answer_of(TABLE)
    file = tmp_path / "ask.sql"
    file.write_text("SELECT\n  1 -- one\n", encoding="utf-8")
    assert llmenv("sql", "-f", str(file)).code == 0
    assert llmenv("sql", "-f", "-", stdin="SELECT 'ö'".encode()).code == 0
    assert [each.sql for each in logged_in.servicer.requests[-2:]] == ["SELECT\n  1 -- one\n", "SELECT 'ö'"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "a shell starts only on a terminal", id="nothing"),
        pytest.param(["SELECT 1", "--tables"], "Give one of a statement", id="two"),
        pytest.param(["-f", "none.sql"], "none.sql cannot be read: No such file", id="no file"),
        pytest.param(["--tables", "--format", "parquet"], "not as parquet", id="no listing"),
        pytest.param(["SELECT 1", "--output", "none/a.csv"], "there is no folder", id="no folder"),
    ],
)
def test_what_cannot_be_asked(
    llmenv: Callable[..., Any], logged_in: Any, arguments: list[str], words: str
) -> None:
    """One sentence, and exit code 2."""
    refused = llmenv("sql", *arguments)
    assert (refused.code, refused.out) == (USAGE, "")
    assert words in refused.err
    assert refused.err.count("\n") == 1


def test_formats_keep_values(llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path) -> None:
    """Lists and maps are such in JSON and JSON in a cell, and nothing is lost in Arrow and Parquet."""
    logged_in.servicer.query_parts = answer_of(TABLE)
    first = {
        "name": "a;b",
        "labels": {"room": "b12"},
        "trials": [1.5, 2.5],
        "total": 12,
        "at": "2026-02-15T16:30:00+00:00",
        "value": None,
    }
    second = {"name": None, "labels": {}, "trials": None, "total": 13, "at": None, "value": 0.1}
    assert llmenv("sql", "SELECT 1", "--format", "json").out == (
        json.dumps([first, second], indent=2, ensure_ascii=False) + "\n"
    )
    assert llmenv("sql", "SELECT 1", "--format", "csv").out.splitlines() == [
        "name,labels,trials,total,at,value",
        'a;b,"{""room"": ""b12""}","[1.5, 2.5]",12,2026-02-15T16:30:00+00:00,',
        ",{},,13,,0.1",
    ]
    for output_format in ("arrow", "parquet", "md"):
        file = tmp_path / f"answer.{output_format}"
        assert llmenv("sql", "SELECT 1", "--format", output_format, "--output", str(file)).code == 0
    assert pa.ipc.open_stream(tmp_path / "answer.arrow").read_all().schema == TABLE.schema
    assert pq.read_table(tmp_path / "answer.parquet").drop(["value"]).equals(TABLE.drop(["value"]))
    assert sorted(each.name for each in tmp_path.glob("answer.*")) == [
        "answer.arrow",
        "answer.md",
        "answer.parquet",
    ]


def test_an_answer_that_broke_off_leaves_no_file(
    llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path
) -> None:
    """What was there before is there still."""
    file = tmp_path / "answer.csv"
    file.write_text("before")
    logged_in.servicer.query_parts = answer_of(TABLE, rows=7)
    broken = llmenv("sql", "SELECT 1", "--format", "csv", "--output", str(file))
    assert (broken.code, file.read_text()) == (UNREACHABLE, "before")
    assert "broke off after 2 rows" in broken.err
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("output_format", ["csv", "json"])
def test_rows_are_written_while_others_are_still_to_come(output_format: str) -> None:
    """When the last part is asked for, rows of the first are already written."""
    text = io.StringIO()
    seen: list[int] = []

    def arriving() -> Iterator[messages.QueryResponse]:
        for part in answer_of(pa.table({"n": list(range(50))})):
            seen.append(len(text.getvalue()))
            yield part

    STREAMED[output_format](Answer(arriving()), text)
    assert seen == sorted(seen)
    assert 0 < seen[10] < seen[30] < len(text.getvalue())


def test_what_the_call_raises_comes_through() -> None:
    """An error in the middle is that error, and not one of Arrow."""

    def arriving() -> Iterator[messages.QueryResponse]:
        yield from answer_of(TABLE)[:3]
        raise UnreachableError("The collector stopped it.")

    with pytest.raises(UnreachableError, match="stopped it"):
        Answer(arriving()).table()


@pytest.mark.parametrize(
    ("text", "whole", "rest"),
    [
        ("SELECT 1; SELECT 2;  -- end", ["SELECT 1;", "SELECT 2;"], "-- end"),
        (
            "SELECT ';' || \"a;b\" || $$;$$ || $t$;$$;$t$;",
            ["SELECT ';' || \"a;b\" || $$;$$ || $t$;$$;$t$;"],
            "",
        ),
        ("SELECT 'it''s;", [], "SELECT 'it''s;"),
        ("SELECT 1 -- ;\n", [], "SELECT 1 -- ;"),
        ("SELECT /* ; \n ; */ 1;", ["SELECT /* ; \n ; */ 1;"], ""),
        (";;", [], ""),
    ],
    ids=["two", "quoted", "open quote", "comment", "long comment", "nothing"],
)
def test_where_a_statement_ends(text: str, whole: list[str], rest: str) -> None:
    """At a semicolon outside of quotes and comments."""
    assert statements.split(text) == (whole, rest)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; -- done", True),
        ("SELECT 1; SELECT", False),
        ("SELECT ';", False),
        ("\\d runs", True),
        ("quit", True),
    ],
    ids=["nothing", "begun", "whole", "with comment", "second begun", "open quote", "command", "quit"],
)
def test_when_enter_ends_an_entry(text: str, *, ends: bool) -> None:
    """Statements go on to the next line until all have ended."""
    assert is_entry(text) is ends


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("SELECT * FROM ru", "", ["runs"]),
        ("SELECT ho", " FROM machines", ["hostname"]),
        ("SELECT r.s", " FROM runs AS r", ["suite", "started_at"]),
        ("SELECT machines.", " FROM machines", ["hostname", "chip"]),
        ("FROM v1.m", "", ["machines"]),
        ("sel", "", ["select"]),
        ("SEL", "", ["SELECT"]),
        ("SELECT ", "", []),
        ("\\d ma", "", ["machines"]),
        ("\\", "", ["\\d", "\\q", "\\?"]),
        ("SELECT nothing.x", "", []),
    ],
    ids=[
        "view",
        "column",
        "alias",
        "owner",
        "schema",
        "small",
        "large",
        "no word",
        "describe",
        "commands",
        "stranger",
    ],
)
def test_what_tab_offers(before: str, after: str, found: list[str]) -> None:
    """Columns of the views that the statement names come first."""
    assert [each.text for each in suggestions(before, after, VIEWS)] == found


def test_an_error_points_at_its_place() -> None:
    """Also behind wide characters, and in a line that is longer than the terminal."""
    said = "Binder Error: no such column (line 2, column 11)."
    assert pointing.pointed("SELECT 1,\n'电脑' AS 名, nonsense;", said, width=80) == (
        "'电脑' AS 名, nonsense;\n" + " " * 13 + "^"
    )
    long = f"SELECT {'x, ' * 60}nonsense"
    shown = pointing.pointed(long, "wrong (line 1, column 188)", width=40)
    assert shown is not None
    line, mark = shown.split("\n")
    assert line[mark.index("^") :].startswith("nonsense")
    assert len(line) <= 40
    assert pointing.pointed("SELECT 1", "The collector is gone.", width=80) is None


def test_the_history_is_its_owners_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mode 0600, also where it was wider; where it cannot be kept, that is said and the shell goes on."""
    from llmenv_cli.sql import prompt

    monkeypatch.setenv("LLMENV_STATE_DIR", str(tmp_path))
    file = tmp_path / "cli" / "sql_history"
    file.parent.mkdir()
    file.touch(0o666)
    prompt._history().append_string("SELECT 1;")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "+SELECT 1;" in file.read_text()
    monkeypatch.setenv("LLMENV_STATE_DIR", str(file))
    prompt._history().append_string("SELECT 2;")
    assert "The history is not kept" in capsys.readouterr().err


def test_the_shell_without_prompt_toolkit_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is asked."""
    import importlib.util

    from llmenv_cli.errors import NotInstalledError
    from llmenv_cli.sql.shell import require_prompt_toolkit

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r"pip install 'llmenv\[sql\]'"):
        require_prompt_toolkit()
