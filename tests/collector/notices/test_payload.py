"""What is sent is as its schema says, whatever agents say, and bounded."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

import jsonschema
import pytest
from llmenv.catalog.texts import LANGUAGES
from llmenv.fleet.v1 import result_pb2
from llmenv.ids import new_id
from llmenv_collector.notices import payload
from llmenv_collector.notices.payload import Content, Told, body_of

SCHEMA = json.loads(
    (importlib.resources.files("llmenv_collector.notices") / "notice.schema.json").read_text("utf-8")
)
REGRESSION = {
    "case": "",
    "measurement": "steps_per_second",
    "unit": "step/s",
    "before": 20.0,
    "after": 18.0,
    "ratio": 0.9,
    "ratio_low": 0.89,
    "ratio_high": 0.91,
    "results_since": 12,
    "causes": [{"kind": "package", "name": "torch", "before": "2.10.0", "after": "2.11.0"}],
}
DETAILS: dict[str, dict[str, Any]] = {
    "check_failing": {},
    "check_recovered": {},
    "machine_silent": {"usual_seconds": 86_400},
    "machine_returned": {"silent_seconds": 300_000},
    "regression": REGRESSION,
}


def told(kind: str, hostname: str = "mini-1", **more: Any) -> Told:
    given: dict[str, Any] = {
        "change_id": new_id(),
        "kind": kind,
        "machine_id": new_id(),
        "hostname": hostname,
        "environment_name": "train",
        "device": "mps",
        "check_name": "torch_training",
        "status": "fail" if kind == "check_failing" else "",
        "former_status": "",
        "remedy_id": "KI014",
        "reason": result_pb2.Sentence(text="It is wrong.", template="It is wrong."),
        "began_at": 1_798_000_000_000_000,
        "noticed_at": 1_798_000_100_000_000,
        "times_changed": 1,
        "detail": DETAILS[kind],
    }
    return Told(**given | more)


def notice(kind: str, *changes: Told, **more: Any) -> Content:
    return Content(notice_id=new_id(), kind=kind, made_at=1_798_000_200_000_000, changes=changes, **more)


def read(content: Content, **how: str) -> Any:
    return json.loads(body_of(content, **{"body": "notice", "language": "en"} | how))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", DETAILS)
def test_each_kind_is_as_the_schema_says(kind: str, language: str) -> None:
    """In both languages, with a text that names the machine."""
    content = read(notice(kind, told(kind)), language=language)
    jsonschema.validate(content, SCHEMA)
    assert "mini-1" in content["text"]


def test_texts_say_what_people_need() -> None:
    """Word for word, of two kinds."""
    assert read(notice("regression", told("regression")))["text"] == (
        "Network training: steps per second -10.0 %, with torch 2.10.0 → 2.11.0 on mini-1"
        " since 2026-12-23 04:26."
    )
    silent = notice("machine_silent", told("machine_silent"), told("machine_silent", "air-2"))
    assert read(silent)["text"] == ("Silent since 2026-12-23 04:26, longer than usual there: air-2, mini-1.")


def test_two_machines_with_one_hostname_are_two() -> None:
    """By the beginning of the id in the text; of one machine in two changes there is one."""
    twins = [
        told("machine_silent", machine_id=f"019c6120-000{number}-7000-8000-{number:012}") for number in (1, 2)
    ]
    text = read(notice("machine_silent", *twins))["text"]
    assert text.endswith(": mini-1 (019c6120-0001), mini-1 (019c6120-0002).")
    assert read(notice("machine_silent", twins[0], twins[0]))["text"].endswith(": mini-1.")


def test_a_flapping_check_says_how_often_it_changed() -> None:
    """In the text and in the change."""
    content = read(notice("check_failing", told("check_failing", times_changed=7)))
    assert content["text"].endswith("It changed 7 times since it was last told.")
    assert content["changes"][0]["times_changed"] == 7


def test_reports_and_tests_have_no_changes() -> None:
    """A report comes with its content."""
    content = read(notice("report", subject="weekly", report="<html>"))
    jsonschema.validate(content, SCHEMA)
    assert content["report"] == {"name": "weekly", "content": "<html>"}
    jsonschema.validate(read(notice(payload.TEST, subject="lab")), SCHEMA)


def test_what_agents_say_is_cut_and_cannot_steer_a_terminal() -> None:
    """However long, however many; the number of all is said."""
    long = "\x1b[31m" + "x" * 100_000
    sentence = result_pb2.Sentence(text=long, template=long)
    changes = [told("check_failing", long, check_name=long, remedy_id=long, reason=sentence)] * 500
    body = body_of(notice("check_failing", *changes), body="notice", language="en")
    content = json.loads(body)
    jsonschema.validate(content, SCHEMA)
    assert (len(content["changes"]), content["changes_total"]) == (50, 500)
    assert len(body) < 512 << 10
    assert "\x1b" not in content["text"]


def test_the_schema_lists_every_field() -> None:
    """None is sent that is not documented."""
    content = read(notice("regression", told("regression"), report="x"))
    change = content["changes"][0]
    assert set(content) == set(SCHEMA["properties"])
    assert set(change) == set(SCHEMA["$defs"]["change"]["properties"])
    assert set(change["detail"]) <= set(SCHEMA["$defs"]["change"]["properties"]["detail"]["properties"])
