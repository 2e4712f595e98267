"""Errors of the collector as status codes, each with its sentence; where it helps, with a time to wait."""

from __future__ import annotations

import random
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # no stubs are published

from llmenv_collector.errors import (
    AnalysisError,
    AnalysisLimitError,
    CancelledStatementError,
    CollectorError,
    ForbiddenError,
    FullStoreError,
    GoneError,
    NoRoomError,
    NotFoundError,
    OutOfSequenceError,
    ReadOnlyError,
    SilentError,
    StatementError,
    StatementLimitError,
    StoreError,
    SupersededError,
    UnauthenticatedError,
    UnspokenRevisionError,
    UntimelyError,
    UsageError,
)

STATUS_CODES: dict[type[CollectorError], grpc.StatusCode] = {
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    UnspokenRevisionError: grpc.StatusCode.FAILED_PRECONDITION,
    ReadOnlyError: grpc.StatusCode.FAILED_PRECONDITION,
    UntimelyError: grpc.StatusCode.FAILED_PRECONDITION,
    OutOfSequenceError: grpc.StatusCode.OUT_OF_RANGE,
    SupersededError: grpc.StatusCode.ABORTED,
    GoneError: grpc.StatusCode.CANCELLED,
    SilentError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UsageError: grpc.StatusCode.INVALID_ARGUMENT,
    CancelledStatementError: grpc.StatusCode.CANCELLED,
    StatementLimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StatementError: grpc.StatusCode.INVALID_ARGUMENT,
    AnalysisLimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    AnalysisError: grpc.StatusCode.INTERNAL,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    NoRoomError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    FullStoreError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StoreError: grpc.StatusCode.UNAVAILABLE,
}
WAITING_HELPS = (NoRoomError, FullStoreError)
RETRY_SECONDS = (5.0, 30.0)
DETAILS_KEY = "grpc-status-details-bin"
LONGEST_BEGINNING, LONGEST_END = 440, 160
"""Of a sentence, characters: gRPC writes each in up to 12 bytes, and drops an answer with over 8 KiB."""


def status_of(error: CollectorError) -> grpc.StatusCode:
    """By the nearest kind that has a code."""
    kinds = (kind for kind in type(error).__mro__ if kind in STATUS_CODES)
    return STATUS_CODES[kind] if (kind := next(kinds, None)) else grpc.StatusCode.INTERNAL


def sentence_of(error: CollectorError) -> str:
    """As it is told: what it quotes may be as long as a request; what to do about it stands at its end."""
    text = str(error)
    if len(text) <= LONGEST_BEGINNING + LONGEST_END:
        return text
    return f"{text[:LONGEST_BEGINNING]} … {text[-LONGEST_END:]}"


async def refuse(context: grpc.aio.ServicerContext[Any, Any], error: CollectorError) -> None:
    """Ends the call."""
    code, sentence = status_of(error), sentence_of(error)
    details = ((DETAILS_KEY, retry_details(code, sentence)),) if isinstance(error, WAITING_HELPS) else ()
    await context.abort(code, sentence, trailing_metadata=details)


def retry_details(code: grpc.StatusCode, sentence: str) -> bytes:
    """google.rpc.RetryInfo, spread so that those who were sent away do not come back together."""
    retry = error_details_pb2.RetryInfo()
    seconds = random.uniform(*RETRY_SECONDS)  # noqa: S311 (spreads load, guards nothing)
    retry.retry_delay.FromMilliseconds(int(seconds * 1_000))
    packed = any_pb2.Any()
    packed.Pack(retry)
    status = status_pb2.Status(code=code.value[0], message=sentence, details=[packed])
    content: bytes = status.SerializeToString()
    return content
