"""The identity as it stands, and its certificate renewed in time, or late after an outage.

What is open goes on with the certificate that it began with; whoever connects next asks for `identity` again.
The work is done by a short process, see `renewal_process`; before it is started a plain connection shows
that the collector is there at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import os
import random
import sys
from typing import TYPE_CHECKING

from llmenv.addresses import split_address

from llmenv_agent.errors import AgentError, ElsewhereError, EnrollmentError, IdentityError
from llmenv_agent.exit_codes import ExitCode
from llmenv_agent.identity import load_identity, replace_identity
from llmenv_agent.trust import trusted_pins

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmenv_agent.identity import Identity

log = logging.getLogger(__name__)

LONGEST_REST_SECONDS = 60.0  # clocks that stand still in sleep, or are set
LONGEST_RETRY_SECONDS = 3_600.0
SHORTEST_RETRY_SECONDS = 1.0
CONTACT_SECONDS = 5.0
PROCESS_SECONDS = 60.0


class Renewal:
    """Use from one event loop; `collectors` are addresses that a person configured."""

    def __init__(self, state_dir: Path, identity: Identity, *, collectors: Sequence[str] = ()) -> None:
        self.identity = identity
        self._collectors = collectors
        self._state_dir = state_dir
        self._turn = asyncio.Lock()
        self._said = ""

    async def run(self) -> None:
        """Renew whenever it is due, for as long as the agent lives."""
        while True:
            await asyncio.sleep(self._rest_seconds())
            if self.identity.until_renewal() <= dt.timedelta(0) and not await self.renew():
                await asyncio.sleep(self._retry_seconds())

    async def renew(self) -> bool:
        """Whether there is a new certificate, also when another caller got it meanwhile."""
        former = self.identity
        async with self._turn:
            if self.identity is not former:
                return True
            try:
                self.identity = await self._next()
            except AgentError as error:
                self._say(str(error))
                return False
            self._said = ""
        log.info("the certificate is renewed, and good until %s", self.identity.not_after)
        return True

    async def trust(self, ca_pem: str) -> None:
        """Trusts these authorities from now on, whose collector has shown itself to be the one of before."""
        if not trusted_pins(ca_pem):
            raise IdentityError("The collector named no authority to trust; those from before stay.")
        async with self._turn:
            former = await self._stored()
            identity = dataclasses.replace(former, ca_pem=ca_pem)
            await asyncio.to_thread(replace_identity, self._state_dir, former, identity)
            self.identity = identity
        log.info("the collector's authority is rotated, or a former one retired")

    async def _next(self) -> Identity:
        """Raises AgentError where there is none."""
        if await self._stored() == self.identity:
            await self._run_somewhere()
        return await self._stored()

    async def _stored(self) -> Identity:
        stored = await asyncio.to_thread(load_identity, self._state_dir)
        if stored.machine_id != self.identity.machine_id:
            raise IdentityError("This machine was enrolled anew: start the agent again.")
        return stored

    def _rest_seconds(self) -> float:
        return min(max(self.identity.until_renewal().total_seconds(), 0.0), LONGEST_REST_SECONDS)

    def _retry_seconds(self) -> float:
        """A tenth of what is left, with jitter: often where it is urgent, and an hour at most."""
        left = self.identity.remaining().total_seconds()
        wait = left / 10 if left > 0 else LONGEST_REST_SECONDS
        wait = min(max(wait, SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 # spreads load, protects nothing

    async def _run_somewhere(self) -> None:
        """At the first address where the collector is.  Raises what the first that answered said."""
        trouble: EnrollmentError | None = None
        for address in self._addresses():
            if not await answers(address):
                continue
            try:
                await self._run_process(address)
            except ElsewhereError as error:
                trouble = trouble or error
            else:
                return
        raise trouble or EnrollmentError(
            f"The collector {self.identity.enrollment_address} cannot be reached."
        )

    def _addresses(self) -> Sequence[str]:
        """Where the collector may renew: where this machine enrolled, and at its other hosts."""
        enrolled_at = self.identity.enrollment_address
        _, port = split_address(enrolled_at)
        others = (*self._collectors, *self.identity.agent_addresses)
        hosts = [split_address(address)[0] for address in others]
        return tuple(dict.fromkeys((enrolled_at, *(joined(host, port) for host in hosts))))

    async def _run_process(self, address: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "llmenv_agent.renewal_process",
            str(self._state_dir),
            address,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        )
        try:
            async with asyncio.timeout(PROCESS_SECONDS):
                _, said = await process.communicate()
        except TimeoutError:
            raise EnrollmentError(f"Renewing took longer than {PROCESS_SECONDS:g} s.") from None
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != ExitCode.DONE:
            lines = said.decode(errors="replace").strip().splitlines()
            failure = ElsewhereError if process.returncode == ExitCode.FAILED else EnrollmentError
            raise failure(lines[-1] if lines else f"Renewing ended with {process.returncode}.")

    def _say(self, trouble: str) -> None:
        """The first time aloud; the same again only for those who look closely."""
        level = logging.DEBUG if trouble == self._said else logging.WARNING
        log.log(level, "the certificate ends on %s and is not renewed: %s", self.identity.not_after, trouble)
        self._said = trouble


def joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def answers(address: str) -> bool:
    host, port = split_address(address)
    try:
        async with asyncio.timeout(CONTACT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
