"""Requests made up at random for every RPC of a collector: each is answered, and none ends the collector."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from llmenv.arrow_flight import flight_sql_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv_collector.serving.policy import MACHINES, POLICY
from llmenv_collector.serving.services import SERVICES

from . import random_messages

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.descriptor import MethodDescriptor

METHODS = {
    f"/{service}/{method.name}": method
    for service in SERVICES
    if not service.startswith("grpc.")  # gRPC's own, which leaves one of its RPCs out
    for method in descriptor_pool.Default().FindServiceByName(service).methods
}
COMMAND_WITHIN = {"FlightDescriptor": "cmd", "Ticket": "ticket", "Action": "body"}
COMMANDS = list(flight_sql_pb2.DESCRIPTOR.message_types_by_name.values())
PATIENCE_SECONDS, STREAM_SECONDS = 120.0, 1.0
MOST_RESPONSES = 3
FAULTS = {"UNKNOWN", "INTERNAL"}


@dataclass
class Rpcs:
    """Of one collector, asked as an admin and as a machine."""

    people: grpc.Channel
    machines: grpc.Channel
    secret: str
    codes: Counter[str] = field(default_factory=Counter)

    def ask(self, path: str, chance: Random) -> str:
        """The code of the answer to a request, or to a stream of them."""
        method = METHODS[path]
        count = chance.randrange(1, 4) if method.client_streaming else 1
        requests = [request_for(method, chance) for _ in range(count)]
        code, details = self._send(path, method, requests)
        self.codes[code] += 1
        assert code not in FAULTS, (path, code, details, requests)
        return code

    def _send(self, path: str, method: MethodDescriptor, requests: list[bytes]) -> tuple[str, str]:
        channel = self.machines if POLICY[path] == MACHINES else self.people
        kinds = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }
        call: Any = kinds[method.client_streaming, method.server_streaming](path)
        given: Any = iter(requests) if method.client_streaming else requests[0]
        seconds = STREAM_SECONDS if method.server_streaming else PATIENCE_SECONDS
        try:
            answer = call(given, metadata=[("authorization", f"Bearer {self.secret}")], timeout=seconds)
            if method.server_streaming:
                list(itertools.islice(answer, MOST_RESPONSES))
                answer.cancel()
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    def who_am_i(self) -> str:
        answer = FleetServiceStub(self.people).WhoAmI(
            fleet.WhoAmIRequest(),
            metadata=[("authorization", f"Bearer {self.secret}")],
            timeout=PATIENCE_SECONDS,
        )
        return str(answer.role)


def request_for(method: MethodDescriptor, chance: Random) -> bytes:
    made = random_messages.message(method.input_type, chance)
    if (within := COMMAND_WITHIN.get(method.input_type.name)) and chance.random() < 0.8:
        setattr(made, within, flight_command(chance))
    content = made.SerializeToString()
    return random_messages.damaged(content, chance) if chance.random() < 0.3 else content


def flight_command(chance: Random) -> bytes:
    """Flight's bytes are not opaque to Flight SQL."""
    packed = AnyMessage()
    packed.Pack(random_messages.message(chance.choice(COMMANDS), chance))
    return packed.SerializeToString()


def run(rpcs: Rpcs, *, each: int, seed: int) -> int:
    """So many requests for each RPC; how many there were."""
    chance = random.Random(seed)
    for _ in range(each):
        for path in METHODS:
            rpcs.ask(path, chance)
    return each * len(METHODS)


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1_024 for line in status.splitlines() if line.startswith("VmRSS:"))
