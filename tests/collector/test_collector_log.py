"""What a collector logs: which machine, which record, on every line where there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from llmenv.ids import new_id

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningCollector


@pytest.fixture
def in_json(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> RunningCollector:
    """A collector that logs as JSON."""
    monkeypatch.setenv("LLMENV_LOG_FORMAT", "json")
    collector: RunningCollector = request.getfixturevalue("own_collector")
    return collector


def test_every_line_about_a_machine_names_it(in_json: RunningCollector) -> None:
    """Under the same names as in the agent's own log; a rejection names its record too."""
    machine = in_json.enrol()
    stream = machine.connect(new_id())
    stream.deliver([machine.record(check_started={"run_id": "no uuid"})], first=1)
    record_id = stream.receive("rejected").record_id
    stream.close()
    in_json.stop()
    lines = [json.loads(line) for line in in_json.log]
    (connected,) = [line for line in lines if line["message"].startswith("connected")]
    (rejected,) = [line for line in lines if line["message"].startswith("rejected")]
    assert {"time", "level", "logger", "message", "machine_id"} <= set(connected)
    assert {connected["machine_id"], rejected["machine_id"]} == {machine.machine_id}
    assert (rejected["level"], rejected["record_id"]) == ("warning", record_id)


def test_a_format_that_there_is_not(tmp_path: Path) -> None:
    """One sentence, before anything is opened."""
    command = [sys.executable, "-m", "llmenv_collector.main"]
    data = ["--data", str(tmp_path / "data")]
    subprocess.run([*command, "init", *data], check=True, capture_output=True, timeout=180)
    done = subprocess.run(
        [*command, "serve", *data, "--log-format", "xml"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert "--log-format: log_format must be text or json, not 'xml'." in done.stderr
