"""What can go wrong in the agent, each said in one sentence for the person at the machine.

AgentError
├── UsageError           a flag, a name or a configuration file is wrong
├── SpoolError           the spool cannot be read or written
│   └── RecordTooLargeError
├── StateError           another file of the state directory cannot be written
├── IdentityError        this machine has no usable identity
├── EnrollmentError      the collector did not give one
│   └── ElsewhereError   what is at an address, if anything, is not the collector
├── ProtocolError        the collector said what cannot be
├── DeliveryError        records are still waiting
├── ServiceError         launchd or systemd did not do what it was asked
├── WatchdogError        the agent ended itself
└── AlreadyRunningError  another agent uses the state directory
"""

from __future__ import annotations

from llmenv_agent.exit_codes import ExitCode


class AgentError(Exception):
    """The text is one sentence: what was wrong, where, and what to do."""

    exit_code = ExitCode.FAILED


class UsageError(AgentError):
    exit_code = ExitCode.USAGE


class SpoolError(AgentError):
    exit_code = ExitCode.SPOOL


class RecordTooLargeError(SpoolError):
    pass


class StateError(AgentError):
    exit_code = ExitCode.SPOOL


class IdentityError(AgentError):
    exit_code = ExitCode.NOT_ENROLLED


class EnrollmentError(AgentError):
    exit_code = ExitCode.NOT_ENROLLED


class ElsewhereError(EnrollmentError):
    exit_code = ExitCode.FAILED


class ProtocolError(AgentError):
    pass


class DeliveryError(AgentError):
    exit_code = ExitCode.NOT_DELIVERED


class ServiceError(AgentError):
    pass


class WatchdogError(AgentError):
    exit_code = ExitCode.WATCHDOG


class AlreadyRunningError(AgentError):
    exit_code = ExitCode.ALREADY_RUNNING
