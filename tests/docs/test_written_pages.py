"""Pages written by hand: every key and variable of the programs is in them, and what they show is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from llmenv.catalog.status import APPLE_SILICON_CORE_CHECKS, WORDS
from llmenv.catalog.texts import texts
from llmenv_agent.configuration import load_configuration, parse_configuration
from llmenv_agent.errors import UsageError
from llmenv_agent.facts.recording import KINDS
from llmenv_agent.repertoire import read_repertoire
from llmenv_agent.schedule_settings import DAILY_QUICK
from llmenv_cli.render.sections.wording import verdict
from llmenv_cli.settings import Settings as CliSettings
from llmenv_collector import settings as collector_settings

REPOSITORY = Path(__file__).resolve().parents[2]
RUNNING = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
READING = (REPOSITORY / "docs" / "reading-a-report.md").read_text(encoding="utf-8")
# A key that no table knows, by the heading of the table's section.
UNKNOWN_KEY = {
    "[agent]": "[agent]\nnonsense = 1",
    "[[target]]": "[[target]]\nnonsense = 1",
    "[schedule.SUITE]": "[schedule.quick]\nnonsense = 1",
    "[policy]": "[policy]\nnonsense = 1",
    "[watchdog]": "[watchdog]\nnonsense = 1",
}


def section(heading: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    _, found, rest = RUNNING.partition(f"{heading}")
    assert found, f"no heading {heading!r}"
    return re.split(r"\n#+ ", rest.partition("\n")[2])[0]


def keys(table: str) -> dict[str, str]:
    """First cell, which is a key, and the second, its default."""
    return dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", table, flags=re.MULTILINE))


@pytest.mark.parametrize("table", UNKNOWN_KEY)
def test_every_key_of_agent_toml_is_in_the_page(table: str) -> None:
    """The program itself says which keys it knows, when it refuses one."""
    with pytest.raises(UsageError, match="is not known here") as refused:
        parse_configuration(UNKNOWN_KEY[table], path=Path("agent.toml"))
    known = str(refused.value).rpartition("known are ")[2].rstrip(".").split(", ")
    assert set(keys(section(f"### `{table}`"))) == set(known)


def test_every_table_of_agent_toml_is_in_the_page() -> None:
    """Each has a section."""
    with pytest.raises(UsageError, match="is not known here") as refused:
        parse_configuration("nonsense = 1", path=Path("agent.toml"))
    tables = str(refused.value).rpartition("known are ")[2].rstrip(".").split(", ")
    headings = re.findall(r"^### `\[+([a-z]+)", RUNNING, flags=re.MULTILINE)
    assert sorted(headings) == tables


@pytest.mark.parametrize(
    ("heading", "settings"),
    [("## collector.toml", collector_settings.Settings), ("## cli.toml", CliSettings)],
)
def test_every_setting_is_in_the_page_with_its_default(heading: str, settings: Any) -> None:
    """A default that is empty is said in words."""
    written = keys(section(heading))
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    assert set(written) == set(defaults)
    shown = {
        name: f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        for name, default in defaults.items()
        if default != ""
    }
    assert {name: written[name] for name in shown} == shown


def blocks(language: str) -> list[str]:
    """What the page shows in this language."""
    return re.findall(rf"```{language}\n(.*?)```", RUNNING, flags=re.DOTALL)


def test_the_example_of_a_check_of_ones_own_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the suite that lists it loads, with its schedule."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "llm-checks").mkdir()
    (check,) = blocks("python")
    (tmp_path / "llm-checks" / "our_tokenizer.py").write_text(check, encoding="utf-8")
    loaded = parse_configuration(blocks("toml")[1], path=tmp_path / "agent.toml")
    known = read_repertoire(loaded.checks_folders, loaded.suites)
    nightly = known.suite("nightly")
    assert [each.name for each in nightly.definitions] == ["torch_training", "our_tokenizer"]
    assert nightly.parameters == {"torch_training": {"steps": 500}}
    assert [schedule.suite for schedule in loaded.schedules] == ["nightly"]
    assert [each.name for each in known.suite("lab").definitions] == ["our_tokenizer"]


def test_the_example_of_agent_toml_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a person would paste it."""
    for variable in ("LLMENV_DEVICE", "LLMENV_LOG_FORMAT", "LLMENV_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    example, _ = blocks("toml")
    file = tmp_path / "agent.toml"
    file.write_text(example, encoding="utf-8")
    loaded = load_configuration(file)
    assert [target.name for target in loaded.targets] == ["training"]
    assert loaded.targets[0].variables == {"HF_HOME": "/Volumes/models"}
    assert (loaded.log_format, loaded.schedules) == ("json", (DAILY_QUICK,))
    assert loaded.parameters == {"transformers_generate": {"model": "HuggingFaceTB/SmolLM2-135M"}}


def test_every_variable_of_the_programs_is_in_the_page() -> None:
    """Names in the code, besides those that are made from a key."""
    folders = [REPOSITORY / name for name in ("agent", "cli", "collector", "proto")]
    sources = [file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.py")]
    named = {name for source in sources for name in re.findall(r"LLMENV_[A-Z][A-Z_]*[A-Z]", source)}
    named |= {f"LLMENV_{field.name.upper()}" for field in dataclasses.fields(CliSettings)}
    assert sorted(name for name in named if f"`{name}" not in RUNNING) == []


def test_the_report_page_names_every_status_and_core_check() -> None:
    """With the mark that a report shows."""
    marked = [verdict(word, texts("en")) for word in WORDS.values()]
    assert [word for word in marked if f"| {word} |" not in READING] == []
    assert [name for name in APPLE_SILICON_CORE_CHECKS if f"`{name}`" not in READING] == []


def test_the_report_page_names_every_section() -> None:
    """Those of the Markdown report of a run that is kept beside the tests."""
    golden = REPOSITORY / "tests" / "golden" / "test_run_show" / "not_ready-md-en.txt"
    headings = re.findall(r"^## (.*)$", golden.read_text(encoding="utf-8"), flags=re.MULTILINE)
    rows = re.findall(r"^\| ([A-Z][^|]*) \|", READING.partition("## The sections")[2], flags=re.MULTILINE)
    assert rows[1:] == headings


def test_the_report_page_names_every_kind_of_recording() -> None:
    """As `facts --from` takes them."""
    assert [kind for kind in KINDS if f"`{kind}`" not in READING] == []


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    """To a file, and to a heading where one is named."""
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    """As GitHub makes them: lower case, hyphens for spaces, no other marks."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_page() -> None:
    """One line each."""
    docs = REPOSITORY / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in docs.glob("*.md")} - {"README.md"}
    assert [page for page in sorted(pages) if index.count(f"({page})") != 1] == []
