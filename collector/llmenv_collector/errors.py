"""The errors of the collector, each one sentence that says what was wrong and what to do.

CollectorError
├── UsageError                 a setting, an argument or a folder is wrong; exit code 2
├── DataFolderError            the data folder cannot be used as it is
├── StoreError                 the database cannot be opened, read or written
│   ├── DamagedStoreError      it is not whole, or not there
│   └── FullStoreError         the disk has no room for more
├── BackupError                a backup cannot be made or used
├── NoRoomError                too much waits already: come again later
├── StatementError             an analyst's SQL is refused or fails
│   ├── StatementLimitError    it needs more memory or time than it may have
│   └── CancelledStatementError  who asked it has cancelled it
├── AnalysisError              the statistics of a report failed
│   └── AnalysisLimitError     they need more memory or time than they may have
├── NotFoundError              what was asked for is not here
├── GoneError                  who was being answered went away
└── RefusedError               somebody may not do what was asked
    ├── UnauthenticatedError   not known: no, a wrong, a used or an expired token or certificate
    ├── ForbiddenError         known, and not allowed
    ├── UnspokenRevisionError  no protocol revision in common
    ├── ReadOnlyError          what is served here is a snapshot
    ├── UntimelyError          a certificate ended too long ago, or a clock is wrong
    ├── OutOfSequenceError     a record's sequence does not follow the watermark
    ├── SupersededError        a newer stream of the same spool took over
    └── SilentError            nothing was said in time
"""

from __future__ import annotations


class CollectorError(Exception):
    """Anything that the collector can explain in one sentence."""


class UsageError(CollectorError):
    pass


class DataFolderError(CollectorError):
    pass


class StoreError(CollectorError):
    pass


class DamagedStoreError(StoreError):
    pass


class FullStoreError(StoreError):
    pass


class BackupError(CollectorError):
    pass


class NoRoomError(CollectorError):
    pass


class StatementError(CollectorError):
    pass


class StatementLimitError(StatementError):
    pass


class CancelledStatementError(StatementError):
    pass


class AnalysisError(CollectorError):
    pass


class AnalysisLimitError(AnalysisError):
    pass


class NotFoundError(CollectorError):
    pass


class GoneError(CollectorError):
    pass


class RefusedError(CollectorError):
    pass


class UnauthenticatedError(RefusedError):
    pass


class ForbiddenError(RefusedError):
    pass


class UnspokenRevisionError(RefusedError):
    pass


class ReadOnlyError(RefusedError):
    pass


class UntimelyError(RefusedError):
    pass


class OutOfSequenceError(RefusedError):
    pass


class SupersededError(RefusedError):
    pass


class SilentError(RefusedError):
    pass
