"""Who may call what: one row for each RPC.  An RPC without a row is refused."""

from __future__ import annotations

from enum import StrEnum


class Caller(StrEnum):
    """What a call can be made as."""

    ANYONE = "anyone"
    MACHINE = "machine"
    VIEWER = "viewer"
    ANALYST = "analyst"
    ADMIN = "admin"


ANYONE = frozenset(Caller)
MACHINES = frozenset({Caller.MACHINE})
ADMINS = frozenset({Caller.ADMIN})
ANALYSTS = ADMINS | {Caller.ANALYST}
VIEWERS = ANALYSTS | {Caller.VIEWER}

FLEET = "/llmenv.fleet.v1.FleetService/"
FLIGHT = "/arrow.flight.protocol.FlightService/"
NOTICES = "/llmenv.fleet.v1.NoticeService/"

POLICY: dict[str, frozenset[Caller]] = {
    "/llmenv.fleet.v1.AgentService/Connect": MACHINES,
    # The one-time token inside the request stands for the caller.
    "/llmenv.fleet.v1.EnrollmentService/Enroll": ANYONE,
    # The signature of the machine's own key does, also after its certificate has ended.
    "/llmenv.fleet.v1.EnrollmentService/Renew": ANYONE,
    FLEET + "WhoAmI": VIEWERS,
    FLEET + "ListMachines": VIEWERS,
    FLEET + "ListRuns": VIEWERS,
    FLEET + "GetRun": VIEWERS,
    FLEET + "GetFleetReport": VIEWERS,
    FLEET + "CompareFleet": VIEWERS,
    FLEET + "CheckUpgrade": VIEWERS,
    FLEET + "SelfTestStatistics": VIEWERS,
    FLEET + "RenderFleetReport": VIEWERS,
    FLEET + "RenderComparison": VIEWERS,
    FLEET + "RenderUpgrade": VIEWERS,
    FLEET + "GetDelivery": VIEWERS,
    FLEET + "ListCommands": VIEWERS,
    FLEET + "WatchCommand": VIEWERS,
    FLEET + "WatchFleet": VIEWERS,
    FLEET + "ListAcknowledgements": VIEWERS,
    FLEET + "ListImports": VIEWERS,
    FLEET + "ListSchedules": VIEWERS,
    FLEET + "Query": ANALYSTS,
    FLEET + "IssueCommand": ADMINS,
    FLEET + "CancelCommand": ADMINS,
    FLEET + "SetSchedule": ADMINS,
    FLEET + "RemoveSchedule": ADMINS,
    FLEET + "AcknowledgeFinding": ADMINS,
    FLEET + "WithdrawAcknowledgement": ADMINS,
    FLEET + "ImportMeasurements": ADMINS,
    FLEET + "WithdrawImport": ADMINS,
    NOTICES + "ListNotices": VIEWERS,
    NOTICES + "ListMutes": VIEWERS,
    NOTICES + "TestWebhook": ADMINS,
    NOTICES + "MuteNotices": ADMINS,
    NOTICES + "UnmuteNotices": ADMINS,
    "/llmenv.fleet.v1.CollectorService/TakeSnapshot": ADMINS,
    # A driver says its token there once, in a header of its own.
    FLIGHT + "Handshake": ANYONE,
    FLIGHT + "GetFlightInfo": ANALYSTS,
    FLIGHT + "PollFlightInfo": ANALYSTS,
    FLIGHT + "GetSchema": ANALYSTS,
    FLIGHT + "DoGet": ANALYSTS,
    FLIGHT + "DoPut": ANALYSTS,
    FLIGHT + "DoAction": ANALYSTS,
    FLIGHT + "ListActions": ANALYSTS,
    # Nothing is behind these.
    FLIGHT + "ListFlights": ANALYSTS,
    FLIGHT + "DoExchange": ANALYSTS,
    # Load balancers and service managers ask these without a token.
    "/grpc.health.v1.Health/Check": ANYONE,
    "/grpc.health.v1.Health/Watch": ANYONE,
    "/grpc.health.v1.Health/List": ANYONE,
    # The contract is public.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ANYONE,
}


def allowed(method: str) -> frozenset[Caller]:
    """Nobody, for a method without a row."""
    return POLICY.get(method, frozenset())
