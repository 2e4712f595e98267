"""bench_model_load, bench_dataloader and bench_disk_read: cold only where it was seen, nothing made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from llmenv_agent.probe import page_cache

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import CheckRunner

pytestmark = pytest.mark.training

QUICK = {"trial_seconds": 0.005, "cooldown_seconds": 0.0}
LOAD = {**QUICK, "width": 32, "layers": 1}
LOADER = {**QUICK, "texts": 64, "length": 8, "batch_size": 4}
KEEPS_PAGES = """
from llmenv_probe import page_cache
page_cache.resident_share = lambda path: 0.4
"""


@pytest.fixture
def drops_pages(tmp_path: Path) -> None:
    """Skips where temporary files lie in memory."""
    path = tmp_path / "probe"
    path.write_bytes(bytes(2**20))
    page_cache.drop(path)
    if page_cache.resident_share(path) > page_cache.COLD_UP_TO:
        pytest.skip("the temporary folder's file system keeps its pages")


@pytest.mark.usefixtures("drops_pages")
def test_pages_are_dropped_and_come_back(tmp_path: Path) -> None:
    """A file that was read is in memory as a whole; one that was dropped is not, and reads the same."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2**22)
    assert page_cache.resident_share(path) == 1.0
    page_cache.drop(path)
    assert page_cache.resident_share(path) <= page_cache.COLD_UP_TO
    assert path.read_bytes() == b"x" * 2**22
    assert page_cache.resident_share(path) == 1.0


@pytest.mark.usefixtures("drops_pages")
@pytest.mark.parametrize(
    ("check", "parameters", "name"),
    [("bench_disk_read", {**QUICK, "megabytes": 8}, "read_rate"), ("bench_model_load", LOAD, "load_seconds")],
)
def test_reads_are_timed_cold_and_warm(
    run_check: CheckRunner, check: str, parameters: dict[str, object], name: str
) -> None:
    """Ten trials each; before the cold ones nothing of the file was in memory."""
    observed = run_check(check, parameters)
    assert observed.cases == {"cold": "pass", "warm": "pass"}, observed.reason
    cold, warm = ({each.name: each for each in case.measurements} for case in observed.result.cases)
    assert (len(cold[name].trials), len(warm[name].trials)) == (10, 10)
    assert cold["resident_share"].value <= page_cache.COLD_UP_TO


@pytest.mark.parametrize(
    ("check", "parameters"), [("bench_disk_read", {**QUICK, "megabytes": 1}), ("bench_model_load", LOAD)]
)
def test_nothing_is_called_cold_where_the_system_keeps_the_file(
    run_check: CheckRunner, check: str, parameters: dict[str, object]
) -> None:
    """As on a file system in memory: the warm figure stands alone."""
    observed = run_check(check, parameters, planted=KEEPS_PAGES)
    assert observed.cases == {"cold": "skip", "warm": "pass"}
    reason = observed.result.cases[0].reason.text
    assert reason == "Cold cannot be measured: the system kept 40 % of the file in memory."


def test_other_bytes_than_were_written_have_no_speed(run_check: CheckRunner) -> None:
    """A drive that gives back one wrong block."""
    planted = """
        import pathlib
        global _write
        right = _write
        def _write(path, blocks):
            checksum = right(path, blocks=blocks)
            with path.open("r+b") as stream:
                stream.write(b"wrong")
            return checksum
    """
    observed = run_check("bench_disk_read", {**QUICK, "megabytes": 1}, planted=planted)
    assert observed.cases == {"cold": "fail", "warm": "fail"}


def test_other_weights_than_were_saved_have_no_speed(run_check: CheckRunner) -> None:
    """One tensor that the checkpoint lost and `from_pretrained` made up."""
    planted = """
        import transformers
        right = transformers.AutoModelForCausalLM.from_pretrained
        def losing(*arguments, **options):
            model = right(*arguments, **options)
            next(model.parameters()).data[0].zero_()
            return model
        transformers.AutoModelForCausalLM.from_pretrained = losing
    """
    observed = run_check("bench_model_load", LOAD, planted=planted)
    assert observed.status == "fail"
    assert observed.result.cases[1].reason.text.startswith("Loaded are not the saved weights")


def test_batches_come_from_this_process_and_from_workers(run_check: CheckRunner) -> None:
    """Ten trials each, of batches that came whole and in order."""
    observed = run_check("bench_dataloader", LOADER)
    assert observed.cases == {"workers=0": "pass", "workers=2": "pass"}, observed.reason
    for case in observed.result.cases:
        measured = {each.name: each for each in case.measurements}
        assert len(measured["batches_per_second"].trials) == 10
        rates = measured["tokens_per_second"].value, measured["batches_per_second"].value
        assert rates[0] == pytest.approx(4 * 8 * rates[1])


def test_texts_that_are_lost_have_no_speed(run_check: CheckRunner) -> None:
    """A loader that shuffles, or forgets its last batch."""
    planted = """
        import functools
        from torch.utils import data
        data.DataLoader = functools.partial(data.DataLoader, shuffle=True)
    """
    observed = run_check("bench_dataloader", {**LOADER, "workers": [0]}, planted=planted)
    assert observed.cases == {"workers=0": "fail"}


def test_texts_that_do_not_fit_are_skipped(run_check: CheckRunner) -> None:
    """With the arithmetic: rows of eight token ids, and the batches that workers make ahead."""
    planted = "probe.machine = probe.machine._replace(available_bytes=4_400)"
    observed = run_check("bench_dataloader", LOADER, planted=planted)
    assert observed.cases == {"workers=0": "pass", "workers=2": "skip"}
    assert "(8 bytes x 8 x 84)" in observed.result.cases[1].reason.text
