"""The command line: clear sentences, exit codes, and lean imports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from llmenv.printed_token import PrintedToken
from llmenv_collector import settings
from llmenv_collector.errors import UsageError
from llmenv_collector.exit_codes import ExitCode
from llmenv_collector.main import COMMANDS
from llmenv_collector.settings import load

from .conftest import RunningCollector, run_command

if TYPE_CHECKING:
    from pathlib import Path


def test_init_twice_harms_nothing(tmp_path: Path) -> None:
    """The second time it says so, prints no token, and changes no file."""
    first = run_command("init", "--data", str(tmp_path), "--host", "collector.lab.example")
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    second = run_command("init", "--data", str(tmp_path))
    assert PrintedToken.parse(first.stdout).address == "collector.lab.example:7443"
    assert (second.returncode, second.stdout) == (0, "")
    assert "already holds a collector" in second.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize("command", ["serve", "token list", "machine list", "migrate"])
def test_commands_say_when_there_is_no_collector(tmp_path: Path, command: str) -> None:
    """One sentence that says what to do."""
    done = run_command(*command.split(), "--data", str(tmp_path))
    assert done.returncode == 1
    assert "run `llmenv-collector init" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["backup", "restore", "migrate", "retention", "compact"])
def test_what_is_for_a_file_is_refused_of_a_lake(own_collector: RunningCollector, command: str) -> None:
    """In the same sentence while it serves and afterwards."""
    folder = str(own_collector.folder)
    (own_collector.folder / "collector.toml").write_text('store = "ducklake"\n', encoding="utf-8")
    arguments = [command, "--data", folder, *([f"{folder}/copy"] if command == "backup" else [])]
    serving = run_command(*arguments)
    own_collector.stop()
    stopped = run_command(*arguments)
    for done in (serving, stopped):
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
        assert done.stderr.startswith("llmenv-collector: The store is a lake: ")
        assert done.stderr.count("\n") == 1


def test_a_lost_authority_is_never_made_anew(tmp_path: Path) -> None:
    """Machines trust the old one: neither serve nor init touches a folder whose key is gone."""
    run_command("init", "--data", str(tmp_path))
    (tmp_path / "ca-key.pem").unlink()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for command in ("serve", "init"):
        done = run_command(command, "--data", str(tmp_path))
        assert done.returncode == 1
        assert "without ca-key.pem" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("ca.pem", b"", "ca.pem, of the authority, cannot be read"),
        ("ca.pem", None, "ca.pem, of the authority, is not there"),
        ("ca-key.pem", b"\xff", "ca-key.pem, of the authority, cannot be read"),
        ("ca.pem", b"another", "ca.pem is not of the key beside it"),
        ("identity.db", b"", "identity.db is no collector's, or was emptied"),
    ],
)
def test_a_file_that_only_a_copy_replaces_is_named_with_what_helps(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    """And nothing is made in its place."""
    run_command("init", "--data", str(tmp_path / "data"))
    if content == b"another":
        run_command("init", "--data", str(tmp_path / "other"))
        content = (tmp_path / "other" / name).read_bytes()
    damaged = tmp_path / "data" / name
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    done = run_command("serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "put it back from a copy, or run `llmenv-collector restore --with-identity`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (damaged.read_bytes() if damaged.exists() else None) == content


def test_a_second_serve_is_refused(own_collector: RunningCollector) -> None:
    """The folder is in use; the first one goes on."""
    done = run_command("serve", "--data", str(own_collector.folder))
    assert done.returncode == 1
    assert done.stderr == f"llmenv-collector: Another llmenv-collector already uses {own_collector.folder}.\n"
    assert own_collector.process.poll() is None


def test_a_port_in_use_is_refused(own_collector: RunningCollector, tmp_path: Path) -> None:
    """The sentence names the address."""
    other = str(tmp_path / "other")
    run_command("init", "--data", other)
    done = run_command("serve", "--data", other, "--listen", own_collector.people_address)
    assert (done.returncode, own_collector.people_address in done.stderr) == (2, True)
    assert "cannot be listened on" in done.stderr


def test_a_metrics_port_in_use_is_one_sentence(own_collector: RunningCollector, tmp_path: Path) -> None:
    """Nothing of a server that was never started is left to complain."""
    other = str(tmp_path / "other")
    run_command("init", "--data", other)
    listen = ("--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0")
    done = run_command("serve", "--data", other, *listen, "--metrics-listen", own_collector.people_address)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be listened on for metrics" in done.stderr


@pytest.mark.parametrize("host", ["", "collector.lab:7443", "bad host/x", "a,b", "-a.lab", "a" * 64 + ".lab"])
def test_a_host_that_is_none_makes_no_collector(tmp_path: Path, host: str) -> None:
    """A port is the likely mistake: tokens would carry an address that nobody reaches."""
    done = run_command("init", "--data", str(tmp_path / "new"), "--host", host)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "not a host name" in done.stderr
    assert not (tmp_path / "new" / "identity.db").exists()


def test_serving_json_is_there_while_it_serves(own_collector: RunningCollector) -> None:
    """It names the ports and the process, and goes when the collector ends; pages are served where asked."""
    path = own_collector.folder / "serving.json"
    assert json.loads(path.read_text()) == {
        "people_address": own_collector.people_address,
        "agents_address": own_collector.agents_address,
        "pages_address": "",
        "pid": own_collector.process.pid,
    }
    assert own_collector.stop(signal.SIGINT) == 0
    assert not path.exists()


def test_a_collector_remembers_the_host_it_was_made_for(tmp_path: Path) -> None:
    """collector.toml says that it serves others, so that `serve` and tokens need no flags."""
    run_command("init", "--data", str(tmp_path), "--host", "collector.lab.example")
    settings = load(tmp_path / "collector.toml", flags={}, environment={})
    assert (settings.listen, settings.advertise) == ("0.0.0.0:7443", "collector.lab.example")
    token = run_command("token", "create", "--data", str(tmp_path))
    assert PrintedToken.parse(token.stdout).address == "collector.lab.example:7443"


def test_a_token_names_the_address_that_it_is_given(tmp_path: Path) -> None:
    """Without one, that of the settings; a wrong one is refused."""
    run_command("init", "--data", str(tmp_path))
    local = run_command("token", "create", "--data", str(tmp_path))
    assert PrintedToken.parse(local.stdout).address == "127.0.0.1:7443"
    wrong = run_command("token", "create", "--data", str(tmp_path), "--address", "collector")
    assert (wrong.returncode, "is not host:port" in wrong.stderr) == (2, True)
    given = run_command("token", "create", "--data", str(tmp_path), "--address", "10.0.0.5:7443")
    assert PrintedToken.parse(given.stdout).address == "10.0.0.5:7443"


def test_an_unknown_machine_or_token_is_one_sentence(tmp_path: Path) -> None:
    """And nothing is changed."""
    run_command("init", "--data", str(tmp_path))
    for command in (("machine", "revoke", "nobody"), ("token", "revoke", "nothing")):
        done = run_command(*command, "--data", str(tmp_path))
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_a_hostname_does_not_steer_the_terminal(own_collector: RunningCollector) -> None:
    """Whoever lists machines reads what they are called, control characters shown as such."""
    own_collector.enrol("\x1b[2Jmac")
    done = run_command("machine", "list", "--data", str(own_collector.folder))
    assert "\ufffd[2Jmac" in done.stdout


def test_a_damaged_database_is_one_sentence(tmp_path: Path) -> None:
    """No traceback reaches a person."""
    run_command("init", "--data", str(tmp_path))
    (tmp_path / "llmenv.duckdb").write_bytes(b"x" * 20_000)
    done = run_command("serve", "--data", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.DAMAGED, 1)
    assert "llmenv.duckdb cannot be opened as a DuckDB database" in done.stderr


def test_flags_win_over_variables_over_the_file(tmp_path: Path) -> None:
    """And the defaults come last."""
    file = tmp_path / "collector.toml"
    file.write_text('listen = "127.0.0.1:1"\nagents_listen = "127.0.0.1:1"\nsql_rows = 1\n')
    environment = {"LLMENV_LISTEN": "127.0.0.1:2", "LLMENV_AGENTS_LISTEN": "127.0.0.1:2"}
    loaded = settings.load(file, flags={"listen": "127.0.0.1:3", "sql_rows": None}, environment=environment)
    assert (loaded.listen, loaded.agents_listen, loaded.sql_rows) == ("127.0.0.1:3", "127.0.0.1:2", 1)
    assert loaded.heartbeat_seconds == settings.Settings.heartbeat_seconds


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n# a comment\nlistn = 'x'\n", r"collector\.toml, line 3: there is no setting 'listn'"),
        ("\nsql_rows = 'many'\n", r"collector\.toml, line 2: sql_rows must be a whole number, not 'many'"),
        ("sql_rows = -1\n", r"line 1: sql_rows must be above 0"),
        ("compact_percent = 200\n", r"line 1: compact_percent must be above 0 and at most 100, not 200"),
        ("listen = '127.0.0.1'\n", r"line 1: '127.0.0.1' is not host:port"),
        ("listen = \n", r"collector\.toml: .*line 1"),
    ],
)
def test_a_wrong_setting_names_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    """It refuses to start instead of guessing."""
    file = tmp_path / "collector.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        settings.load(file, flags={}, environment={})


def test_help_needs_no_heavy_import() -> None:
    """`--help` is quick: gRPC, DuckDB, Arrow and cryptography are loaded by the commands that need them."""
    program = (
        "import sys; from llmenv_collector.main import main; main(['--help'])\n"
        "heavy = {'grpc', 'duckdb', 'pyarrow', 'numpy', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "token create", "token list", "machine revoke"])
def test_every_command_has_help(command: str) -> None:
    """Each says what it does."""
    done = run_command(*command.split(), "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 4
