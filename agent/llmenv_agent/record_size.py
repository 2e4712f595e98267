"""Cuts a result to records of at most 1 MiB and says in the result what was cut.

What decides is kept longest: rows move to records of their own first, then raw
trials go, then the log, then long texts, and only then whole entries.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from llmenv.fleet.v1 import record_pb2, result_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_RECORD_BYTES = 1024 * 1024
# Room for the record around it: ids, times, and a few bytes of length each.
_MOST_BODY_BYTES = MOST_RECORD_BYTES - 8 * 1024
_MOST_CASE_BYTES = 128 * 1024
_SHORT_LOG_CHARACTERS = 4 * 1024
_SHORT_TEXT_CHARACTERS = 1024
_RAW_TRIALS = "raw trials of {count} measurements"


@dataclasses.dataclass(frozen=True)
class ResultRecords:
    """A result as the records that carry it, in the order they are sent."""

    finished: record_pb2.CheckFinished
    batches: tuple[record_pb2.CaseBatch, ...]

    def whole(self) -> result_pb2.Result:
        """The result with all its cases again, as a report shows it."""
        result = result_pb2.Result()
        result.CopyFrom(self.finished.result)
        for batch in self.batches:
            result.cases.extend(batch.cases)
        return result


def split(run_id: str, result: result_pb2.Result) -> ResultRecords:
    """The records of `result`; it is not changed itself. None is larger than a record may be."""
    kept = result_pb2.Result()
    kept.CopyFrom(result)
    cases = list(kept.cases)
    del kept.cases[:]
    _note(kept, sum(_cut_case(case) for case in cases), "content of {count} large cases")
    for cut in _CUTS:
        if _fits(kept):
            break
        cut(kept)
    batches = _batches(cases, first_bytes=_MOST_BODY_BYTES - kept.ByteSize())
    kept.cases.extend(next(batches))
    return ResultRecords(
        finished=record_pb2.CheckFinished(run_id=run_id, result=kept),
        batches=tuple(
            record_pb2.CaseBatch(run_id=run_id, result_id=result.result_id, cases=batch) for batch in batches
        ),
    )


def has_trials(record: record_pb2.Record) -> bool:
    """Whether there is something that `cut_trials` would take from its result."""
    return any(
        measurement.trials or measurement.warmups
        for part in _parts(record.check_finished.result)
        for measurement in part.measurements
    )


def cut_trials(result: result_pb2.Result) -> None:
    """Leave out the raw values behind its figures and those of its cases, and say so in it."""
    dropped = sum(_drop_trials(part) for part in _parts(result))
    _note(result, dropped, _RAW_TRIALS)


def _parts(result: result_pb2.Result) -> list[result_pb2.Result | result_pb2.Case]:
    return [result, *result.cases]


def tried(run_id: str, result_id: str, trial: result_pb2.RemedyTrial) -> record_pb2.RemedyTried:
    """The record of `trial`, whose cases are no more than `names_that_fit`."""
    kept = result_pb2.RemedyTrial()
    kept.CopyFrom(trial)
    if not _fits(kept):
        _shorten_texts(kept)
    return record_pb2.RemedyTried(run_id=run_id, result_id=result_id, trial=kept)


def names_that_fit(names: list[str]) -> list[str]:
    """The first of `names`, as many as one record has room for."""
    ends = itertools.accumulate(len(name.encode()) + 8 for name in names)  # with its tag and length
    return [name for name, end in zip(names, ends, strict=True) if end <= _MOST_BODY_BYTES // 2]


def _batches(cases: list[result_pb2.Case], *, first_bytes: int) -> Iterator[list[result_pb2.Case]]:
    """The cases in order: first those that fit into `first_bytes`, then a record full at a time."""
    batch: list[result_pb2.Case] = []
    room = first_bytes
    for case in cases:
        size = case.ByteSize() + 8  # its tag and length
        if size > room:
            yield batch
            batch, room = [], _MOST_BODY_BYTES
        batch.append(case)
        room -= size
    yield batch


def _fits(message: Message) -> bool:
    return message.ByteSize() <= _MOST_BODY_BYTES


def _note(result: result_pb2.Result, count: int, what: str) -> None:
    if count:
        result.cut.append(what.format(count=count))


def _cut_case(case: result_pb2.Case) -> bool:
    """Bring one row within its bound; True where something went."""
    if case.ByteSize() <= _MOST_CASE_BYTES:
        return False
    _drop_trials(case)
    _shorten_texts(case)
    if case.ByteSize() > _MOST_CASE_BYTES:
        del case.facts[:], case.measurements[:]
    return True


def _cut_trials(result: result_pb2.Result) -> None:
    _note(result, _drop_trials(result), _RAW_TRIALS)


def _cut_log(result: result_pb2.Result) -> None:
    excess = result.log_tail[:-_SHORT_LOG_CHARACTERS]
    if excess:
        result.log_tail = result.log_tail[-_SHORT_LOG_CHARACTERS:]
        result.log_bytes_cut += len(excess.encode())
        _note(result, len(excess.encode()), "{count} bytes of the log")


def _cut_texts(result: result_pb2.Result) -> None:
    _note(result, _shorten_texts(result), "the ends of {count} texts")


def _cut_variables(result: result_pb2.Result) -> None:
    _note(result, len(result.environment_variables), "{count} environment variables")
    result.environment_variables.clear()


def _cut_entries(name: str) -> Callable[[result_pb2.Result], None]:
    def cut(result: result_pb2.Result) -> None:
        entries: Any = getattr(result, name)
        excess = result.ByteSize() - _MOST_BODY_BYTES
        dropped = 0
        while entries and excess > 0:
            excess -= entries.pop().ByteSize()
            dropped += 1
        _note(result, dropped, f"the last {{count}} {name}")

    return cut


_CUTS: tuple[Callable[[result_pb2.Result], None], ...] = (
    _cut_trials,
    _cut_log,
    _cut_texts,
    _cut_variables,
    _cut_entries("facts"),
    _cut_entries("expectations"),
    _cut_entries("measurements"),
)


def _drop_trials(message: result_pb2.Result | result_pb2.Case) -> int:
    dropped = 0
    for measurement in message.measurements:
        if measurement.trials or measurement.warmups:
            del measurement.trials[:], measurement.warmups[:]
            dropped += 1
    return dropped


def _shorten_texts(message: Message) -> int:
    """Shorten every long text of the message and of those within; a count of texts."""
    shortened = 0
    for field, value in message.ListFields():
        if isinstance(value, str):
            if len(value) > _SHORT_TEXT_CHARACTERS:
                setattr(message, field.name, _shortened(field.name, value))
                shortened += 1
        elif isinstance(value, result_pb2.Sentence):
            shortened += _shorten_sentence(value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            entries = [value] if isinstance(value, Message) else value
            shortened += sum(_shorten_texts(entry) for entry in entries)
    return shortened


def _shortened(field_name: str, text: str) -> str:
    """Half a JSON text is none."""
    return "{}" if field_name.endswith("_json") else text[: _SHORT_TEXT_CHARACTERS - 1] + "…"


def _shorten_sentence(sentence: result_pb2.Sentence) -> int:
    """A long sentence keeps its English alone: its template would lack values."""
    if sentence.ByteSize() <= _SHORT_TEXT_CHARACTERS * 4:
        return 0
    text = _shortened("text", sentence.text)
    sentence.Clear()
    sentence.text = text
    return 1
