"""What a tool printed on somebody's Mac, understood somewhere else.

A user sends a file, a maintainer sees what the agent would have made of it.  Only named fields
come out: no serial number, no hardware identifier, no host name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from llmenv_agent.errors import UsageError
from llmenv_agent.facts.applegpuinfo import parse_applegpuinfo
from llmenv_agent.facts.collect_env import parse_collect_env
from llmenv_agent.facts.error_text import parse_error_text
from llmenv_agent.facts.ioreg import parse_ioreg
from llmenv_agent.facts.localscore import parse_localscore
from llmenv_agent.facts.macmon import parse_macmon
from llmenv_agent.facts.mactop import parse_mactop
from llmenv_agent.facts.mlx_device_info import parse_mlx_device_info
from llmenv_agent.facts.notifyutil import parse_notifyutil
from llmenv_agent.facts.observed import Observed, merge
from llmenv_agent.facts.pmset import parse_pmset
from llmenv_agent.facts.powermetrics import parse_powermetrics
from llmenv_agent.facts.psutil_text import parse_psutil
from llmenv_agent.facts.sw_vers import parse_sw_vers
from llmenv_agent.facts.sysctl import parse_sysctl
from llmenv_agent.facts.system_profiler import parse_system_profiler
from llmenv_agent.facts.training_log import parse_training_log
from llmenv_agent.facts.uname import parse_uname
from llmenv_agent.facts.vm_stat import parse_vm_stat

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_BYTES = 16 * 2**20

# People paste the output of these three one after the other, so each file is given to all.
_PASTED = (parse_sysctl, parse_system_profiler, parse_sw_vers)
_ONE_ANSWER: dict[str, tuple[Callable[[str], Observed], ...]] = {
    "applegpuinfo": (parse_applegpuinfo,),
    "collect_env": (parse_collect_env,),
    "errors": (parse_error_text,),
    "ioreg": (parse_ioreg,),
    "lora_logs": (parse_training_log,),
    "mlx_device_info": (parse_mlx_device_info,),
    "notifyutil": (parse_notifyutil,),
    "pmset": (parse_pmset,),
    "psutil": (parse_psutil,),
    "sw_vers": _PASTED,
    "sysctl": _PASTED,
    "system_profiler": _PASTED,
    "uname": (parse_uname,),
    "vm_stat": (parse_vm_stat,),
}
_SEVERAL_ANSWERS: dict[str, Callable[[str], tuple[Observed, ...]]] = {
    "localscore": parse_localscore,
    "macmon": parse_macmon,
    "mactop": parse_mactop,
    "powermetrics": parse_powermetrics,
}
KINDS = tuple(sorted({**_ONE_ANSWER, **_SEVERAL_ANSWERS}))


class RecordingError(UsageError):
    """A recording that cannot be used; its text is one sentence for the person who sent it."""


def decode_recording(content: bytes) -> str:
    """The text of a recording.  Raises RecordingError when it is too large, empty or no text."""
    if len(content) > LARGEST_BYTES:
        raise RecordingError(
            f"it is larger than {LARGEST_BYTES // 2**20} MiB; send one output, not a collection"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordingError(f"byte {error.start} is not UTF-8; send the output as a text file") from error
    if not text.strip():
        raise RecordingError("it is empty; send what the tool printed")
    return text


def parse_recording(kind: str, text: str) -> tuple[Observed, ...]:
    """What is understood: one answer for most kinds, one per sample or system for others.

    Raises RecordingError for an unknown kind and for a text in which nothing is understood.
    """
    if kind in _SEVERAL_ANSWERS:
        answers = tuple(merge(part) for part in _SEVERAL_ANSWERS[kind](text) if part)
    elif kind in _ONE_ANSWER:
        answer = merge(*(parse(text) for parse in _ONE_ANSWER[kind]))
        answers = (answer,) if answer else ()
    else:
        raise RecordingError(f"there is no kind {kind!r}; choose one of {', '.join(KINDS)}")
    if not answers:
        raise RecordingError(
            f"nothing in it is understood as output of kind {kind}; check the kind and the file"
        )
    return answers


def to_json(observed: Observed) -> dict[str, Any]:
    """Facts, conditions and readings as JSON values; a section with nothing in it is left out."""
    sections = {
        "machine": json_format.MessageToDict(observed.machine, preserving_proto_field_name=True),
        "conditions": json_format.MessageToDict(observed.conditions, preserving_proto_field_name=True),
        "readings": dict(observed.readings),
    }
    return {name: section for name, section in sections.items() if section}
