"""Check files are read by their syntax tree, and a wrong one is one clear sentence."""

from __future__ import annotations

import ast
import hashlib
import os
from pathlib import Path

import pytest
from llmenv_agent import suites
from llmenv_agent.definitions import Definition, DefinitionError, parse_definition, read_definitions
from llmenv_agent.probe_sources import probe_sources

GOOD = '''"""Does one and one make two?

More words.
"""

SUITES = ("quick", "nightly")
REQUIRES = ("torch",)
TIMEOUT_SECONDS = 120
PARAMETERS = {"steps": 100, "seed": 7, "rate": 0.5, "model": None, "deep": False, "sizes": [1, 2]}
ALLOWED = {"steps": "1..500"}


def run(probe):
    raise SystemExit("never imported")
'''


def parsed(source: str = GOOD) -> Definition:
    return parse_definition(Path("checks/adds_up.py"), source.encode())


def test_definition_is_read_from_the_file_alone() -> None:
    """Name, question, constants, and the defaults of what the file leaves out."""
    definition = parsed()
    assert definition.name == "adds_up"
    assert definition.summary == "Does one and one make two?"
    assert definition.suites == ("quick", "nightly")
    assert definition.requires == ("torch",)
    assert definition.timeout_seconds == 120
    assert definition.case_timeout_seconds == 30
    assert definition.environment == {}
    assert definition.order == 100


def test_deadline_follows_a_parameter() -> None:
    """What runs for a time that its caller gives may take that long beside its own."""
    soaking = parsed(GOOD + 'TIMEOUT_PARAMETER = "rate"\n')
    assert soaking.deadline_seconds(soaking.complete({})) == 120.5
    assert soaking.deadline_seconds(soaking.complete({"rate": 3600})) == 3720
    assert parsed().deadline_seconds(parsed().complete({"rate": 3600})) == 120


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), 10**400, True, None, "long"])
def test_time_asked_for_is_a_number_of_seconds(seconds: object) -> None:
    """Neither nothing nor for ever."""
    soaking = parsed(GOOD + 'TIMEOUT_PARAMETER = "rate"\n')
    with pytest.raises(DefinitionError, match="rate must be a number of seconds above 0, not "):
        soaking.complete({"rate": seconds})


@pytest.mark.parametrize("name", ['"hours"', '"model"', '"deep"', "5"])
def test_deadline_follows_no_other_thing(name: str) -> None:
    """The constant names a parameter, and one that is a number."""
    with pytest.raises(DefinitionError, match="TIMEOUT_PARAMETER must be the name of a parameter"):
        parsed(GOOD + f"TIMEOUT_PARAMETER = {name}\n")


def test_hash_follows_the_source() -> None:
    """The same source has the same hash, and any change another."""
    assert parsed().definition_hash == parsed().definition_hash
    assert parsed().definition_hash != parsed(GOOD + "\n").definition_hash


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("def run(probe):", "def run(probe:", r"checks/adds_up\.py:13: is not Python: "),
        ("def run(probe)", "def run()", r"checks/adds_up\.py:1: define run\(probe\)"),
        ('"""Does', '1\n"""Does', r"checks/adds_up\.py:1: begin with a docstring"),
        ("TIMEOUT_SECONDS = 120", "", r"checks/adds_up\.py:1: TIMEOUT_SECONDS is missing"),
        ("= 120", "= 60 * 2", r"checks/adds_up\.py:8: TIMEOUT_SECONDS must be a literal"),
        ("= 120", "= 0", r"checks/adds_up\.py:8: TIMEOUT_SECONDS must be a number of seconds above 0"),
        ("= 120", "= 1e999", r"checks/adds_up\.py:8: TIMEOUT_SECONDS must be a number of seconds above 0"),
        ("= 120", f"= {'9' * 400}", r"checks/adds_up\.py:8: TIMEOUT_SECONDS must be a number of seconds"),
        ("= 120", f"= {'-' * 50_000}1", r"checks/adds_up\.py:1: is nested too deeply to be read\."),
        ("= 120", "= {[]: 1}", r"checks/adds_up\.py:8: TIMEOUT_SECONDS must be a literal"),
        ("= 120", "= True", r"checks/adds_up\.py:8: TIMEOUT_SECONDS must be a number of seconds above 0"),
        ('("torch",)', '"torch"', r"checks/adds_up\.py:7: REQUIRES must be a tuple of names"),
        ('"steps": 100', '"steps": {1}', r"checks/adds_up\.py:9: PARAMETERS must be a dict of names"),
        ('"steps": 100', "7: 100", r"checks/adds_up\.py:9: PARAMETERS must be a dict of names"),
        ("SUITES", 'ENVIRONMENT = {"A": 1}\nSUITES', r":6: ENVIRONMENT must be a dict of names to text"),
        ("SUITES", "ORDER = 1.5\nSUITES", r":6: ORDER must be a whole number"),
        ('"1..500"', '"1 to 500"', r":10: ALLOWED must be a dict of parameters to rules that their defaults"),
        ('"1..500"', '"200..500"', r":10: ALLOWED must be a dict of parameters to rules that their defaults"),
        ('{"steps": "1..500"}', '{"stops": "1..500"}', r":10: ALLOWED must be a dict of parameters to rules"),
        ('{"steps": "1..500"}', '["steps"]', r":10: ALLOWED must be a dict of parameters to rules"),
    ],
)
def test_wrong_file_is_one_sentence(old: str, new: str, sentence: str) -> None:
    """What is wrong, in which file and line, and what to write instead."""
    assert old in GOOD
    with pytest.raises(DefinitionError, match=sentence):
        parsed(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    "overrides",
    [{"steps": 7}, {"rate": 1}, {"rate": 0.25}, {"model": "gpt2"}, {"deep": True}, {"sizes": [3]}, {}],
)
def test_parameters_are_completed(overrides: dict[str, object]) -> None:
    """What is not overridden keeps its default; a whole number will do for a fraction."""
    assert parsed().complete(overrides) == {**parsed().parameters, **overrides}


@pytest.mark.parametrize(
    "overrides", [{"seed": "7"}, {"seed": 0.5}, {"seed": True}, {"seed": None}, {"deep": 1}, {"sizes": 3}]
)
def test_parameter_of_another_type_is_refused(overrides: dict[str, object]) -> None:
    """A value that the check could not take is refused, with both types named, where it has no rule."""
    with pytest.raises(DefinitionError, match=r"adds_up: parameter \w+ is \w+, and .* is \w+"):
        parsed().complete(overrides)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), [float("nan")], {"deep": float("inf")}])
def test_parameter_that_is_not_finite_is_refused(value: object) -> None:
    """Every figure is within a bound that is no number, and JSON has no word for one."""
    with pytest.raises(
        DefinitionError, match="adds_up: parameter anything must be JSON with finite numbers, not "
    ):
        parsed(GOOD.replace('"steps": 100', '"steps": 100, "anything": None')).complete({"anything": value})


def write_checks(folder: Path) -> None:
    for name, order in (("late", "ORDER = 200\n"), ("beta", ""), ("alpha", ""), ("first", "ORDER = 1\n")):
        (folder / f"{name}.py").write_text(GOOD.replace("SUITES", order + "SUITES", 1))
    (folder / "__init__.py").write_text("")


@pytest.mark.parametrize("steps", [0, -1, 501, "7", None, [7]])
def test_value_outside_its_rule_is_refused(steps: object) -> None:
    """Nothing trained in no steps: that is no question to a check. What has no rule may be 0."""
    with pytest.raises(DefinitionError, match="parameter steps must be a whole number from 1 to 500, not "):
        parsed().complete({"steps": steps})
    assert parsed().complete({"seed": 0})["seed"] == 0


def test_suite_runs_in_a_stable_order(tmp_path: Path) -> None:
    """ORDER first, then the name; the folder is the registry."""
    write_checks(tmp_path)
    quick = suites.suite("quick", read_definitions(tmp_path))
    assert [definition.name for definition in quick.definitions] == ["first", "alpha", "beta", "late"]


def test_suite_version_changes_with_its_checks(tmp_path: Path) -> None:
    """A check that joins or changes makes another version, reading again does not."""
    write_checks(tmp_path)
    before = suites.suite("quick", read_definitions(tmp_path)).version
    assert before == suites.suite("quick", read_definitions(tmp_path)).version
    (tmp_path / "gamma.py").write_text(GOOD)
    assert before != suites.suite("quick", read_definitions(tmp_path)).version


def test_unknown_suite_and_check_name_the_known(tmp_path: Path) -> None:
    """A wrong name is answered with those that exist."""
    write_checks(tmp_path)
    definitions = read_definitions(tmp_path)
    with pytest.raises(DefinitionError, match="There is no suite 'slow'; there are: quick, nightly"):
        suites.suite("slow", definitions)
    with pytest.raises(
        DefinitionError, match="There is no check 'gama'; there are: alpha, beta, first, late"
    ):
        suites.custom(["alpha", "gama"], definitions)


def test_custom_suite_keeps_the_given_order(tmp_path: Path) -> None:
    """Named checks run as named, each once."""
    write_checks(tmp_path)
    custom = suites.custom(["late", "alpha", "late"], read_definitions(tmp_path))
    assert [definition.name for definition in custom.definitions] == ["late", "alpha"]


def test_every_check_of_the_product_is_readable() -> None:
    """Each file in the checks folder is a check with a question, and `quick` has some."""
    definitions = read_definitions()
    assert all(definition.summary.endswith("?") for definition in definitions.values())
    assert suites.suite("quick", definitions).definitions


def test_hash_covers_the_modules_of_the_probe_that_a_check_imports(tmp_path: Path) -> None:
    """A table or a way of timing that changes makes another definition; the rest of the probe does not."""
    alone, with_table = ast.parse("import os\n"), ast.parse("from llmenv_probe.sentences import sentence\n")
    assert probe_sources(alone) == []
    assert [path.name for path in probe_sources(with_table)] == ["sentences.py"]
    through = probe_sources(ast.parse("import llmenv_probe.cases\n"))
    assert {"cases.py", "findings.py", "sentences.py"} <= {path.name for path in through}
    path = tmp_path / "own.py"
    constants = "SUITES = ()\nREQUIRES = ()\nTIMEOUT_SECONDS = 1\nPARAMETERS = {}\n"
    source = f'"""Does it?"""\nfrom llmenv_probe import sentences\n{constants}def run(probe): pass\n'
    assert (
        parse_definition(path, source.encode()).definition_hash
        != hashlib.sha256(source.encode()).hexdigest()[:16]
    )


def test_named_pipe_among_checks_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody may ever write into it."""
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(DefinitionError, match=r"pipe\.py: is no file; take it out of the folder of checks\."):
        read_definitions(tmp_path)
