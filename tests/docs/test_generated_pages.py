"""Pages drawn from the programs: nothing lacks its words, and an old page is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from llmenv_agent import exit_codes as agent_codes
from llmenv_agent.definitions import read_definitions
from llmenv_agent.main import cli as agent
from llmenv_cli import exit_codes as cli_codes
from llmenv_cli.main import llmenv
from llmenv_collector import exit_codes as collector_codes
from llmenv_collector.main import cli as collector
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from enum import IntEnum
    from pathlib import Path
    from types import ModuleType

PROGRAMS = {"llmenv": llmenv, "llmenv-agent": agent, "llmenv-collector": collector}
CODES = {
    "llmenv": cli_codes.ExitCode,
    "llmenv-agent": agent_codes.ExitCode,
    "llmenv-collector": collector_codes.ExitCode,
}


@pytest.mark.parametrize("name", ["commands.md", "views.md", "checks.md", "collected.md", "v1-columns.txt"])
def test_a_generated_page_is_what_the_programs_say(generator: ModuleType, docs: Path, name: str) -> None:
    """A changed command, view or check comes with its page; `make docs` writes it."""
    assert generator.PAGES[name]() == (docs / name).read_text(encoding="utf-8")


def test_an_old_page_fails_the_check_and_is_named(docs: Path, tmp_path: Path) -> None:
    """`--check` writes nothing; without it the page is written anew."""
    for file in docs.glob("*.*"):
        shutil.copy(file, tmp_path)
    page = tmp_path / "views.md"
    page.write_text(page.read_text(encoding="utf-8").replace("UUID", "TEXT", 1), encoding="utf-8")
    command = [sys.executable, str(tmp_path / "generate.py")]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (1, "")
    assert checked.stderr == "docs/views.md: not what the programs say; run `make docs`\n"
    subprocess.run(command, check=True)
    assert page.read_text(encoding="utf-8") == (docs / "views.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "promised",
    [
        pytest.param("runs.gone VARCHAR", id="a column that is gone"),
        pytest.param("runs.device INTEGER", id="a column of another type"),
    ],
)
def test_a_column_of_the_views_is_promised_for_good(docs: Path, tmp_path: Path, promised: str) -> None:
    """Neither the check nor writing anew passes over it; the list names what is missing."""
    for file in docs.glob("*.*"):
        shutil.copy(file, tmp_path)
    with (tmp_path / "v1-columns.txt").open("a", encoding="utf-8") as columns:
        columns.write(f"{promised}\n")
    for flags in (["--check"], []):
        ended = subprocess.run(
            [sys.executable, str(tmp_path / "generate.py"), *flags],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (
            1,
            f"the views no longer have what docs/v1-columns.txt promises: {promised}\n",
        )


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_and_option_has_help(generator: ModuleType, program: str) -> None:
    """Arguments are explained in the help of their command."""
    commands = {program: PROGRAMS[program], **dict(generator.subcommands(program, PROGRAMS[program]))}
    assert [path for path, command in commands.items() if not command.help] == []
    options = [
        (path, option.name, option.help)
        for path, command in commands.items()
        for option in command.params
        if isinstance(option, click.Option)
    ]
    assert [(path, name) for path, name, text in options if not text] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_is_on_the_page(generator: ModuleType, docs: Path, program: str) -> None:
    """Each has a section of its own."""
    page = (docs / "commands.md").read_text(encoding="utf-8")
    paths = [path for path, _ in generator.subcommands(program, PROGRAMS[program])]
    assert [path for path in paths if f"\n### `{path}`\n" not in page] == []


@pytest.mark.parametrize("program", CODES)
def test_every_exit_code_says_what_it_means(generator: ModuleType, program: str) -> None:
    """A sentence below each member of the enum."""
    codes: type[IntEnum] = CODES[program]
    assert set(generator.member_docstrings(codes)) == {code.name for code in codes}


def test_every_view_and_every_check_is_on_its_page(docs: Path) -> None:
    """The folders are the registries."""
    views, checks = ((docs / name).read_text(encoding="utf-8") for name in ("views.md", "checks.md"))
    names = [name.removesuffix(".sql") for name, _ in migrate.view_files()]
    assert [name for name in names if f"\n## `{name}`\n" not in views] == []
    assert [name for name in read_definitions() if f"\n## {name}\n" not in checks] == []
