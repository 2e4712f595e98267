"""Cases and their figures in a report: few are shown each, many by group, and no problem is hidden."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2
from llmenv_cli.render.markdown import markdown
from llmenv_cli.render.run_report import short_report, whole_report
from llmenv_cli.render.terminal import write_report

if TYPE_CHECKING:
    from llmenv.fleet.v1.run_pb2 import Run


def sentence(text: str) -> result_pb2.Sentence:
    return result_pb2.Sentence(text=text, template=text)


def operation(name: str, status: int, reason: str, ratio: float | None = None) -> result_pb2.Case:
    case = result_pb2.Case(name=name, status=status, reason=sentence(reason))  # type: ignore[arg-type]
    if ratio is not None:
        case.measurements.add(name="error_ratio", unit="1", value=ratio, direction=2)
    return case


def with_many_cases(run: Run) -> str:
    result = run.results.add(check_name="ops", status=result_pb2.STATUS_FAIL, reason=sentence("Wrong."))
    kinds = (("mm", 0.02), ("softmax", 0.4))
    result.cases.extend(
        operation(f"{name}/float32/{number}", result_pb2.STATUS_PASS, "Right.", ratio + number / 1000)
        for name, ratio in kinds
        for number in range(30)
    )
    result.cases.append(operation("mm/float32/transposed", result_pb2.STATUS_FAIL, "Wrong by 8.2.", 9.5))
    result.cases.extend(
        operation(f"cumsum/{number}", result_pb2.STATUS_SKIP, "No float64 here.") for number in range(3)
    )
    return markdown(whole_report(run, language="en"))


def test_many_cases_are_shown_by_group_with_their_highest_figure(ready_run: Run) -> None:
    """Sixty-four rows become three, and the highest error of each is among its trials."""
    document = with_many_cases(ready_run)
    assert "| mm | 31 | pass 30, fail 1 | 9.5 |" in document
    assert "| softmax | 30 | pass 30 | 0.429 |" in document
    assert "mm/float32/7" not in document


def test_a_verdict_that_was_given_later_says_what_it_does_not_know(ready_run: Run) -> None:
    """Of a check whose agent was killed neither device nor definition is known."""
    ready_run.results.add(
        check_name="ops", status=result_pb2.STATUS_ERROR, reason=sentence("The agent ended.")
    )
    assert "Device unknown; parameters: none." in markdown(whole_report(ready_run, language="en"))


def test_every_problem_stands_by_itself(ready_run: Run) -> None:
    """What failed is named with its reason; what was skipped is counted by reason."""
    document = with_many_cases(ready_run)
    assert "| mm/float32/transposed | ✗ fail | Wrong by 8.2. |" in document
    assert "| No float64 here. | 3 |" in document


def test_groups_of_one_are_shown_each_with_what_they_found(ready_run: Run) -> None:
    """Of a canary a reader needs the issue, what it affects, and that it is unproved."""
    result = ready_run.results.add(check_name="canaries", status=result_pb2.STATUS_PASS)
    for number in range(50):
        case = operation(f"canary_{number}", result_pb2.STATUS_PASS, "Right.")
        case.facts.add(name="issue", text=f"KI{number:03}")
        case.facts.add(name="proved", flag=False)
        result.cases.append(case)
    result.cases[7].facts.add(name="weights", text="SmolLM2 (gguf)")
    document = markdown(whole_report(ready_run, language="en"))
    assert "| canary_7 | ✓ pass | Right. |" in document
    assert "| Case | known issue | seen to fail on affected hardware |" in document
    assert "| canary_7 | KI007 | no |" in document
    assert "| canary_7 | weights | SmolLM2 (gguf) |" in document


def test_figures_of_few_cases_are_shown_each(ready_run: Run) -> None:
    """A speed by dtype and size stands with its case, also in the terminal."""
    result = ready_run.results.add(check_name="bench_matmul", status=result_pb2.STATUS_PASS)
    case = result.cases.add(name="float16/2048", status=result_pb2.STATUS_PASS)
    case.measurements.add(
        name="rate", unit="FLOP/s", value=9.5e12, direction=1, trials=[9e12, 9.5e12, 9.6e12]
    )
    document = markdown(whole_report(ready_run, language="en"))
    assert "| float16/2048 | rate | 9.5 TFLOP/s | 3 trials, 9 TFLOP/s to 9.6 TFLOP/s |" in document
    stream = io.StringIO()
    write_report(short_report(ready_run, language="en"), stream)
    assert "float16/2048: rate" in stream.getvalue()


def test_doubtful_series_are_never_shown_as_plain_numbers(ready_run: Run) -> None:
    """An unstable median says so beside itself, and the conclusions warn from comparing it."""
    measured = next(each for result in ready_run.results for each in result.measurements if each.trials)
    measured.stability = result_pb2.STABILITY_UNSTABLE
    document = markdown(whole_report(ready_run, language="en"))
    assert "(unstable)" in document
    assert "1 series were unstable, so do not compare their medians: PyTorch basics: " in document
    measured.stability = result_pb2.STABILITY_DECLINING
    assert "so the machine throttled" in markdown(whole_report(ready_run, language="en"))
