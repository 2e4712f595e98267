"""Messages as Arrow columns: their fields, what they hold, and what they repeat with a row for each.

Wire bytes become columns and columns wire bytes in ptars, without an object for any of them.  Only bytes
that protobuf itself has taken may come here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf import descriptor_pb2, descriptor_pool
from llmenv.fleet.v1 import record_pb2
from ptars import HandlerPool, PtarsConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

RECORD = record_pb2.Record.DESCRIPTOR
UNIT = PtarsConfig(timestamp_unit="us")
"""Nanoseconds in 64 bits would end in the year 2262."""


class Messages:
    """Messages of one type, one row a message, with what they inherit from those that hold them."""

    def __init__(self, kind: Descriptor, fields: pa.StructArray, keys: Mapping[str, pa.Array]) -> None:
        """`keys` are columns of ids and the like, as long as `fields`."""
        self._kind = kind
        self._fields = fields
        self.keys = keys

    def __len__(self) -> int:
        return len(self._fields)

    def field(self, path: str) -> pa.Array:
        """Null where the field is absent, or a message on the way to it."""
        name, *rest = path.split(".")
        column = self._columns[name]
        return pc.struct_field(column, rest) if rest else column

    @functools.cached_property
    def _columns(self) -> dict[str, pa.Array]:
        """All at once: one by one would be half of what a few messages cost."""
        return dict(zip(self._fields.type.names, self._fields.flatten(), strict=True))

    def value(self, path: str) -> pa.Array:
        """With its type's default where it is absent."""
        column = self.field(path)
        return column.fill_null(default_of(column.type)) if column.null_count else column

    def part(self, path: str) -> Messages:
        """What is held in a field; where a message lacks it, a message without any field."""
        return Messages(self._kind_of(path), self.field(path), self.keys)

    def within(self, path: str) -> Messages:
        """What is held in a field, of those messages that have it."""
        held = self.part(path)
        return held.only(held._fields.is_valid()) if held._fields.null_count else held

    def keyed(self, *names: str, **keys: pa.Array) -> Messages:
        """With these of the keys and these new ones."""
        return Messages(self._kind, self._fields, {**{name: self.keys[name] for name in names}, **keys})

    def each(self, path: str, **keys: pa.Array) -> Messages:
        """What is repeated in a field, a row each, with these keys beside the inherited ones."""
        repeated = self.field(path)
        holders = pc.list_parent_indices(repeated)
        inherited = {name: column.take(holders) for name, column in {**self.keys, **keys}.items()}
        return Messages(self._kind_of(path), repeated.flatten(), inherited)

    def entries(self, path: str) -> pa.Table:
        """The entries of a map, a row each: `name` and `value` beside the keys."""
        entries = self.field(path).cast(pa.list_(ENTRY))
        holders = pc.list_parent_indices(entries)
        pairs = entries.flatten()
        inherited = {name: column.take(holders) for name, column in self.keys.items()}
        return pa.table({**inherited, "name": pairs.field("key"), "value": pairs.field("value")})

    def positions(self, path: str) -> pa.Array:
        """Of what each(path) gives: which one it is in the message that holds it, from 0."""
        holders = pc.list_parent_indices(self.field(path)).to_numpy()
        return pa.array(np.arange(len(holders)) - np.searchsorted(holders, holders), pa.uint32())

    def take(self, rows: pa.Array) -> Messages:
        keys = {name: column.take(rows) for name, column in self.keys.items()}
        return Messages(self._kind, self._fields.take(rows), keys)

    def only(self, wanted: pa.Array) -> Messages:
        """Those for which `wanted`, one boolean a row, is true."""
        keys = {name: column.filter(wanted) for name, column in self.keys.items()}
        return Messages(self._kind, self._fields.filter(wanted), keys)

    def table(self, **columns: pa.Array) -> pa.Table:
        """The keys and these."""
        return pa.table({**self.keys, **columns})

    def values(self, *names: str) -> dict[str, pa.Array]:
        return {name: self.value(name) for name in names}

    def fields(self, *names: str) -> dict[str, pa.Array]:
        return {name: self.field(name) for name in names}

    def encoded(self, *, without: Sequence[str] = ()) -> pa.Array:
        """Each as wire bytes, but for the fields named by their paths."""
        kept = trimmed(self._fields, without)
        return handler(self._kind).record_batch_to_array(pa.RecordBatch.from_struct_array(kept))

    def _kind_of(self, path: str) -> Descriptor:
        kind = self._kind
        for name in path.split("."):
            kind = message_type(kind, name)
        return kind


ENTRY = pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())])


def of_records(kind: str, records: Sequence[bytes], keys: Mapping[str, pa.Array]) -> Messages:
    """What serialised Records hold of one kind, such as `check_finished`: all must be of that kind."""
    envelope = envelopes().message_types_by_name[kind]
    held = handler(envelope).list_to_record_batch(list(records)).column(kind)
    return Messages(message_type(RECORD, kind), held, keys)


def of_messages(kind: Descriptor, messages: Sequence[bytes], keys: Mapping[str, pa.Array]) -> Messages:
    batch = handler(kind).list_to_record_batch(list(messages))
    return Messages(kind, batch.to_struct_array(), keys)


@functools.cache
def envelopes() -> Any:
    """For each kind a message with that one field of Record: columns for all the others would stay empty."""
    file = descriptor_pb2.FileDescriptorProto(
        name="llmenv_collector/envelopes.proto",
        package="llmenv_collector.envelopes",
        syntax="proto3",
        dependency=[RECORD.file.name],
    )
    for field in RECORD.oneofs_by_name["kind"].fields:
        envelope = file.message_type.add(name=field.name)
        envelope.field.append(like(field))
    return descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


def like(field: FieldDescriptor) -> descriptor_pb2.FieldDescriptorProto:
    kinds = descriptor_pb2.FieldDescriptorProto
    return kinds(
        name=field.name,
        number=field.number,
        label=kinds.LABEL_OPTIONAL,
        type=kinds.TYPE_MESSAGE,
        type_name=f".{message_type(RECORD, field.name).full_name}",
    )


def message_type(kind: Descriptor, name: str) -> Descriptor:
    """Of a field that holds messages."""
    held = kind.fields_by_name[name].message_type
    if held is None:
        raise TypeError(f"{name} holds no message.")
    return held


@functools.cache
def handler(kind: Descriptor) -> Any:
    return HandlerPool([kind.file], UNIT).get_for_message(kind)


def default_of(kind: pa.DataType) -> Any:
    """What a proto3 field of this type is when nobody has set it."""
    return pa.nulls(1, kind) if pa.types.is_null(kind) else DEFAULTS[kind.id]


DEFAULTS = {
    pa.string().id: "",
    pa.bool_().id: False,
    **{kind.id: 0 for kind in (pa.int32(), pa.int64(), pa.uint32(), pa.uint64(), pa.float64())},
}


def trimmed(fields: pa.StructArray, paths: Sequence[str]) -> pa.StructArray:
    """Without the fields at these paths."""
    columns = dict(zip((field.name for field in fields.type), fields.flatten(), strict=True))
    for path in paths:
        name, _, rest = path.partition(".")
        if rest:
            columns[name] = trimmed(columns[name], [rest])
        else:
            del columns[name]
    mask = fields.is_null() if fields.null_count else None
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns), mask=mask)


def named(values: pa.Array, name_of: Callable[[Any], str | None]) -> pa.Array:
    """The name of each value; `name_of` is asked once for each that occurs."""
    encoded = values.dictionary_encode()
    names = pa.array([name_of(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, names).dictionary_decode()
