"""The catalogue of known issues: every row is usable, and every recorded error finds its row."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import pytest
from llmenv.catalog import known_issues
from llmenv.catalog.known_issues import CONFIDENCES, KINDS, SEVERITIES, KnownIssue
from llmenv.catalog.version_ranges import contains

if TYPE_CHECKING:
    from pathlib import Path

ISSUES = tuple(known_issues.catalogue().values())
RECORDED = {
    "empty_quantized_quantizedmps": "KI073",
    "kernel_panic_iogpumemory": "KI019",
    "linux_cpu_torch2.13_executed": "KI071",
    "mlx_gpu_timeout": "KI016",
    "mlx_impacting_interactivity": "KI017",
    "mlx_metal_oom_abort": "KI015",
    "mlx_nsrange_no_metal_device": "KI028",
    "mps_available_false_misleading_macos26": "KI001",
    "mps_fallback_warning": "KI070",
    "mps_oom_github_runner_vm": "KI006",
    "mps_unimplemented_op": "KI068",
    "mpsndarray_4gb_abort": "KI022",
    "quantize_per_tensor_mps": "KI072",
    "quantized_noqengine": "KI074",
}
LATER_TORCH = (
    "NotImplementedError: The operator 'aten::_foo' is not currently implemented for the MPS device. If you"
    " want this op to be considered for addition please comment on https://github.com/pytorch/pytorch/issues/141287"
)
M2_ULTRA = {"package_versions": {"torch": "2.10.0", "mlx": "0.30.6"}, "chip": "Apple M2 Ultra"}


def test_every_recorded_error_is_classified(mac_recordings: Path) -> None:
    """Error texts of real Macs, each with the issue that explains it; no recording is left out."""
    found = {
        path.stem: issue.id if (issue := known_issues.match(path.read_text("utf-8"))) else None
        for path in (mac_recordings / "errors").glob("*.txt")
    }
    assert found == RECORDED


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.id)
def test_row_is_complete(issue: KnownIssue) -> None:
    """Both languages, known words, a pattern and ranges that compile, references that exist."""
    assert all((issue.title.en, issue.title.zh, issue.remedy.en, issue.remedy.zh, issue.affected))
    assert issue.severity in SEVERITIES
    assert issue.kind in KINDS
    assert issue.confidence in CONFIDENCES
    assert issue.url == "" or issue.url.startswith("https://")
    assert all(contains(version_range, "1.0") in {True, False} for version_range in issue.versions.values())
    assert issue.macos == "" or contains(issue.macos, "26.2") in {True, False}
    assert re.compile(issue.pattern)
    assert re.compile(issue.chips)
    assert [refined for refined in issue.refines if known_issues.find(refined) is None] == []


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.id)
def test_chinese_is_chinese(issue: KnownIssue) -> None:
    """A remedy that was left in English has no Chinese characters."""
    letters = set(string.printable)
    assert set(issue.title.zh) - letters
    assert set(issue.remedy.zh) - letters


@pytest.mark.parametrize("issue", [issue for issue in ISSUES if issue.pattern], ids=lambda issue: issue.id)
def test_pattern_does_not_match_everything(issue: KnownIssue) -> None:
    """An empty text and an ordinary failure are nobody's known issue."""
    assert re.search(issue.pattern, "") is None
    assert re.search(issue.pattern, "AssertionError: loss did not fall") is None


def test_ids_are_unknown_or_found() -> None:
    """An id of an older catalogue is no error."""
    assert known_issues.find("KI072") in ISSUES
    assert known_issues.find("KI000") is None


M2 = {"chip": "Apple M2 Ultra", "os_version": "26.2"}
WRONG_CASES: list[tuple[str, str, str, dict[str, str], str | None]] = [
    ("a product, by its length", "ops mm_50257/float32/contiguous on mps", "2.13.0", M2, "KI038"),
    ("a shorter one", "ops mm_768/float32/contiguous on mps", "2.13.0", M2, None),
    ("the release that cured it", "ops mm_50257/float32/contiguous on mps", "2.14.0", M2, None),
    ("another chip", "ops mm_50257/float32/contiguous on mps", "2.13.0", {**M2, "chip": "Apple M4"}, None),
    ("the CPU of the same Mac", "ops mm_50257/float32/contiguous on cpu", "2.13.0", M2, None),
    ("where of a view", "ops where/int64/transposed on mps", "2.8.0", {**M2, "os_version": "13.7"}, "KI050"),
    ("where of no view", "ops where/int64/contiguous on mps", "2.8.0", {**M2, "os_version": "13.7"}, None),
    ("addcdiv of a view", "ops addcdiv/float16/sliced on mps", "2.3.1", M2, "KI051"),
    ("what nobody reported", "ops flip/int64/sliced on mps", "2.13.0", M2, None),
    ("another check", "own mm_50257/float32/contiguous on mps", "2.13.0", M2, None),
    ("the future seen", "ops attention_causal/bfloat16/sliced on mps", "2.10.0", M2, "KI118"),
    ("not in float32", "ops attention_causal/float32/sliced on mps", "2.10.0", M2, None),
]


@pytest.mark.parametrize(
    ("case", "torch", "where", "expected"),
    [row[1:] for row in WRONG_CASES],
    ids=[row[0] for row in WRONG_CASES],
)
def test_wrong_case_is_known_by_operation_dtype_version_and_chip(
    case: str, torch: str, where: dict[str, str], expected: str | None
) -> None:
    """Numbers that are wrong print nothing: what failed, with what and on what, is all there is."""
    text = f"fail of {case}: output is wrong in run 1: error 3.0e-01 of its largest value, bound 1.0e-05."
    issue = known_issues.match(text, package_versions={"torch": torch}, **where)
    assert (issue.id if issue else None) == expected


def test_ordinary_text_matches_nothing() -> None:
    """No guess is made about an error that the catalogue does not know."""
    assert known_issues.match("ValueError: shapes (3,4) and (5,6) do not align") is None


def test_the_link_in_the_message_tells_the_torch_release() -> None:
    """A missing operator points to one of two tracking issues, before and after torch 2.6."""
    issue = known_issues.match(LATER_TORCH)
    assert issue is not None
    assert issue.id == "KI069"


def test_quantization_is_more_specific_than_a_missing_operator() -> None:
    """The full message of torch 2.10 matches both rows; the one whose remedy works is named."""
    issue = known_issues.match(LATER_TORCH.replace("_foo", "quantize_per_tensor"))
    assert issue is not None
    assert issue.id == "KI072"
    assert "FALLBACK" not in issue.remedy.en
    assert issue.does_not_help is not None
    assert "PYTORCH_ENABLE_MPS_FALLBACK" in issue.does_not_help.en


def test_a_version_outside_the_range_excludes() -> None:
    """The same words mean something else for a release that the row is not about."""
    message = "The MPS backend is supported on MacOS 13.0+."
    on_macos_13 = known_issues.match(message, package_versions={"torch": "2.9.1"}, os_version="13.7.4")
    on_macos_26 = known_issues.match(message, package_versions={"torch": "2.9.1"}, os_version="26.3.1")
    assert on_macos_13 is not None
    assert on_macos_26 is not None
    assert (on_macos_13.id, on_macos_26.id) == ("KI003", "KI001")


def test_applying_needs_every_condition_confirmed() -> None:
    """An M2 Ultra with torch 2.10 on macOS 26.2 has the silent faults of all three."""
    applying = {issue.id for issue in known_issues.applying(**M2_ULTRA, os_version="26.2")}
    assert {"KI031", "KI038", "KI039", "KI055"} <= applying
    assert "KI065" not in applying


def test_applying_says_nothing_where_the_chip_is_unknown() -> None:
    """An unconfirmed condition is no finding."""
    unknown_chip = known_issues.applying(package_versions={"torch": "2.10.0"}, chip="", os_version="")
    assert unknown_chip == ()


def test_a_version_without_numbers_neither_confirms_nor_excludes() -> None:
    """A package built from a checkout may call its version anything."""
    message = "The MPS backend is supported on MacOS 13.0+."
    issue = known_issues.match(message, package_versions={"torch": "unknown"}, os_version="13.7.4")
    assert issue is not None
    assert issue.id == "KI003"
    assert known_issues.applying(package_versions={"torch": ""}, chip="Apple M2", os_version="26.2") == ()


def test_a_fixed_release_no_longer_applies() -> None:
    """torch 2.14 cured the large products of M1 and M2."""
    applying = known_issues.applying(
        package_versions={"torch": "2.14.1"}, chip="Apple M2 Ultra", os_version="26.4"
    )
    assert {"KI038", "KI039"}.isdisjoint(issue.id for issue in applying)


@pytest.mark.parametrize(
    ("version_range", "version", "expected"),
    [
        (">=2.7,<2.14", "2.13.0+cpu", True),
        (">=2.7,<2.14", "2.14.0", False),
        (">=26", "26", True),
        ("<2.14", "2.9.1", True),
        ("==2.13", "2.13.0", True),
        (">2.13", "2.13.0", False),
        ("<=2.8", "2.8.0a0", True),
    ],
)
def test_ranges_compare_release_numbers(version_range: str, version: str, *, expected: bool) -> None:
    """Numbers, not letters: 2.9 comes before 2.14, and a local suffix does not count."""
    assert contains(version_range, version) is expected


@pytest.mark.parametrize(("version_range", "version"), [("~=2.1", "2.1"), ("", "2.1"), (">=2", "nightly")])
def test_malformed_ranges_are_refused(version_range: str, version: str) -> None:
    """A typing error in the catalogue is found by the tests, not ignored at run time."""
    with pytest.raises(ValueError, match="not a"):
        contains(version_range, version)
