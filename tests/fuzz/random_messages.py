"""Messages made up from a descriptor alone: every field, with values at the edges of what it may have.

The chances come from a `random.Random`, or from one of hypothesis's, which can then make a failure smaller.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

DEEPEST = 6
MOST_REPEATED = 3
SIGNED = {Field.TYPE_INT32, Field.TYPE_SINT32, Field.TYPE_SFIXED32}
SIGNED_LONG = {Field.TYPE_INT64, Field.TYPE_SINT64, Field.TYPE_SFIXED64}
UNSIGNED = {Field.TYPE_UINT32, Field.TYPE_FIXED32}
UNSIGNED_LONG = {Field.TYPE_UINT64, Field.TYPE_FIXED64}
FLOATS = (0.0, -0.0, 1.0, -1.5, 1e-300, 1e300, 5e-324, math.inf, -math.inf, math.nan)
TEXTS = (
    "",
    "a",
    "mps",
    "0",
    "019c6120-0000-7000-8000-00000000005c",
    "00000000-0000-0000-0000-000000000000",
    "not-a-uuid",
    "\x00",
    "a\x00b",
    "\u202egnp",
    "'; DROP VIEW v1.runs; --",
    "{}",
    '{"a": [1, null]}',
    '{"a":',
    "NaN",
    "é" * 100,
    "🦆" * 50,
    "x" * 5_000,
    "\x1b[31m",
    "line\nline",
    "/Users/ana/secret",
    "2.13.0.dev20260101+cpu",
)


def message(descriptor: Descriptor, chance: Random, *, depth: int = 0) -> Message:
    """A message of this type."""
    made = GetMessageClass(descriptor)()
    share = chance.choice((0.2, 0.6, 1.0))
    oneofs = {oneof.name: chance.choice(oneof.fields).name for oneof in descriptor.oneofs}
    for field in descriptor.fields:
        oneof = field.containing_oneof
        wanted = oneofs[oneof.name] == field.name if oneof else True
        if wanted and chance.random() < share:
            fill(made, field, chance, depth=depth)
    return made


def fill(made: Any, field: Field, chance: Random, *, depth: int) -> None:
    if field.message_type and depth >= DEEPEST:
        return
    if field.message_type and field.message_type.GetOptions().map_entry:
        fill_map(getattr(made, field.name), field.message_type, chance, depth=depth)
    elif field.is_repeated:
        values = getattr(made, field.name)
        for _ in range(chance.randrange(MOST_REPEATED + 1)):
            if field.message_type:
                values.add().CopyFrom(message(field.message_type, chance, depth=depth + 1))
            else:
                values.append(scalar(field, chance))
    elif field.message_type:
        getattr(made, field.name).CopyFrom(message(field.message_type, chance, depth=depth + 1))
    else:
        setattr(made, field.name, scalar(field, chance))


def fill_map(values: Any, entry: Descriptor, chance: Random, *, depth: int) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for _ in range(chance.randrange(MOST_REPEATED + 1)):
        chosen = scalar(key, chance)
        if value.message_type:
            values[chosen].CopyFrom(message(value.message_type, chance, depth=depth + 1))
        else:
            values[chosen] = scalar(value, chance)


def scalar(field: Field, chance: Random) -> Any:
    kind = field.type
    if kind == Field.TYPE_BOOL:
        return chance.random() < 0.5
    if kind == Field.TYPE_STRING:
        return chance.choice(TEXTS)
    if kind == Field.TYPE_BYTES:
        return chance.choice(TEXTS).encode() + bytes(
            chance.randrange(256) for _ in range(chance.randrange(8))
        )
    if kind in {Field.TYPE_DOUBLE, Field.TYPE_FLOAT}:
        return chance.choice(FLOATS)
    if kind == Field.TYPE_ENUM:
        known = [value.number for value in field.enum_type.values]
        return chance.choice([*known, 9_999, -1])
    return chance.choice(whole_numbers(kind))


def whole_numbers(kind: int) -> tuple[int, ...]:
    """At the edges of a type."""
    bits = 64 if kind in SIGNED_LONG | UNSIGNED_LONG else 32
    if kind in UNSIGNED | UNSIGNED_LONG:
        return (0, 1, 7, 1_000, 2 ** (bits - 1), 2**bits - 1)
    return (0, 1, -1, 7, 1_800_000_000, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)))


def damaged(content: bytes, chance: Random) -> bytes:
    """Cut, or with a few bytes changed; now and then as it was."""
    made = bytearray(content)
    for _ in range(chance.choice((0, 0, 1, 3))):
        if made:
            made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made[: chance.randrange(len(made) + 1)]) if chance.random() < 0.1 else bytes(made)
