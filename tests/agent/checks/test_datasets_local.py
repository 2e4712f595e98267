"""datasets_local: rows that are lost, changed, stale or in another order fail, and so does a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training

PATCHED = """
    global _import_in_scratch
    import_in_scratch = _import_in_scratch
    def _import_in_scratch(probe):
        datasets = import_in_scratch(probe)
        patch(datasets)
        return datasets
"""


def failed(observed: Observed) -> dict[str, str]:
    return {
        case.name: case.reason.text for case in observed.result.cases if observed.cases[case.name] != "pass"
    }


def test_local_files_work(run_check: CheckRunner) -> None:
    """Three formats, maps, a filter, the cache and streams, all offline."""
    observed = run_check("datasets_local")
    assert observed.status == "pass", observed.reason
    assert len(observed.cases) == 11
    assert failed(observed) == {}


def test_rows_that_come_otherwise_fail(run_check: CheckRunner) -> None:
    """One that is lost, one that is changed, maps in no other process, and a filter that keeps too much."""
    planted = (
        PATCHED
        + """
    def patch(datasets):
        load, map_rows = datasets.load_dataset, datasets.Dataset.map
        def load_dataset(kind, **options):
            if kind == "stanfordnlp/imdb":
                return None
            loaded = load(kind, **options)
            if kind == "csv":
                return loaded.select(range(len(loaded) - 1))
            if kind == "parquet":
                return [{**row, "text": row["text"].strip()} if row["id"] == 3 else row for row in loaded][:2]
            return loaded
        def map_one(self, function, **options):
            options.pop("num_proc", None)
            if options.get("batched"):
                return map_rows(self, function, **options).sort("id", reverse=True)
            return map_rows(self, function, **options)
        datasets.load_dataset, datasets.Dataset.map = load_dataset, map_one
        datasets.Dataset.filter = lambda self, keep: self
    """
    )
    observed = run_check("datasets_local", planted=planted)
    assert set(failed(observed)) == {
        "csv",
        "parquet",
        "map_batched",
        "map_two_processes",
        "filter",
        "offline",
    }
    assert failed(observed)["csv"] == "199 rows came instead of 200."
    assert failed(observed)["map_two_processes"] == "0 other processes mapped the rows, not 2."


def test_streams_and_connections_fail(run_check: CheckRunner) -> None:
    """A shuffle without its seed, a stream that starts late, and a question to somebody."""
    planted = (
        PATCHED
        + """
    def patch(datasets):
        import socket
        stream = datasets.IterableDataset
        shuffle, filter_rows = stream.shuffle, stream.filter
        stream.shuffle = lambda self, seed, buffer_size: shuffle(self, seed=None, buffer_size=buffer_size)
        stream.filter = lambda self, keep: filter_rows(self, keep).skip(1)
        with socket.socket() as asker:
            asker.connect_ex(("127.0.0.1", 9))
    global CASES
    CASES = {name: CASES[name] for name in ("streaming", "streaming_shuffle")}
    """
    )
    observed = run_check("datasets_local", planted=planted)
    assert set(failed(observed)) == {"streaming", "streaming_shuffle", "offline"}
    assert failed(observed)["offline"] == "Set offline, it connected to 127.0.0.1."


@pytest.mark.parametrize(
    ("fault", "called"),
    [("new_fingerprint='the_same'", "1, 0, 0"), ("load_from_cache_file=False", "1, 1, 1")],
    ids=["stale", "unused"],
)
def test_cache_that_is_stale_or_unused_fails(run_check: CheckRunner, fault: str, called: str) -> None:
    """A result of another argument, and a map that is done again."""
    planted = (
        PATCHED
        + f"""
    def patch(datasets):
        map_rows = datasets.Dataset.map
        datasets.Dataset.map = lambda self, function, **options: map_rows(self, function, {fault}, **options)
    global CASES, _judge_rows
    CASES = {{"cache": CASES["cache"]}}
    _judge_rows = lambda *_: None
    """
    )
    observed = run_check("datasets_local", planted=planted)
    assert set(failed(observed)) == {"cache"}
    assert called in failed(observed)["cache"]


def test_environment_without_datasets_is_skipped(run_check_without_packages: CheckRunner) -> None:
    """It is no package that every training needs."""
    observed = run_check_without_packages("datasets_local")
    assert (observed.status, observed.reason) == ("skip", "The package datasets is not installed.")
