"""What drivers put into Flight's opaque bytes: a message of Flight SQL within a protobuf Any."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from llmenv.arrow_flight import flight_sql_pb2 as sql

from llmenv_collector.errors import UsageError

READ_ONLY = "This database is read-only: a SELECT may be asked, and nothing else."
WRITES = {"CommandStatementUpdate", "CommandPreparedStatementUpdate", "CommandStatementIngest"}


def unpack(content: bytes) -> Message:
    """A message of Flight SQL.  Raises UsageError."""
    packed = AnyMessage()
    try:
        packed.ParseFromString(content)
        package, _, name = packed.type_url.rpartition("/")[2].rpartition(".")
        kind = getattr(sql, name, None) if package == sql.DESCRIPTOR.package else None
        if not (isinstance(kind, type) and issubclass(kind, Message)):
            raise UsageError("This port speaks Flight SQL: a command of it is wanted.")
        message = kind()
        message.ParseFromString(packed.value)
    except DecodeError as error:
        raise UsageError("The command is not a message of Flight SQL.") from error
    if name in WRITES:
        raise UsageError(READ_ONLY)
    return message


def pack(message: Message) -> bytes:
    packed = AnyMessage()
    packed.Pack(message)
    content: bytes = packed.SerializeToString()
    return content


def unanswered(message: Any) -> UsageError:
    return UsageError(f"{type(message).__name__} is not answered here.")
