"""Listings, reports and SQL from a collector over TLS, and what is said when it does not answer."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pyarrow as pa
import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv_cli.client import translated
from llmenv_cli.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UNREACHABLE, PARTIAL, REFUSED, NOT_INSTALLED = 3, 4, 5, 6
LISTINGS = [["run", "list"], ["fleet", "machines"]]


def query_answer(*, rows: int, is_truncated: bool = False) -> list[messages.QueryResponse]:
    """An Arrow IPC stream in two parts, as the collector sends it."""
    table = pa.table(
        {"hostname": [f"studio-{n}" for n in range(rows)], "seconds": [n + 0.5 for n in range(rows)]}
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue()
    first = messages.QueryResponse(arrow_ipc=content[:100])
    first.snapshot_at.FromJsonString("2026-02-15T16:30:00Z")
    return [first, messages.QueryResponse(arrow_ipc=content[100:], is_truncated=is_truncated, rows=rows)]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("output_format", ["table", "md"])
@pytest.mark.parametrize("arguments", LISTINGS, ids="-".join)
def test_listings_for_people(
    llmenv: Callable[..., Any],
    golden: Any,
    logged_in: Any,
    *,
    arguments: list[str],
    output_format: str,
    language: str,
) -> None:
    """Titles and words in both languages."""
    listed = llmenv(*arguments, "--format", output_format, "--lang", language)
    assert listed.code == 0
    assert listed.out == golden(name=f"{'-'.join(arguments)}-{output_format}-{language}")


@pytest.mark.parametrize("output_format", ["json", "csv"])
@pytest.mark.parametrize("arguments", LISTINGS, ids="-".join)
def test_listings_for_programs(
    llmenv: Callable[..., Any], golden: Any, logged_in: Any, arguments: list[str], output_format: str
) -> None:
    """Whole ids, bytes and ISO times, whatever the language."""
    listed = llmenv(*arguments, "--format", output_format)
    assert listed.out == golden(name=f"{'-'.join(arguments)}-{output_format}")
    assert listed.out == llmenv(*arguments, "--format", output_format, "--lang", "zh").out


def test_a_listing_that_is_not_all_says_so(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """On stderr, so that a pipe gets rows alone."""
    listed = llmenv("run", "list", "--limit", "1", "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(listed.out)))) == 1
    assert "1 of 2 runs" in listed.err


def test_run_by_the_beginning_of_its_id(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """The collector finds it; the report is that of the file."""
    shown = llmenv("run", "show", "019c6120")
    assert shown.code == 0
    assert "Apple M2 Ultra" in shown.out


def test_unknown_run(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """The collector's sentence, and exit code 2."""
    shown = llmenv("run", "show", "019c9999")
    assert (shown.code, shown.out, shown.err) == (2, "", "llmenv: There is no run '019c9999'.\n")


@pytest.mark.parametrize("output_format", ["table", "md", "json", "csv"])
def test_sql(llmenv: Callable[..., Any], golden: Any, logged_in: Any, output_format: str) -> None:
    """Rows on stdout, the time of the snapshot on stderr."""
    logged_in.servicer.query_parts = query_answer(rows=3)
    answered = llmenv("sql", "SELECT * FROM v1.machines", "--format", output_format)
    assert answered.code == 0
    assert answered.out == golden(name=f"sql-{output_format}")
    assert answered.err == "Rows: 3, as of 2026-02-15 16:30:00 UTC.\n"


def test_sql_cut_by_the_cap(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """An answer that is not whole has an exit code of its own."""
    logged_in.servicer.query_parts = query_answer(rows=2, is_truncated=True)
    answered = llmenv("sql", "SELECT 1", "--format", "csv")
    assert answered.code == PARTIAL
    assert "The answer was cut there" in answered.err


def test_sql_that_is_wrong(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """The parser's sentence, and exit code 2."""
    answered = llmenv("sql", "nonsense")
    assert (answered.code, answered.out) == (2, "")
    assert answered.err == "llmenv: Parser Error: syntax error at 'nonsense'.\n"


def test_sql_answer_that_broke_off(llmenv: Callable[..., Any], logged_in: Any) -> None:
    """Half a stream is no answer."""
    logged_in.servicer.query_parts = query_answer(rows=3)[:1]
    answered = llmenv("sql", "SELECT 1")
    assert (answered.code, answered.out) == (UNREACHABLE, "")
    assert "broke off" in answered.err


def test_sql_without_the_right(llmenv: Callable[..., Any], collector: Any) -> None:
    """A viewer may see reports, and no SQL."""
    assert llmenv("login", stdin=collector.token("viewer-secret").encode()).code == 0
    answered = llmenv("sql", "SELECT 1")
    assert answered.code == REFUSED
    assert "Query needs the role analyst" in answered.err


def test_sql_without_pyarrow_names_the_extra() -> None:
    """Said before anything is asked."""
    code = "import sys; sys.modules['pyarrow'] = None; sys.argv = ['llmenv', 'sql', 'SELECT 1']"
    code += "; import importlib.util as u; find = u.find_spec"
    code += "; u.find_spec = lambda name, *a: None if name == 'pyarrow' else find(name, *a)"
    code += "; from llmenv_cli.main import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (NOT_INSTALLED, "")
    assert "pip install 'llmenv[sql]'" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [*LISTINGS, ["fleet", "report"], ["run", "show", "019c6120"], ["sql", "SELECT 1"]],
    ids="-".join,
)
def test_collector_that_went_away(
    llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path, arguments: list[str]
) -> None:
    """Nobody listens any more: one sentence with the address."""
    file = tmp_path / "config" / "credentials.json"
    kept = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**kept, "address": "127.0.0.1:1"}))
    outcome = llmenv(*arguments)
    assert (outcome.code, outcome.out) == (UNREACHABLE, "")
    assert outcome.err.startswith("llmenv: No collector answers at 127.0.0.1:1: ")
    assert len(outcome.err.splitlines()) == 1


def test_token_that_ended_since_the_login(llmenv: Callable[..., Any], logged_in: Any, tmp_path: Path) -> None:
    """What the collector says about it is passed on."""
    file = tmp_path / "config" / "credentials.json"
    kept = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**kept, "token": "expired-secret"}))
    outcome = llmenv("run", "list")
    assert outcome.code == REFUSED
    assert "The token has expired." in outcome.err


def test_another_collector_at_the_same_address(
    llmenv: Callable[..., Any], logged_in: Any, stranger_ca_pem: str
) -> None:
    """Its certificate is of another authority: the token is not sent to it."""
    known = Credentials.load()
    Credentials(address=known.address, ca_pem=stranger_ca_pem, token=known.token).save(in_keyring=False)
    asked_before = len(logged_in.servicer.requests)
    outcome = llmenv("run", "list")
    assert outcome.code == REFUSED
    assert "`llmenv login` again" in outcome.err
    assert len(logged_in.servicer.requests) == asked_before


class Failure(grpc.RpcError):
    """As gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
@pytest.mark.parametrize("details", [None, "", "Something is wrong."])
def test_every_status_of_grpc_is_one_sentence(code: grpc.StatusCode, details: str | None) -> None:
    """Whatever a collector answers, a person reads what and where, with one full stop."""
    error = translated(Failure(code, details), address="collector.lab:7443")
    assert str(error).endswith(".")
    assert not str(error).endswith("..")
    assert error.exit_code in {2, UNREACHABLE, REFUSED}
