"""PostgreSQL for tests: a cluster of its own in a temporary folder, on a socket there, as no system service.

It refuses to run as root, so that root's tests run it as Debian's user `postgres`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

USER = "llmenv"
START_SECONDS = 60.0
SETTINGS = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
"""Processes are killed here, and never the machine: nothing has to be forced to a disk."""


def programs() -> Path | None:
    """The folder of initdb and postgres, of the newest version there is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def may_run() -> bool:
    """Not as root, and root needs that user."""
    try:
        return os.geteuid() != 0 or bool(pwd.getpwnam("postgres"))
    except KeyError:
        return False


class Cluster:
    """Created and started; `stop` and `start` again as wanted; `remove` at the end."""

    def __init__(self) -> None:
        bin_folder = programs()
        if bin_folder is None:
            raise RuntimeError("there is no initdb")
        self._bin = bin_folder
        self._as: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="llmenv-pg-"))
        if os.geteuid() == 0:
            known = pwd.getpwnam("postgres")
            self._as = {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}
            os.chown(self.folder, known.pw_uid, known.pw_gid)
        self._server: subprocess.Popen[bytes] | None = None
        self._databases = 0
        locale = ("--no-locale", "--encoding", "UTF8")
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "--no-sync", *locale)
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._server = subprocess.Popen(
            [self._bin / "postgres", "-D", self._data, "-k", self.folder, *SETTINGS],
            stdout=log,
            stderr=log,
            cwd="/",
            **self._as,
        )
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace"))
            time.sleep(0.05)

    def stop(self, *, mode: str = "immediate") -> None:
        """`immediate` is what a crash is: whoever is connected is cut off, and the start recovers."""
        if self._server is not None and self._server.poll() is None:
            self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")
            self._server.wait()
        self._server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def database(self) -> str:
        """A new one; its connection string."""
        self._databases += 1
        name = f"lake{self._databases}"
        self.sql(f"CREATE DATABASE {name}", database="postgres")
        return f"host={self.folder} user={USER} dbname={name}"

    def sql(self, statement: str, *, database: str) -> str:
        command = ("psql", "-h", str(self.folder), "-U", USER, "-d", database, "-Atqc", statement)
        return self._run(*command)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        command = [self._bin / "pg_isready", "-q", "-h", self.folder]
        return subprocess.run(command, check=False, **self._as).returncode == 0

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._bin / program, *arguments], check=True, capture_output=True, text=True, cwd="/", **self._as
        )
        return done.stdout.strip()
