"""Definitions: what the agent knows of a check from its file, without importing it.

The folder is the registry: a file `checks/<name>.py` is the check `<name>`.
Its literal constants are read from the syntax tree.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv_agent.environment_variables import can_be_set
from llmenv_agent.errors import UsageError
from llmenv_agent.parameter_rules import parse_rule
from llmenv_agent.probe_sources import probe_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmenv_agent.parameter_rules import Rule

CHECKS = Path(__file__).parent / "checks"
MOST_SECONDS = 10**9  # thirty years

_OPTIONAL: dict[str, Any] = {
    "ALLOWED": {},
    "ENVIRONMENT": {},
    "ORDER": 100,
    "CASE_TIMEOUT_SECONDS": None,
    "TIMEOUT_PARAMETER": None,
    "TYPICAL_SECONDS": None,
}


class DefinitionError(UsageError):
    """A check file, or what was asked of one, is wrong; the sentence says where and what to do."""


@dataclasses.dataclass(frozen=True)
class Definition:
    """One check: a question, what it needs, and its bounds.

    `timeout_seconds` covers the whole check beside the seconds that its parameter
    `timeout_parameter` asks for, where it has one; `case_timeout_seconds` one of its
    cases.  `rules` say what parameters may be, by name.  `typical_seconds` is what it
    took alone on an idle x86-64 CPU of two cores, None where its author did not measure
    it.  `order` sorts a suite, lowest first.
    """

    name: str
    path: Path
    summary: str
    suites: tuple[str, ...]
    requires: tuple[str, ...]
    timeout_seconds: float
    timeout_parameter: str | None
    case_timeout_seconds: float
    typical_seconds: float | None
    parameters: Mapping[str, Any]
    rules: Mapping[str, Rule]
    environment: Mapping[str, str]
    order: int
    definition_hash: str

    def complete(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter with its value: the default, or what `overrides` says.

        Raises DefinitionError for a name that the check does not have, and a value that it does not take.
        """
        return {**self.parameters, **{name: self._read(name, value) for name, value in overrides.items()}}

    def deadline_seconds(self, parameters: Mapping[str, Any]) -> float:
        """What the whole check may take with these parameters."""
        asked = parameters[self.timeout_parameter] if self.timeout_parameter else 0.0
        return self.timeout_seconds + float(asked)

    def _read(self, name: str, value: object) -> Any:
        if name not in self.parameters:
            known = ", ".join(sorted(self.parameters)) or "none"
            raise DefinitionError(f"{self.name} has no parameter {name!r}; it has: {known}.")
        if name == self.timeout_parameter and not _is_seconds(value):
            raise self._refusal(name, value, "a number of seconds above 0")
        default = self.parameters[name]
        if default is None and value is None:
            return None
        if name in self.rules:
            return self._read_by_rule(name, value, self.rules[name])
        if not _is_json(value):
            raise self._refusal(name, value, "JSON with finite numbers")
        if default is None or _same_kind(default, value):
            return value
        kinds = type(default).__name__, type(value).__name__
        raise DefinitionError(
            f"{self.name}: parameter {name} is {kinds[0]}, and {value!r:.80} is {kinds[1]}."
        )

    def _read_by_rule(self, name: str, value: object, rule: Rule) -> Any:
        try:
            return rule.read(value)
        except ValueError:
            raise self._refusal(name, value, rule.words) from None

    def _refusal(self, name: str, value: object, wanted: str) -> DefinitionError:
        return DefinitionError(f"{self.name}: parameter {name} must be {wanted}, not {value!r:.80}.")


def _is_seconds(value: object) -> bool:
    """Above 0 and finite; yes and no are no numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MOST_SECONDS


def _is_json(value: object) -> bool:
    """A bound that is not a number would hold for everything, and no store takes one in JSON."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _same_kind(default: object, value: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(default))


def read_definitions(folder: Path = CHECKS) -> dict[str, Definition]:
    """All checks of `folder` by name, in the order a suite runs them; `_name.py` is no check."""
    return by_name(read_definition(path) for path in folder.glob("[!_]*.py"))


def by_name(definitions: Iterable[Definition]) -> dict[str, Definition]:
    """In the order a suite runs them."""
    return {each.name: each for each in sorted(definitions, key=lambda each: (each.order, each.name))}


def read_definition(path: Path) -> Definition:
    """The check in the file `path`; raises DefinitionError where it is not one."""
    # To open a named pipe is to wait until somebody writes into it.
    if path.exists() and not path.is_file():
        raise DefinitionError(f"{path}: is no file; take it out of the folder of checks.")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read: {error.strerror}.") from error
    return parse_definition(path, source)


def parse_definition(path: Path, source: bytes) -> Definition:
    """The check with this `source`; `path` names it and stands in errors."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise DefinitionError(f"{path}:{line}: is not Python: {str(error.args[0]).rstrip('.')}.") from error
    except (RecursionError, MemoryError) as error:  # what the parser says of nesting without end
        raise DefinitionError(f"{path}:1: is nested too deeply to be read.") from error
    summary = (ast.get_docstring(tree) or "").partition("\n")[0].strip()
    if not summary:
        raise DefinitionError(f"{path}:1: begin with a docstring whose first line is the check's question.")
    _require_run(path, tree)
    constants = _Constants(path, tree)
    timeout = constants.required_seconds("TIMEOUT_SECONDS")
    parameters = constants.json_object("PARAMETERS")
    return Definition(
        name=path.stem,
        path=path.resolve(),
        summary=summary,
        suites=constants.names("SUITES"),
        requires=constants.names("REQUIRES"),
        timeout_seconds=timeout,
        timeout_parameter=constants.name_of_seconds("TIMEOUT_PARAMETER", parameters),
        # A hanging case must leave time for the rows after it.
        case_timeout_seconds=constants.seconds("CASE_TIMEOUT_SECONDS") or timeout / 4,
        typical_seconds=constants.seconds("TYPICAL_SECONDS"),
        parameters=parameters,
        rules=constants.rules("ALLOWED", parameters),
        environment=constants.variables("ENVIRONMENT"),
        order=constants.whole_number("ORDER"),
        definition_hash=_hash(tree, source),
    )


def _hash(tree: ast.Module, source: bytes) -> str:
    """SHA-256 over the check and the modules of the probe that it imports, first 16 hex digits."""
    digest = hashlib.sha256(source)
    for module in probe_sources(tree):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def _require_run(path: Path, tree: ast.Module) -> None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "run" and len(node.args.args) == 1:
            return
    raise DefinitionError(f"{path}:1: define run(probe), the one function that the probe calls.")


class _Constants:
    """The literal constants at the top level of a check file, each read as one kind."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self._path = path
        self._nodes: dict[str, ast.expr] = {}
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            for target in targets:
                if isinstance(target, ast.Name) and value is not None:
                    self._nodes[target.id] = value

    def names(self, constant: str) -> tuple[str, ...]:
        value = self._literal(constant)
        if not isinstance(value, tuple | list) or not all(isinstance(each, str) for each in value):
            raise self._error(constant, 'a tuple of names, such as ("quick",)')
        return tuple(value)

    def seconds(self, constant: str) -> float | None:
        """None where an optional constant is left out."""
        return None if self._literal(constant) is None else self.required_seconds(constant)

    def required_seconds(self, constant: str) -> float:
        value = self._literal(constant)
        if not _is_seconds(value):
            raise self._error(constant, "a number of seconds above 0")
        return float(value)

    def name_of_seconds(self, constant: str, parameters: Mapping[str, Any]) -> str | None:
        """None where it is left out."""
        value = self._literal(constant)
        if value is not None and not (isinstance(value, str) and _is_seconds(parameters.get(value))):
            raise self._error(constant, "the name of a parameter that is a number of seconds above 0")
        return value

    def whole_number(self, constant: str) -> int:
        value = self._literal(constant)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error(constant, "a whole number")
        return value

    def variables(self, constant: str) -> dict[str, str]:
        value = self._literal(constant)
        if not isinstance(value, dict) or not all(
            isinstance(each, str) for pair in value.items() for each in pair
        ):
            raise self._error(constant, 'a dict of names to text, such as {"OMP_NUM_THREADS": "1"}')
        for name, text in value.items():
            if not can_be_set(name, text):
                raise self._error(constant, f"a dict of variables, which {name!r} cannot be")
        return value

    def rules(self, constant: str, parameters: Mapping[str, Any]) -> dict[str, Rule]:
        """Of some parameters or all, each of which its own default keeps."""
        written = self._literal(constant)
        try:
            rules = {name: parse_rule(text) for name, text in written.items()}
            for name, rule in rules.items():
                if parameters[name] is not None:
                    rule.read(parameters[name])
        except (AttributeError, KeyError, ValueError):
            wanted = 'a dict of parameters to rules that their defaults keep, such as {"steps": "1..100"}'
            raise self._error(constant, wanted) from None
        return rules

    def json_object(self, constant: str) -> dict[str, Any]:
        value = self._literal(constant)
        if isinstance(value, dict) and all(isinstance(name, str) for name in value) and _is_json(value):
            return value
        raise self._error(constant, "a dict of names to JSON values")

    def _literal(self, constant: str) -> Any:
        if constant not in self._nodes:
            if constant in _OPTIONAL:
                return _OPTIONAL[constant]
            raise DefinitionError(
                f"{self._path}:1: {constant} is missing; a check defines it at the top level."
            )
        try:
            return ast.literal_eval(self._nodes[constant])
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise self._error(constant, "a literal: it is read without running the file") from None

    def _error(self, constant: str, wanted: str) -> DefinitionError:
        line = self._nodes[constant].lineno if constant in self._nodes else 1
        return DefinitionError(f"{self._path}:{line}: {constant} must be {wanted}.")
