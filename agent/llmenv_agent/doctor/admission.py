"""Whether the collector admits this machine, and how far the two clocks are apart.

A stream is opened and nothing is said on it: the collector judges the certificate, tells its clock, and ends
the stream for want of a Hello. An agent that runs keeps its own stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from llmenv.first_contact import TIME_HEADER
from llmenv.fleet.v1 import agent_service_pb2_grpc

from llmenv_agent.connection import Trouble, open_channel
from llmenv_agent.doctor.finding import Question
from llmenv_agent.doctor.network import handshake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_agent.doctor.finding import Finding
    from llmenv_agent.identity import Identity

ANSWER_SECONDS = 20.0
# Every record carries the offset, so results stay in order; more than this is a clock that nobody keeps.
NOTABLE_SECONDS = 5.0
# A certificate is good from an hour before it was issued.
UNTRUSTED_SECONDS = 3_600.0
ENROL_ANEW = "Enrol anew: llmenv-agent enroll --replace."
NOT_TRIED = "Not tried: the collector cannot be asked."


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`offset_seconds` is the collector's clock minus this one's, known to `error_seconds`; None: untold."""

    code: grpc.StatusCode
    details: str
    offset_seconds: float | None
    error_seconds: float


def ask(address: str, identity: Identity) -> Iterator[Finding]:
    said = Question("admission", values={"machine": identity.machine_id})
    shaken = handshake(address, identity)
    if shaken.trouble is Trouble.REFUSED_BY_TLS:
        yield said.failed(
            "The collector refuses the certificate of machine {machine}: {detail}.",
            ENROL_ANEW,
            detail=shaken.detail,
        )
        yield Question("clock").unclear(NOT_TRIED)
        return
    answer = asyncio.run(_knock(address, identity))
    yield _admission(said, answer)
    yield _clock(Question("clock"), answer)


async def _knock(address: str, identity: Identity) -> Answer:
    async with open_channel(address, identity) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), ANSWER_SECONDS)
        except TimeoutError:
            return Answer(
                code=grpc.StatusCode.UNAVAILABLE, details="no answer", offset_seconds=None, error_seconds=0
            )
        call = agent_service_pb2_grpc.AgentServiceStub(channel).Connect(timeout=ANSWER_SECONDS)
        asked_at = time.time()
        # Before the end: gRPC drops the headers of a call whose status it has already read.
        headers = dict(await call.initial_metadata() or ())
        answered_at = time.time()
        await _end(call)
        return Answer(
            code=await call.code(),
            details=str(await call.details() or ""),
            offset_seconds=parse_offset(headers.get(TIME_HEADER), asked_at=asked_at, answered_at=answered_at),
            error_seconds=(answered_at - asked_at) / 2,
        )


async def _end(call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
    """Say that there is nothing to say; a collector that refuses has ended the call already."""
    with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
        await call.done_writing()


def parse_offset(header: str | bytes | None, *, asked_at: float, answered_at: float) -> float | None:
    """From the header's microseconds, taken to be of the middle between the two times."""
    text = header.decode("ascii", errors="replace") if isinstance(header, bytes) else header or ""
    return int(text) / 1e6 - (asked_at + answered_at) / 2 if text.isdigit() else None


def _admission(said: Question, answer: Answer) -> Finding:
    said.values["detail"] = answer.details
    match answer.code:
        case grpc.StatusCode.INVALID_ARGUMENT:  # it misses the Hello, so it has let us in
            return said.passed("The collector admits machine {machine}.")
        case grpc.StatusCode.PERMISSION_DENIED:
            return said.failed(
                "The collector does not admit machine {machine}: {detail}",
                "Ask an admin: `llmenv-collector machine list` says whether it was revoked or waits.",
            )
        case grpc.StatusCode.UNAUTHENTICATED:
            return said.failed(
                "The collector does not know the certificate of machine {machine}: {detail}",
                ENROL_ANEW,
            )
    return said.unclear(
        "The collector answered with {code}: {detail}",
        "Look into the collector's log.",
        code=answer.code.name,
    )


def _clock(said: Question, answer: Answer) -> Finding:
    offset = answer.offset_seconds
    if offset is None:
        return said.unclear("The collector did not tell its clock.", "Upgrade the collector.")
    said.values.update(offset=f"{offset:+.3f}", error=f"{answer.error_seconds:.3f}")
    seen = "The collector's clock minus this one's is {offset} s, known to {error} s."
    if abs(offset) - answer.error_seconds > UNTRUSTED_SECONDS:
        return said.failed(
            seen, "Set this machine's clock by NTP: beyond an hour new certificates are not believed."
        )
    if abs(offset) - answer.error_seconds > NOTABLE_SECONDS:
        return said.warned(seen, "Set both clocks by NTP (macOS: sudo sntp -sS time.apple.com).")
    return said.passed(seen)
