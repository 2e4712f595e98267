"""Which machines count as having got a change."""

from __future__ import annotations

import pytest
from llmenv_collector.fleet_report.causes import Cause, pooled

STEPS = {
    ("2.9.1", "2.10.0"): {"a"},
    ("2.10.0", "2.11.0"): {"b"},
    ("2.9.1", "2.11.0"): {"c"},
    ("2.9.1", "2.12.0"): {"d"},
    ("2.11.0", "2.12.0"): {"e"},
    ("2.12.0", "2.10.0"): {"f"},
    ("", "2.11.0"): {"g"},
}


@pytest.mark.parametrize(
    ("kind", "before", "after", "machines"),
    [
        pytest.param("package", "2.10.0", "2.11.0", "bcd", id="up"),
        pytest.param("package", "2.11.0", "2.12.0", "de", id="up-to-the-newest"),
        pytest.param("package", "2.11.0", "2.10.0", "f", id="back"),
        pytest.param("package", "", "2.11.0", "g", id="installed-anew"),
        pytest.param("variable", "2.10.0", "2.11.0", "b", id="no-version"),
    ],
)
def test_steps_that_cross_one_version_are_one_change(
    kind: str, before: str, after: str, machines: str
) -> None:
    """Whichever version a machine came from and went on to, but for what is no version."""
    assert pooled(STEPS, Cause(kind, "torch", before, after)) == set(machines)
