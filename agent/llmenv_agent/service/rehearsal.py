"""Refuses, before anything is written, a service that could not work."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from llmenv_agent.errors import ServiceError, UsageError
from llmenv_agent.service.job import Domain
from llmenv_agent.service.placement import why_not_lasting, why_not_there

if TYPE_CHECKING:
    from llmenv_agent.configuration import Configuration
    from llmenv_agent.service.job import Job

STATUS_SECONDS = 60.0


def require_workable(job: Job, configuration: Configuration) -> None:
    """Raises UsageError or ServiceError with the first thing that stands in the way."""
    if job.domain is Domain.SYSTEM and os.geteuid() != 0:
        raise UsageError("A service of the machine is root's to install: run it with sudo, or with --user.")
    if not configuration.targets and not configuration.discover:
        raise UsageError(
            f"{job.config} names no target: add one under [[target]], or folders under [agent] discover."
        )
    _require_places(job)
    _require_enrolled(job)


def _require_places(job: Job) -> None:
    for path in (job.python, job.config, job.state_dir):
        if reason := why_not_there(path, home=job.account.home):
            raise UsageError(f"{path} {reason}: move it, such as below /opt or {job.account.home}.")
    if reason := why_not_lasting(job.python):
        raise UsageError(
            f"The interpreter {job.python} {reason}: install llmenv in an environment that stays."
        )


def _require_enrolled(job: Job) -> None:
    status = _status_as_the_account(job)
    if status["identity"] is None:
        raise UsageError(
            f"This machine is not enrolled in {job.state_dir}: "
            f"run `llmenv-agent enroll --state-dir {job.state_dir}` as {job.account.name} first."
        )


def _status_as_the_account(job: Job) -> dict[str, Any]:
    """What `status` says in the service's own command line, run as it would be."""
    program = job.arguments()[:5]
    paths = ["--config", str(job.config), "--state-dir", str(job.state_dir)]
    other: dict[str, Any] = {}
    if job.account.uid != os.geteuid():
        groups = os.getgrouplist(job.account.name, job.account.gid)
        other = {"user": job.account.uid, "group": job.account.gid, "extra_groups": groups}
    try:
        done = subprocess.run(
            [*program, "status", *paths, "--format", "json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd="/",
            env=job.variables(),
            timeout=STATUS_SECONDS,
            check=False,
            **other,
        )
    except OSError as error:
        raise ServiceError(f"{job.account.name} cannot start {job.python}: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{job.python} did not start the agent within {STATUS_SECONDS:.0f} s.") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ServiceError(
            f"As {job.account.name} the agent does not start: {said.removeprefix('llmenv-agent: ')}"
        )
    status: dict[str, Any] = json.loads(done.stdout)
    return status
