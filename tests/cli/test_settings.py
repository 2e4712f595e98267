"""Flags, then variables, then cli.toml, then the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_cli import settings
from llmenv_cli.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

RUN = "ready_m2_ultra.json"


def test_defaults_without_file_and_variables(tmp_path: Path) -> None:
    """A fresh machine has English tables."""
    assert settings.load(tmp_path / "none.toml", environment={}) == Settings()


def test_file_over_defaults_and_variables_over_the_file(tmp_path: Path) -> None:
    """Each setting by itself."""
    file = tmp_path / "cli.toml"
    file.write_text('lang = "zh"\nformat = "md"\ntimeout_seconds = 5\n')
    loaded = settings.load(file, environment={"LLMENV_FORMAT": "csv"})
    assert loaded == Settings(lang="zh", format="csv", timeout_seconds=5.0)


def test_flags_over_all(
    llmenv: Callable[..., Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run, three ways."""
    run = str(request.path.parent / "runs" / RUN)
    monkeypatch.setenv("LLMENV_LANG", "zh")
    assert "LLM 训练环境测试报告" in llmenv("run", "show", run).out
    assert "LLM training environment report" in llmenv("run", "show", run, "--lang", "en").out


def test_folder_is_the_systems_place_without_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """platformdirs knows where settings go."""
    monkeypatch.delenv("LLMENV_CONFIG_DIR", raising=False)
    assert settings.config_folder().name == "llmenv"
