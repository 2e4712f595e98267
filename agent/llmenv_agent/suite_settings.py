"""What agent.toml says of checks and suites, each name held against those that there are.

A wrong name or value is refused with the file and the line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv_agent.schedule_settings import suite_tables
from llmenv_agent.suites import CUSTOM, PURPOSES, NamedSuite, is_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv_agent.repertoire import Repertoire
    from llmenv_agent.toml_document import Document

FOLDERS = ("agent", "checks_folders")


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """`parameters` are those of [checks.CHECK], by check; `suites` those of [suite.NAME]."""

    folders: tuple[Path, ...] = ()
    suites: tuple[NamedSuite, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def parse_suite_settings(
    document: Document, content: Mapping[str, Any], *, more_folders: tuple[Path, ...] = ()
) -> SuiteSettings:
    """Raises UsageError. Check files are read only where something names a check or a suite of the lab's."""
    written = document.texts(document.table(content, "agent"), FOLDERS)
    folders = tuple(Path(each).expanduser() for each in written)
    for folder in folders:
        if not folder.is_dir():
            raise document.error(FOLDERS, f"names {folder}, which is no folder")
    tables = document.table(content, "suite")
    settings = SuiteSettings(
        folders=(*folders, *more_folders),
        suites=tuple(_suite(document, name, tables) for name in tables),
        parameters=_tables(document, document.table(content, "checks"), below="checks"),
    )
    scheduled = suite_tables(document, content)
    if settings.suites or settings.parameters or scheduled.keys() - PURPOSES.keys():
        _require_known(document, settings, scheduled)
    return settings


def _suite(document: Document, name: str, tables: Mapping[str, Any]) -> NamedSuite:
    table = document.table(tables, name, below="suite")
    where = ("suite", name)
    document.allow(table, where, {"checks", "parameters"})
    if name in (*PURPOSES, CUSTOM):
        raise document.error(where, "has the name of a suite of llmenv; take another")
    if not is_name(name):
        raise document.error(("suite",), f"has the name {name!r}; take letters, digits, dots, _ and -")
    checks = tuple(document.texts(table, (*where, "checks")))
    if not checks:
        raise document.error(where, 'needs checks, such as ["torch_basics", "my_check"]')
    parameters = document.table(table, "parameters", below=f"suite.{name}")
    for check in parameters:
        if check not in checks:
            raise document.error((*where, "parameters", check), "is no check of this suite")
    return NamedSuite(
        name=name, checks=checks, parameters=_tables(document, parameters, below=f"suite.{name}.parameters")
    )


def _tables(document: Document, tables: Mapping[str, Any], *, below: str) -> dict[str, dict[str, Any]]:
    return {name: document.table(tables, name, below=below) for name in tables}


def _require_known(document: Document, settings: SuiteSettings, scheduled: Mapping[str, Any]) -> None:
    from llmenv_agent.repertoire import read_repertoire

    known = read_repertoire(settings.folders, settings.suites)
    _require_parameters(document, ("checks",), settings.parameters, known)
    for suite in settings.suites:
        _require_suite(document, suite, known)
    for name in scheduled:
        if name not in known.suite_names():
            raise document.error(
                ("schedule", name), f"is no suite; there are {', '.join(known.suite_names())}"
            )


def _require_suite(document: Document, suite: NamedSuite, known: Repertoire) -> None:
    where = ("suite", suite.name)
    for each in known.definitions.values():
        if suite.name in each.suites:
            raise document.error(where, f"is a suite already: {each.path} names it")
    for check in suite.checks:
        if check not in known.definitions:
            names = ", ".join(known.definitions)
            raise document.error((*where, "checks"), f"names {check!r}, which is no check; there are {names}")
    _require_parameters(document, (*where, "parameters"), suite.parameters, known)


def _require_parameters(
    document: Document,
    where: tuple[str, ...],
    parameters: Mapping[str, Mapping[str, Any]],
    known: Repertoire,
) -> None:
    from llmenv_agent.definitions import DefinitionError

    for check, values in parameters.items():
        if check not in known.definitions:
            raise document.error((*where, check), f"is no check; there are {', '.join(known.definitions)}")
        for name in values:
            try:
                known.definitions[check].complete({name: values[name]})
            except DefinitionError as error:
                raise document.error((*where, check, name), f"is refused: {error}"[:-1]) from error
