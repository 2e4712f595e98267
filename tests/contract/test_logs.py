"""Lines of logs: the same fields in every program, in text and JSON, in a file that stays small."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from llmenv import logs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SPEAKING = """
import logging, pathlib
from llmenv import logs

logs.configure_logging({form!r}, fields={{"machine_id": "m1"}}, file={file})
log = logging.getLogger("llmenv_agent.work")
log.info("before")
logs.bind(run_id="r1")
log.warning("%d of %d", 1, 2, extra={{"record_id": "c1"}})
logs.bind(run_id="")
log.info("elsewhere")
try:
    raise KeyError("gone")
except KeyError:
    log.exception("after")
"""


def spoken(form: str, file: str = "None") -> str:
    """What a program says on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", SPEAKING.format(form=form, file=file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


def test_a_line_of_json_names_what_it_is_about() -> None:
    """The machine always, the run while it is bound, the record of its line."""
    lines = [json.loads(line) for line in spoken("json").splitlines()]
    assert [line["message"] for line in lines] == ["before", "1 of 2", "elsewhere", "after"]
    assert {line["machine_id"] for line in lines} == {"m1"}
    assert ["run_id" in line for line in lines] == [False, True, False, False]
    assert (lines[1]["run_id"], lines[1]["record_id"], lines[1]["level"]) == ("r1", "c1", "warning")
    assert lines[1]["logger"] == "llmenv_agent.work"
    assert "KeyError: 'gone'" in lines[3]["exception"]


def test_what_is_quoted_does_not_steer_the_terminal() -> None:
    """A check's output may hold escape sequences, and lines in another one's name."""
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "said %s", ("\x1b[31mred\nforged",), None)
    assert logs.TextFormatter({}).format(record).endswith("said \ufffd[31mred\ufffdforged")


def test_a_line_of_text_names_the_same() -> None:
    """After the message, so that people can read on."""
    lines = spoken("text").splitlines()
    assert lines[0].endswith("INFO    before  machine_id=m1")
    assert lines[1].endswith("WARNING 1 of 2  machine_id=m1 run_id=r1 record_id=c1")
    assert lines[-1] == "KeyError: 'gone'"


def test_a_log_file_takes_the_place_of_stderr(tmp_path: Path) -> None:
    """Its folder is made."""
    file = tmp_path / "logs" / "agent.log"
    assert spoken("json", f"pathlib.Path({str(file)!r})") == ""
    assert len(file.read_text().splitlines()) == 4


def test_a_log_file_stays_small(tmp_path: Path) -> None:
    """However much is said, it and its older files keep to their bound, and the last line is there."""
    file = tmp_path / "agent.log"
    code = (
        "import logging, pathlib\nfrom llmenv import logs\nlogs.FILE_BYTES = 10_000\n"
        f"logs.configure_logging('text', file=pathlib.Path({str(file)!r}))\n"
        "for number in range(5_000): logging.info('line %d', number)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    files = sorted(tmp_path.iterdir())
    assert [each.name for each in files] == ["agent.log", "agent.log.1", "agent.log.2", "agent.log.3"]
    assert sum(each.stat().st_size for each in files) <= 40_000
    assert "line 4999" in file.read_text()


def test_a_full_disk_for_the_log_does_not_flood_stderr() -> None:
    """/dev/full takes nothing; the program goes on, and says nothing of each line."""
    code = (
        "import logging\nfrom llmenv import logs\nlogs.configure_logging('text')\n"
        "logging.getLogger().handlers[0].setStream(open('/dev/full', 'w'))\n"
        "for number in range(100): logging.info('line %d', number)\nprint('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "went on\n"
    assert "line 99" not in done.stderr


def test_what_a_task_is_about_stays_in_it() -> None:
    """A collector serves many machines at once, each in a task of its own."""

    async def serve(machine_id: str) -> Mapping[str, str]:
        logs.bind(machine_id=machine_id, run_id="r1")
        await asyncio.sleep(0)
        logs.bind(run_id="")
        return await asyncio.to_thread(logs._BOUND.get)

    async def serve_both() -> list[Mapping[str, str]]:
        return await asyncio.gather(serve("m1"), serve("m2"))

    served = asyncio.run(serve_both())
    assert served == [{"machine_id": "m1", "run_id": ""}, {"machine_id": "m2", "run_id": ""}]
    assert logs._BOUND.get() == {}
