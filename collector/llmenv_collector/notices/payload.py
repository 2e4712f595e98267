"""What is sent of a notice: JSON as notice.schema.json has it, or one text for a chat service."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmenv.catalog.texts import texts
from llmenv.harmless import harmless_line
from llmenv.machine_names import machine_names

from llmenv_collector import clock
from llmenv_collector.notices.state_change import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Sentence

VERSION = 1
MOST_CHANGES = 50
"""Of a notice, in its body; how many there are is always said."""
MOST_NAMED = 5
LONGEST_TEXT = 1_000
SHOWN_OF_VALUE = 60
TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Told:
    """One change as it is told.  `began_at` and `noticed_at`: microseconds since 1970."""

    change_id: str
    kind: str
    machine_id: str
    hostname: str
    environment_name: str
    device: str
    check_name: str
    status: str
    former_status: str
    remedy_id: str
    reason: Sentence
    began_at: int
    noticed_at: int
    times_changed: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Content:
    """A notice as it is to be said."""

    notice_id: str
    kind: str
    made_at: int
    changes: Sequence[Told] = field(default_factory=tuple)
    subject: str = ""
    report: str = ""
    """As it was made, HTML or JSON; empty for what is no report."""


def body_of(notice: Content, *, body: str, language: str) -> bytes:
    text = text_of(notice, texts(language))
    content = {"text": text} if body == "text" else json_of(notice, text, texts(language))
    return json.dumps(content, ensure_ascii=False).encode()


def json_of(notice: Content, text: str, words: Texts) -> dict[str, Any]:
    content: dict[str, Any] = {
        "version": VERSION,
        "notice_id": notice.notice_id,
        "kind": notice.kind,
        "made_at": moment(notice.made_at),
        "text": text,
        "changes_total": len(notice.changes),
        "changes": [change_json(one, words) for one in notice.changes[:MOST_CHANGES]],
    }
    if notice.report:
        content["report"] = {"name": notice.subject, "content": notice.report}
    return content


def change_json(one: Told, words: Texts) -> dict[str, Any]:
    return {
        "change_id": one.change_id,
        "machine_id": one.machine_id,
        "hostname": cut(one.hostname),
        "environment": cut(one.environment_name),
        "device": cut(one.device),
        "check": cut(one.check_name),
        "status": one.status,
        "former_status": one.former_status,
        "reason": cut(words.sentence(one.reason)),
        "remedy_id": cut(one.remedy_id),
        "began_at": moment(one.began_at),
        "noticed_at": moment(one.noticed_at),
        "times_changed": one.times_changed,
        "detail": shortened(one.detail),
    }


def text_of(notice: Content, words: Texts) -> str:
    """One line for people."""
    if notice.kind not in set(Kind):
        return words.say(f"notices.{notice.kind}", subject=notice.subject)
    if not notice.changes:
        return words.say("notices.forgotten")
    first = notice.changes[0]
    said = words.say(
        f"notices.{notice.kind}",
        machines=machines_of(notice.changes, words),
        check=words.name_of("check", first.check_name),
        status=words.name_of("status", first.status),
        reason=cut(words.sentence(first.reason)),
        since=moment(min(one.began_at for one in notice.changes))[:16].replace("T", " "),
        change=change_of(first, words) if notice.kind == Kind.REGRESSION else "",
    )
    most = max(one.times_changed for one in notice.changes)
    if most > 1:
        said += " " + words.say("notices.flapping", times=most)
    return harmless_line(cut(said))


def machines_of(changes: Sequence[Told], words: Texts) -> str:
    """Their names, and how many more."""
    hostnames = {one.machine_id: cut(one.hostname or one.machine_id, 100) for one in changes}
    names = sorted((hostnames | machine_names(hostnames.items())).values())
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return words.say("notices.and_more", names=shown, more=more) if more > 0 else shown


def change_of(one: Told, words: Texts) -> str:
    """What became worse, by how much, and the likeliest cause."""
    detail = one.detail
    said = words.say(
        "notices.by_how_much",
        measurement=words.name_of("name", detail["measurement"]),
        percent=f"{100 * (detail['ratio'] - 1):+.1f}",
    )
    for cause in detail["causes"][:1]:
        absent = words.say("cause.absent")
        sides = {side: cause[side][:SHOWN_OF_VALUE] or absent for side in ("before", "after")}
        said += words.say(
            "notices.with_cause", cause=words.say(f"cause.{cause['kind']}", name=cause["name"], **sides)
        )
    return said


def shortened(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Texts of agents may be long."""
    return {
        key: cut(value)
        if isinstance(value, str)
        else [{name: cut(text, 200) for name, text in one.items()} for one in value]
        if isinstance(value, list)
        else value
        for key, value in detail.items()
    }


def cut(text: str, length: int = LONGEST_TEXT) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def moment(microseconds: int) -> str:
    """RFC 3339, UTC, to the second."""
    when = dt.datetime.fromtimestamp(microseconds // clock.MICROSECONDS, dt.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
