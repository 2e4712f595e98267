"""Every failure names a remedy or the command that repeats it; a remedy tried says what came of it."""

from __future__ import annotations

import pytest
from llmenv.catalog.texts import texts
from llmenv.fleet.v1 import result_pb2, run_pb2
from llmenv_cli.render.blocks import Bullets, Grid
from llmenv_cli.render.run_view import RunView
from llmenv_cli.render.sections.conclusions import next_steps
from llmenv_cli.render.sections.issues import MOST_CASES, known_issues

FAIL, WARN, PASS = result_pb2.STATUS_FAIL, result_pb2.STATUS_WARN, result_pb2.STATUS_PASS


def result(name: str, status: result_pb2.Status.ValueType, **fields: object) -> result_pb2.Result:
    made = result_pb2.Result(result_id=f"id-of-{name}", check_name=name, status=status, **fields)  # type: ignore[arg-type]  # the caller's fields
    made.reason.text = made.reason.template = f"{name} said so."
    return made


def case(name: str, status: result_pb2.Status.ValueType, remedy_id: str = "") -> result_pb2.Case:
    reason = result_pb2.Sentence(text="Wrong.", template="Wrong.")
    return result_pb2.Case(name=name, status=status, reason=reason, remedy_id=remedy_id)


def bullets(
    *results: result_pb2.Result,
    language: str = "en",
) -> list[str]:
    """The items of the lists of the section."""
    view = RunView(run_pb2.Run(results=results))
    blocks = known_issues(view, texts(language)).blocks
    return [item for block in blocks if isinstance(block, Bullets) for item in block.items]


def test_a_failure_without_a_remedy_says_how_to_repeat_it() -> None:
    """A warning too; the steps say the same."""
    failed, warned = result("torch_basics", FAIL), result("peft_lora", WARN)
    assert bullets(failed, warned, result("packages", PASS)) == [
        "PyTorch basics: fail. torch_basics said so. `llmenv-agent replay id-of-torch_basics`",
        "LoRA fine-tuning: warn. peft_lora said so. `llmenv-agent replay id-of-peft_lora`",
    ]
    steps = next_steps(RunView(run_pb2.Run(results=[failed])), texts("en")).blocks[0]
    assert isinstance(steps, Bullets)
    assert steps.items[0].endswith("To repeat it: `llmenv-agent replay id-of-torch_basics`")


def test_cases_are_named_each_with_its_own_command() -> None:
    """Those that a remedy explains are left out; the first few of many stand for the rest."""
    cases = [case("explained", FAIL, "KI065"), case("right", PASS)]
    cases += [case(f"row {number}", FAIL) for number in range(MOST_CASES + 2)]
    said = bullets(result("ops", FAIL, cases=cases))
    assert len(said) == MOST_CASES + 1
    assert said[0].endswith("row 0: fail. Wrong. `llmenv-agent replay id-of-ops --case 'row 0'`")
    assert said[-1].endswith("further cases without a known remedy: 2.")


def test_what_has_a_remedy_is_not_unknown() -> None:
    """The check's own, or a missing package, which names itself."""
    error = result_pb2.CheckError(type="ModuleNotFoundError", missing="torch")
    missing = result("peft_lora", result_pb2.STATUS_ERROR, error=error)
    assert bullets(result("torch_basics", FAIL, remedy_id="KI040"), missing) == []


def test_an_issue_that_a_case_names_is_listed() -> None:
    """With the check that saw it."""
    view = RunView(run_pb2.Run(results=[result("torch_basics", FAIL, cases=[case("one", FAIL, "KI065")])]))
    grid = known_issues(view, texts("en")).blocks[0]
    assert isinstance(grid, Grid)
    assert [(row[0], row[-1]) for row in grid.rows] == [("KI065", "PyTorch basics")]


def tried() -> result_pb2.Result:
    helped = result_pb2.RemedyTrial(
        remedy_id="KI065", environment_variables={"MLX_ENABLE_TF32": "0"}, device="mps", status=PASS
    )
    useless = result_pb2.RemedyTrial(remedy_id="KI072", device="cpu", status=FAIL, case_names=["a", "b"])
    helped.reason.text, useless.reason.text = "It is right.", "It is wrong."
    return result("mlx_native", FAIL, remedy_id="KI065", remedy_trials=[helped, useless])


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            [
                "KI065, MLX: with `MLX_ENABLE_TF32=0`: pass. It is right.",
                "KI072, MLX, cases run again: 2. With `device cpu`: fail. It is wrong.",
            ],
        ),
        (
            "zh",
            [
                "KI065，MLX：使用 `MLX_ENABLE_TF32=0` 后：通过。It is right.",  # noqa: RUF001 (Chinese punctuation)
                "KI072，MLX，重新运行 2 个用例。使用 `设备 cpu` 后：失败。It is wrong.",  # noqa: RUF001 (Chinese punctuation)
            ],
        ),
    ],
)
def test_a_remedy_that_was_tried_says_what_came_of_it(language: str, said: list[str]) -> None:
    """Helped or not, in both languages."""
    assert bullets(tried(), language=language) == said
