"""Files of measurements made elsewhere: what is read of them, and how each bad row is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llmenv_collector.errors import UsageError
from llmenv_collector.imports import measurement_file
from llmenv_collector.imports.measurement_file import FileRows, read_file

NOW = 1_771_000_000_000_000
HEADER = "machine,chip,gpu_cores,memory_gb,macos,benchmark,case,measurement,unit,value,better,measured_at"
ROW = "a,Apple M1,8,16,15.3,llama_bench,7B Q4_0,prompt,token/s,117.96,higher,2023-11-22"
GOOD: dict[str, Any] = {
    "machine": "a",
    "chip": "Apple M1",
    "benchmark": "llama_bench",
    "measurement": "prompt",
    "unit": "token/s",
    "value": 117.96,
    "better": "higher",
    "measured_at": "2023-11-22",
}


def read(text: str, file_name: str = "table.csv") -> FileRows:
    return read_file(text.encode(), file_name=file_name, now=NOW)


def read_json(**changed: Any) -> FileRows:
    cells = {name: value for name, value in (GOOD | changed).items() if value is not ...}
    return read(json.dumps(cells), "table.jsonl")


def test_a_row_of_csv() -> None:
    """Every column; what is not there is unknown, and a day is its beginning in UTC."""
    (row,) = read(f"{HEADER}\r\n{ROW}\r\n").good
    assert (row.line, row.machine, row.chip, row.gpu_cores) == (2, "a", "Apple M1", 8)
    assert (row.memory_bytes, row.macos, row.device) == (16 << 30, "15.3", "mps")
    assert (row.series, row.unit, row.value, row.direction) == (
        ("llama_bench", "7B Q4_0", "prompt"),
        "token/s",
        117.96,
        1,
    )
    assert (row.measured_at, row.trials, row.packages) == (1_700_611_200_000_000, (), {})


def test_both_kinds_of_file_say_the_same() -> None:
    """Also lists and objects, which csv writes as text."""
    text = f"\ufeff{HEADER},packages,trials\n{ROW},torch==2.10.0 Mlx_LM==0.30,118;117.96;117\n"
    (of_csv,) = read(text).good
    (of_json,) = read_json(
        gpu_cores=8,
        memory_gb=16,
        macos="15.3",
        case="7B Q4_0",
        packages={"torch": "2.10.0", "mlx-lm": "0.30"},
        trials=[118, 117.96, 117],
    ).good
    assert (of_csv.packages, of_csv.trials) == ({"torch": "2.10.0", "mlx-lm": "0.30"}, (118, 117.96, 117))
    assert {**vars(of_csv), "line": 1} == vars(of_json)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"machine": ...}, "machine is empty."),
        ({"chip": " "}, "chip is empty."),
        ({"chip": 7}, "chip is no text: 7."),
        ({"chip": "x" * 201}, "chip has more than 200 characters."),
        ({"machine": "a\x1b[31m"}, "machine holds characters that cannot be printed."),
        ({"benchmark": "llama bench"}, "benchmark is a name such as llama_bench, not 'llama bench'."),
        ({"value": ...}, "value is empty."),
        ({"value": ""}, "value is empty."),
        ({"value": "fast"}, "value is no number: 'fast'."),
        ({"value": "1_000"}, "value is no number: '1_000'."),
        ({"value": True}, "value is no number: True."),
        ({"value": 0}, "value is not above 0: 0."),
        ({"value": -1.5}, "value is not above 0: -1.5."),
        ({"value": "1e999"}, "value is not above 0: inf."),
        ({"value": 10**400}, "value is not above 0: 1"),
        ({"better": "bigger"}, "better is one of higher, lower, not 'bigger'."),
        ({"better": ...}, "better is empty."),
        ({"device": "gpu"}, "device is one of mps, cuda, cpu, not 'gpu'."),
        ({"gpu_cores": 7.5}, "gpu_cores is no whole number: 7.5."),
        ({"gpu_cores": "many"}, "gpu_cores is no number: 'many'."),
        ({"memory_gb": 1e9}, "memory_gb is more than 1e+06."),
        ({"macos": "Sonoma"}, "macos is a version such as 15.3, not 'Sonoma'."),
        ({"measured_at": "last week"}, "measured_at is a day or time such as"),
        ({"measured_at": "2099-01-01"}, "measured_at lies in the future: 2099-01-01."),
        ({"packages": "torch"}, "A package is written as torch==2.10.0, not 'torch'."),
        ({"packages": [1]}, "packages are versions by name, not [1]."),
        ({"trials": "1;x"}, "a trial is no number: 'x'."),
        ({"trials": 7}, "trials are numbers with ; between, or a list, not 7."),
        ({"trials": [1, 2]}, "The value 117.96 lies outside its trials."),
        ({"speed": 1}, "'speed' is no column"),
    ],
    ids=str,
)
def test_a_bad_row_is_refused_in_a_sentence(changed: dict[str, Any], reason: str) -> None:
    """With its line."""
    found = read_json(**changed)
    assert (found.good, found.refused, found.refusals[0].line) == ((), 1, 1)
    assert found.refusals[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "It is not JSON: "),
        ("[]", "It is no JSON object."),
        ('{"value": NaN}', "It is not JSON: NaN is no number."),
        ("[" * 100_000, "It is not JSON: "),
    ],
    ids=["open", "list", "nan", "deep"],
)
def test_a_line_that_is_no_object_is_refused(line: str, reason: str) -> None:
    """And the next one is read; an empty line is none."""
    found = read(f"{line}\n\n{json.dumps(GOOD)}\n", "table.jsonl")
    assert [row.line for row in found.good] == [3]
    assert found.refusals[0].reason.startswith(reason)


def test_every_bad_row_is_named_by_its_line() -> None:
    """Those that are good remain; so many refusals are said, and the rest is counted."""
    rows = [ROW, ROW.replace("higher", "?"), "a,b"] + [f"{ROW},more"] * 300
    found = read("\n".join([HEADER, *rows]))
    assert ([row.line for row in found.good], found.refused) == ([2], 302)
    assert [one.line for one in found.refusals] == list(range(3, 3 + measurement_file.MOST_REFUSALS))
    assert found.refusals[1].reason == "It has 2 cells, and the header 12."


def test_the_same_measurement_twice_is_refused() -> None:
    """Of one machine, at one time; another day is another measurement."""
    found = read("\n".join([HEADER, ROW, ROW, ROW.replace("2023-11-22", "2023-11-23")]))
    assert [row.line for row in found.good] == [2, 4]
    assert found.refusals[0].reason == "It is the same measurement at the same time as line 2."


def test_a_measurement_has_one_unit_and_one_better_side() -> None:
    """Else a slip of the pen would become a series of its own."""
    other = ROW.replace("a,", "b,", 1)
    texts = [HEADER, ROW, other.replace("token/s", "token/min"), other.replace("higher", "lower")]
    found = read("\n".join(texts))
    assert {one.reason for one in found.refusals} == {
        "'prompt' has another unit or another better side than further above."
    }
    assert found.refused == 2


@pytest.mark.parametrize(
    ("content", "file_name", "sentence"),
    [
        (b"\xff\xfe", "table.csv", "is not UTF-8"),
        (b"", "table.csv", "The header lacks machine"),
        (HEADER.encode(), "table.csv", "has no row"),
        (b"", "table.jsonl", "has no row"),
        (b"machine,chip\na,b\n", "table.csv", "lacks benchmark, measurement"),
        (f"{HEADER},speed\n".encode(), "table.csv", "'speed', which is no column"),
        (f"{HEADER},chip\n".encode(), "table.csv", "names a column twice"),
        (f'{HEADER}\n"{ROW}\n'.encode(), "table.csv", "is not csv"),
        (ROW.encode(), "table.xlsx", "ends in .csv or .jsonl"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(content: bytes, file_name: str, sentence: str) -> None:
    """In one sentence."""
    with pytest.raises(UsageError) as refused:
        read_file(content, file_name=file_name, now=NOW)
    assert sentence in str(refused.value)


def test_a_file_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes and in rows."""
    monkeypatch.setattr(measurement_file, "MAX_ROWS", 1)
    with pytest.raises(UsageError, match="at most 1 rows"):
        read(f"{HEADER}\n{ROW}\n{ROW}\n")
    monkeypatch.setattr(measurement_file, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="MiB: split it"):
        read(HEADER)
