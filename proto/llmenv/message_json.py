"""A protobuf message as JSON: names as in the .proto file, maps sorted so that equal messages look equal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict

if TYPE_CHECKING:
    from google.protobuf.message import Message


def text_of(message: Message) -> str:
    """The JSON mapping of protobuf, indented, ending with a newline."""
    content = MessageToDict(message, preserving_proto_field_name=True)
    content = _with_sorted_maps(content, message.DESCRIPTOR)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


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
