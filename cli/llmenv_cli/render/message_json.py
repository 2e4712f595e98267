"""A protobuf message as JSON: names as in the .proto file, maps sorted so that equal messages print equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from google.protobuf.json_format import MessageToDict

from llmenv_cli.render.listing import write_json

if TYPE_CHECKING:
    from google.protobuf.message import Message


def write_message(message: Message, stream: TextIO) -> None:
    """The JSON mapping of protobuf, indented."""
    content = MessageToDict(message, preserving_proto_field_name=True)
    write_json(_with_sorted_maps(content, message.DESCRIPTOR), stream)


def _with_sorted_maps(content: Any, descriptor: Any) -> Any:
    if isinstance(content, list):
        return [_with_sorted_maps(item, descriptor) for item in content]
    if not isinstance(content, dict) or descriptor is None:
        return content
    if descriptor.GetOptions().map_entry:
        return dict(sorted(content.items()))
    fields = descriptor.fields_by_name
    return {
        name: _with_sorted_maps(value, fields[name].message_type if name in fields else None)
        for name, value in content.items()
    }
