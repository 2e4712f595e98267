"""packages: what is installed is tried, and one that is broken costs its own row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import CheckRunner, Observed

pytestmark = pytest.mark.training

# A package of the list that the training environment lacks, as a module and the metadata that names it.
BROKEN = """
    import sys
    sys.path.append({folder!r})
"""


def pretend_torchaudio(folder: Path, source: str) -> str:
    """Puts a `torchaudio` 9.9 with this source into `folder`; returns code that makes it importable."""
    (folder / "extra" / "torchaudio-9.9.dist-info").mkdir(parents=True)
    (folder / "extra" / "torchaudio-9.9.dist-info" / "METADATA").write_text(
        "Name: torchaudio\nVersion: 9.9\n"
    )
    (folder / "extra" / "torchaudio.py").write_text(source)
    return BROKEN.format(folder=str(folder / "extra"))


def test_every_installed_package_works(observed: Observed, training_python: Path) -> None:
    """Each case has the installed version and a seen result; what is not installed is skipped and named."""
    assert observed.status == "pass", observed.reason
    assert len(observed.cases) == 15
    for name in (
        "torch",
        "transformers",
        "tokenizers",
        "sentencepiece",
        "peft",
        "accelerate",
        "mlx",
        "numpy",
    ):
        assert observed.cases[name] == "pass"
    (torch,) = (each for each in observed.result.cases if each.name == "torch")
    facts = {fact.name: fact.text or fact.flag for fact in torch.facts}
    (site,) = training_python.parent.parent.glob("lib/python*/site-packages")
    (installed,) = site.glob("torch-*.dist-info")
    assert facts == {"version": installed.stem.partition("-")[2], "imports": True, "works": True}
    assert [each.name for each in torch.measurements] == ["import_seconds"]
    (accelerate,) = (each for each in observed.result.cases if each.name == "accelerate")
    assert not accelerate.measurements, "transformers has imported it: that is no import to time"
    assert observed.facts["python_version"].count(".") == 2


def test_package_with_a_wrong_result_fails(run_check: CheckRunner, tmp_path: Path) -> None:
    """A package that imports and computes something else is a failure of its case and of the check."""
    source = """
class functional:
    @staticmethod
    def resample(waves, old, new): return waves
"""
    observed = run_check("packages", planted=pretend_torchaudio(tmp_path, source))
    assert (observed.status, observed.cases["torchaudio"]) == ("fail", "fail")
    assert observed.reason == "1 of 15 cases failed, first torchaudio."
    (torchaudio,) = (each for each in observed.result.cases if each.name == "torchaudio")
    assert torchaudio.reason.text == ("imports, and does not work: (1, 160) in place of (1, 80)")


def test_package_that_does_not_import_is_an_error_of_its_case(run_check: CheckRunner, tmp_path: Path) -> None:
    """A missing dynamic library is named in the package's own row; the others are tried all the same."""
    source = 'raise ImportError("libomp.so.5: cannot open shared object file: No such file or directory")'
    observed = run_check("packages", planted=pretend_torchaudio(tmp_path, source))
    assert (observed.status, observed.cases["torchaudio"], observed.cases["torch"]) == (
        "error",
        "error",
        "pass",
    )
    (torchaudio,) = (each for each in observed.result.cases if each.name == "torchaudio")
    assert torchaudio.reason.text == "The dynamic library libomp.so.5 is missing."
    assert {fact.name: fact.text or fact.flag for fact in torchaudio.facts} == {
        "version": "9.9",
        "imports": False,
    }


def test_package_that_aborts_costs_its_own_row(run_check: CheckRunner, tmp_path: Path) -> None:
    """An import that ends the process is that package's crash; those after it run in a fresh process."""
    observed = run_check("packages", planted=pretend_torchaudio(tmp_path, "import os; os.abort()"))
    assert (observed.cases["torchaudio"], observed.cases["torch"]) == ("crash", "pass")
    assert len(observed.cases) == 15
    assert observed.status != "pass"


def test_interpreter_without_packages_says_so(run_check_without_packages: CheckRunner) -> None:
    """Nothing installed is nothing that works: every case is skipped, and the check is no pass."""
    observed = run_check_without_packages("packages")
    assert set(observed.cases.values()) == {"skip"}
    assert observed.status == "fail"
    assert observed.reason == "None of the 15 packages is installed."
