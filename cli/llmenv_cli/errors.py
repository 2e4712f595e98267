"""What can go wrong in llmenv, each said in one sentence: what, where, and what to do.

CliError
├── UsageError           a flag, a name, a file, a statement or the settings are wrong
├── UnreachableError     no collector answered
├── RefusedError         the collector does not accept the token, or the token has no right
├── NotInstalledError    a part of llmenv or a package is missing; names the extra
└── AgentFailedError     llmenv-agent ended without a run
"""

from __future__ import annotations

from llmenv_cli.exit_codes import ExitCode


class CliError(Exception):
    """The text is for the person at the terminal."""

    exit_code: ExitCode


class UsageError(CliError):
    exit_code = ExitCode.USAGE


class UnreachableError(CliError):
    exit_code = ExitCode.UNREACHABLE


class RefusedError(CliError):
    exit_code = ExitCode.REFUSED


class NotInstalledError(CliError):
    exit_code = ExitCode.NOT_INSTALLED


class AgentFailedError(CliError):
    exit_code = ExitCode.AGENT_FAILED
