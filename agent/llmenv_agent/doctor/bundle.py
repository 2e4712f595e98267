"""An archive for whoever helps: what doctor found, and what explains it, without secrets.

Never in it: keys, tokens, env files, variables that may not be recorded. Every text passes the redaction,
whatever it is.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import sqlite3
import sys
import tarfile
import time
import tomllib
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from llmenv.fleet.v1 import record_pb2
from llmenv.named_file import refuse_pipes

from llmenv_agent.configuration import configuration_file, load_configuration
from llmenv_agent.doctor import report
from llmenv_agent.doctor.redaction import Redaction, harmless_configuration, known_secrets
from llmenv_agent.errors import AgentError, UsageError
from llmenv_agent.facts.conditions import read_conditions
from llmenv_agent.facts.machine import read_machine
from llmenv_agent.identity import load_identity
from llmenv_agent.quarantine import FILE_NAME, entries
from llmenv_agent.service.job import STDERR_NAME, Domain, caller, option
from llmenv_agent.service.supervisor import supervisor_of
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.doctor.finding import Finding

FOLDER = "llmenv-support"
LOG_BYTES = 256 * 1024
LAST_RESULTS = 50


def write_bundle(
    file: Path, findings: Sequence[Finding], *, config: Path | None, state_dir: Path | None
) -> None:
    """Raises UsageError where the file is there already or cannot be written."""
    configuration, redaction = _knowledge(config, state_dir)
    texts = {name: redaction.text(text) for name, text in _texts(findings, config, configuration)}
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, text in texts.items():
                _add(archive, f"{FOLDER}/{name}", text)
    except FileExistsError:
        raise UsageError(f"{file} is there already; name another file.") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}.") from error


def _knowledge(config: Path | None, state_dir: Path | None) -> tuple[Configuration | None, Redaction]:
    configuration = identity = None
    with contextlib.suppress(AgentError):
        configuration = load_configuration(config, state_dir=state_dir)
        identity = load_identity(configuration.state_dir)
    return configuration, Redaction(known_secrets(configuration, identity))


def _texts(
    findings: Sequence[Finding], config: Path | None, configuration: Configuration | None
) -> Iterator[tuple[str, str]]:
    """Each file of the bundle; one that cannot be made says why in its place."""
    yield "doctor.md", report.render(findings, form="md", language="en")
    yield "doctor.json", report.render(findings, form="json", language="en")
    yield "versions.json", _json(_versions())
    yield "facts.json", _json(_facts())
    yield "configuration.json", _told(lambda: _json(_configuration(config)))
    if configuration is not None:
        state_dir = configuration.state_dir
        yield "quarantine.json", _json([asdict(each) for each in entries(state_dir / FILE_NAME)])
        yield "schedules.json", _told(lambda: _json(_schedules(configuration)))
        yield "spool.json", _told(lambda: _json(_spool(state_dir / "spool.db")))
        yield "results.json", _told(lambda: _json(_results(state_dir / "spool.db")))
        for log in _logs(configuration):
            yield f"log/{log.name}", _told(lambda log=log: _tail(log))  # type: ignore[misc] # its own log each time


def _schedules(configuration: Configuration) -> list[dict[str, Any]]:
    from llmenv_agent.schedule_status import scheduled

    return scheduled(configuration, machine_id=load_identity(configuration.state_dir).machine_id)


def _told(make: Callable[[], str]) -> str:
    try:
        return make()
    except (AgentError, OSError, ValueError, sqlite3.Error) as error:
        return f"{type(error).__name__}: {error}\n"


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"


def _versions() -> dict[str, Any]:
    """Of this program, and of the packages in its own environment."""
    packages = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return {
        "python": sys.version,
        "executable": sys.executable,
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "packages": dict(sorted(packages.items())),
    }


def _facts() -> dict[str, Any]:
    machine, conditions = read_machine(thorough=True), read_conditions()
    return {
        "machine": MessageToDict(machine, preserving_proto_field_name=True),
        "conditions": MessageToDict(conditions, preserving_proto_field_name=True),
    }


def _configuration(config: Path | None) -> dict[str, Any]:
    file = configuration_file(config)
    refuse_pipes(file)
    return harmless_configuration(tomllib.loads(file.read_text(encoding="utf-8")))


def _spool(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with contextlib.closing(Spool(path)) as spool:
        return {
            "marks": asdict(spool.marks()),
            "ledger": MessageToDict(spool.ledger(), preserving_proto_field_name=True),
            "dead_letters": [asdict(each) for each in spool.dead_letters()],
            "unfinished": [asdict(each) for each in spool.unfinished()],
        }


def _results(path: Path) -> list[dict[str, Any]]:
    """The last checks with their verdicts and conditions, oldest first."""
    if not path.exists():
        return []
    with contextlib.closing(Spool(path)) as spool:
        ended = (each.check_finished for each in spool.records() if each.HasField("check_finished"))
        return [_without_log(each) for each in deque(ended, maxlen=LAST_RESULTS)]


def _without_log(finished: record_pb2.CheckFinished) -> dict[str, Any]:
    """What a check printed is its author's, and may be anything."""
    shown = record_pb2.CheckFinished()
    shown.CopyFrom(finished)
    shown.result.ClearField("log_tail")
    content: dict[str, Any] = MessageToDict(shown, preserving_proto_field_name=True)
    return content


def _logs(configuration: Configuration) -> list[Path]:
    """The agent's own log as configured, and as its service has it."""
    found = [configuration.log_file] if configuration.log_file else []
    with contextlib.suppress(AgentError):
        for domain in Domain:
            log = option(supervisor_of(domain, caller()).installed_arguments(), "--log-file")
            found += [log, log.with_name(STDERR_NAME)] if log else []
    return [each for each in dict.fromkeys(found) if each.exists()]


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES))
        return file.read().decode("utf-8", errors="replace")


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(content))
