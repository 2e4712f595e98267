"""Does `datasets` read, map, filter and stream local files rightly, with spawned processes and its cache?

The same rows, with Chinese texts, an empty one and one with a line break, are written as JSON lines, CSV and
Parquet, read back and compared one by one. Then a map by row, a map by batch that makes two rows of one, a
map in two spawned processes, which must be two others and keep the order, and a filter, each against the
plain Python of it. A map that is asked for again must come from the cache and not call its function, and one
with another argument must not. Streaming gives the same rows; shuffled, the same order for the same seed and
another for another. Its cache is kept in the check's own folder, and the hub is never asked: it is set
offline, and every connection that this process would open is seen by an audit hook.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmenv_agent.probe.cases import Case
    from llmenv_agent.probe.context import Probe

    Rows = list[dict[str, Any]]

ORDER = 270
SUITES = ("full",)
REQUIRES = ()
TIMEOUT_SECONDS = 400
CASE_TIMEOUT_SECONDS = 150
TYPICAL_SECONDS = 4
PARAMETERS = {"rows": 200}
ALLOWED = {"rows": "32..100000"}

MAPPED_BATCH, SHUFFLE_BUFFER = 7, 32


def run(probe: Probe) -> None:
    if find_spec("datasets") is None:
        probe.skip("The package datasets is not installed.")
    connections = _watch_connections()
    datasets = _import_in_scratch(probe)
    rows = [
        {"id": number, "text": _text(number), "loss": 2.5 - number / 128}
        for number in range(probe.parameters["rows"])
    ]
    for name, judge in CASES.items():
        if not probe.is_completed(name):
            with probe.case(name) as case:
                judge(case, _Files(datasets, probe.scratch, rows, seed=probe.seed))
    if not probe.is_completed("offline"):
        with probe.case("offline") as case:
            _judge_offline(case, datasets, connections)


def _text(number: int) -> str:
    return ["", "\u8bad\u7ec3", 'a "quoted", text', "two\nlines", "\U0001f34e"][number % 5] * (1 + number % 3)


def _watch_connections() -> "list[str]":
    """Addresses that this process connects to from now on; those of pipes between processes are left out."""
    connections: "list[str]" = []

    def hook(event: str, arguments: "tuple[Any, ...]") -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            connections.append(str(arguments[1][0]))

    sys.addaudithook(hook)
    return connections


def _import_in_scratch(probe: Probe) -> Any:
    """datasets reads these variables once, when it is imported."""
    os.environ["HF_HOME"] = str(probe.scratch / "hf")
    os.environ["HF_DATASETS_CACHE"] = str(probe.scratch / "hf" / "datasets")
    os.environ["HF_DATASETS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    # As macOS starts processes, also where a fork would be the custom.
    import_module("multiprocess").set_start_method("spawn", force=True)
    return datasets


class _Files:
    """The rows, and the files that hold them."""

    def __init__(self, datasets: Any, folder: Path, rows: Rows, *, seed: int) -> None:
        self.datasets = datasets
        self.folder = folder
        self.rows = rows
        self.seed = seed

    def dataset(self, kind: str = "json", **options: Any) -> Any:
        """Reads a file of `kind` "json", "csv" or "parquet", written now where there is none."""
        path = self.folder / f"rows.{kind}"
        if not path.exists():
            getattr(self, "_write_" + kind)(path)
        empty_is_text = {"keep_default_na": False} if kind == "csv" else {}
        return self.datasets.load_dataset(
            kind, data_files=str(path), split="train", **empty_is_text, **options
        )

    def _write_json(self, path: Path) -> None:
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")

    def _write_csv(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, ["id", "text", "loss"])
            writer.writeheader()
            writer.writerows(self.rows)

    def _write_parquet(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(self.rows), path)


def _judge_rows(case: Case, observed: "Iterable[dict[str, Any]]", expected: Rows) -> None:
    """End as `fail` unless these are the rows, in order and in full."""
    rows = list(observed)
    if len(rows) != len(expected):
        case.fail("{count} rows came instead of {expected}.", count=len(rows), expected=len(expected))
    for number, (row, wanted) in enumerate(zip(rows, expected)):
        if row != wanted:
            case.fail(
                "Row {number} is {row}, not {wanted}.", number=number, row=ascii(row), wanted=ascii(wanted)
            )
    case.passed("{count} rows, each as it should be.", count=len(rows))


def _reading(kind: str) -> "Callable[[Case, _Files], None]":
    return lambda case, files: _judge_rows(case, files.dataset(kind), files.rows)


def _measure_text(row: "dict[str, Any]") -> "dict[str, Any]":
    return {"length": len(row["text"])}


def _with_length(rows: Rows) -> Rows:
    return [{**row, "length": len(row["text"])} for row in rows]


def _judge_map(case: Case, files: _Files) -> None:
    _judge_rows(case, files.dataset().map(_measure_text), _with_length(files.rows))


def _twice(batch: "dict[str, list[Any]]") -> "dict[str, list[Any]]":
    return {"id": [number for number in batch["id"] for _ in range(2)]}


def _judge_batched_map(case: Case, files: _Files) -> None:
    mapped = files.dataset().map(
        _twice, batched=True, batch_size=MAPPED_BATCH, remove_columns=["id", "text", "loss"]
    )
    _judge_rows(case, mapped, [{"id": row["id"]} for row in files.rows for _ in range(2)])


def _add_process(row: "dict[str, Any]") -> "dict[str, Any]":
    import os

    return {"process": os.getpid(), "length": len(row["text"])}


def _judge_two_processes(case: Case, files: _Files) -> None:
    mapped = list(files.dataset().map(_add_process, num_proc=2))
    processes = {row.pop("process") for row in mapped}
    if len(processes - {os.getpid()}) != 2:
        case.fail("{count} other processes mapped the rows, not 2.", count=len(processes - {os.getpid()}))
    _judge_rows(case, mapped, _with_length(files.rows))


def _judge_filter(case: Case, files: _Files) -> None:
    kept = files.dataset().filter(lambda row: row["id"] % 3 == 0)
    _judge_rows(case, kept, [row for row in files.rows if row["id"] % 3 == 0])


def _note_call(row: "dict[str, Any]", calls: str, factor: int) -> "dict[str, Any]":
    with open(calls, "ab") as stream:  # noqa: PTH123 # pickled by value, without the imports of this file
        stream.write(b".")
    return {"product": factor * row["id"]}


def _judge_cache(case: Case, files: _Files) -> None:
    """The same map, again, and with another argument."""
    calls = files.folder / "calls"
    called = []
    for factor in (2, 2, 3):
        before = calls.stat().st_size if calls.exists() else 0
        mapped = files.dataset().map(_note_call, fn_kwargs={"calls": str(calls), "factor": factor})
        called.append((calls.stat().st_size - before) // len(files.rows))
        outside = [
            each["filename"] for each in mapped.cache_files if not _is_below(each["filename"], files.folder)
        ]
        if outside:
            case.fail("The cache lies outside of its folder: {path}.", path=outside[0])
        _judge_rows(case, mapped, [{**row, "product": factor * row["id"]} for row in files.rows])
    if called != [1, 0, 1]:
        case.fail(
            "A map, the same again and one with another argument called their function {called} times a row, "
            "not 1, 0 and 1.",
            called=", ".join(map(str, called)),
        )
    case.passed("The same map came from the cache, another one did not.")


def _is_below(path: str, folder: Path) -> bool:
    return folder.resolve() in Path(path).resolve().parents


def _judge_streaming(case: Case, files: _Files) -> None:
    stream = files.dataset(streaming=True).filter(lambda row: row["id"] % 2 == 1).map(_measure_text)
    _judge_rows(case, stream, _with_length([row for row in files.rows if row["id"] % 2 == 1]))


def _judge_shuffle(case: Case, files: _Files) -> None:
    def order(seed: int) -> "list[int]":
        shuffled = files.dataset(streaming=True).shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER)
        return [row["id"] for row in shuffled]

    first, again, other = order(files.seed), order(files.seed), order(files.seed + 1)
    if not sorted(first) == sorted(other) == [row["id"] for row in files.rows]:
        case.fail("Shuffling lost rows or gave some twice.")
    if first != again:
        case.fail("The same seed shuffled the rows in another order.")
    if first in (other, sorted(first)):
        case.fail("Shuffling with two seeds gave one order, or changed none.")
    case.passed("{count} rows were shuffled, the same for the same seed.", count=len(first))


def _judge_offline(case: Case, datasets: Any, connections: "list[str]") -> None:
    """A data set of the hub is refused at once, and nothing was asked in the whole check."""
    try:
        datasets.load_dataset("stanfordnlp/imdb")
    except (ConnectionError, OSError, ValueError) as refusal:
        refused = type(refusal).__name__
    else:
        case.fail("A data set of the hub was loaded although datasets is set offline.")
    if connections:
        case.fail("Set offline, it connected to {address}.", address=connections[0])
    case.passed("Offline, a data set of the hub is refused ({error}), and nothing was asked.", error=refused)


CASES = {
    "jsonl": _reading("json"),
    "csv": _reading("csv"),
    "parquet": _reading("parquet"),
    "map": _judge_map,
    "map_batched": _judge_batched_map,
    "map_two_processes": _judge_two_processes,
    "filter": _judge_filter,
    "cache": _judge_cache,
    "streaming": _judge_streaming,
    "streaming_shuffle": _judge_shuffle,
}
