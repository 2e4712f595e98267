"""Collectors that share a lake, as processes, each in a folder of its own and all of one authority."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_collector.storage.data_folder import DataFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv_collector.lake.place import Place

BIN = Path(sys.executable).parent
START_SECONDS = 240.0
"""On a busy machine four of them start at once, and make the schema one after the other."""
OWN_FILES = ("serve.lock", "serving.json", "server.pem", "server-key.pem")


class Lab:
    """Make it, `serve` some, and `end` them all."""

    def __init__(self, folder: Path, place: Place, *, collectors: int) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "LLMENV_STORE": "ducklake",
            "LLMENV_LAKE_CATALOG": place.catalog,
            "LLMENV_LAKE_DATA": place.data,
            "LLMENV_CONFIG_DIR": str(folder / "admin"),
            "LLMENV_SQL_SECONDS": "200",
            "LLMENV_TIMEOUT_SECONDS": "200",
            **place.environment,
        }
        self.folders = [DataFolder(folder / f"collector-{number}") for number in range(collectors)]
        self.call("llmenv-collector", "init", "--data", str(self.folders[0].path))
        for other in self.folders[1:]:
            ignored = shutil.ignore_patterns(*OWN_FILES)
            shutil.copytree(self.folders[0].path, other.path, ignore=ignored)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def call(self, program: str, *arguments: str, given: str = "", codes: tuple[int, ...] = (0,)) -> str:
        """Its stdout; fails the test for another exit code."""
        ended = subprocess.run(
            [BIN / program, *arguments],
            input=given,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=600,
            check=False,
        )
        assert ended.returncode in codes, f"{program} {arguments}: {ended.stdout}{ended.stderr}{self.logs()}"
        return ended.stdout

    def serve(
        self, number: int, *flags: str, agents_port: int = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        """Returns at once; `wait` for it."""
        folder = self.folders[number]
        folder.serving.unlink(missing_ok=True)
        addresses = ("--listen", "127.0.0.1:0", "--agents-listen", f"127.0.0.1:{agents_port}")
        with (folder.path / "log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [BIN / "llmenv-collector", "serve", "--data", folder.path, *addresses, *flags],
                env={**self.environment, **(environment or {})},
                stderr=log,
            )

    def wait(self, number: int) -> int:
        """Its port for agents, once it serves; 0 where it only reads."""
        deadline = time.monotonic() + START_SECONDS
        while (serving := self.folders[number].read_serving()) is None:
            assert self._processes[number].poll() is None, self.logs()
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)
        return int(serving.agents_address.rpartition(":")[2] or 0)

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes.pop(number).wait()

    def end(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def logs(self) -> str:
        """The end of what each collector said."""
        files = [folder.path / "log" for folder in self.folders]
        return "\n".join(file.read_text()[-3_000:] for file in files if file.exists())
