"""What the agent logs: the machine on every line, the run and the record where there is one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import AgentFolder

CHECK = '''
"""Does nothing?"""

SUITES = ("idle",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    probe.passed("Nothing was asked.")
'''


def test_lines_of_a_run_name_it(enrolled: AgentFolder) -> None:
    """From its start to its end, in the file that the configuration names."""
    (enrolled.path / "checks").mkdir()
    (enrolled.path / "checks" / "idle_check.py").write_text(CHECK.lstrip())
    enrolled.configure(
        f'[agent]\nlog_format = "json"\nlog_file = "{enrolled.path}/log/agent.log"\n'
        f'checks_folders = ["{enrolled.path}/checks"]\n'
        f'[[target]]\nname = "plain"\npython = "{sys.executable}"\n[schedule.idle]\nevery = "24h"\n'
    )
    done = enrolled.call("run", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in (enrolled.path / "log" / "agent.log").read_text().splitlines()]
    assert {line["machine_id"] for line in lines} == {enrolled.status()["identity"]["machine_id"]}
    (began,) = [line for line in lines if line["message"].startswith("run ")]
    (ended,) = [line for line in lines if line["message"].startswith("idle_check: pass")]
    assert began["run_id"] in began["message"]
    assert ended["run_id"] == began["run_id"]
    assert began["record_id"] != ended["record_id"]
    assert "run_id" not in lines[0]
