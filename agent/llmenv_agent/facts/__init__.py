"""What the agent knows of its machine: facts that stay and conditions that change.

Each source (`sysctl`, `pmset`, `ioreg`, ...) is one module with a pure `parse_x(text)`,
so that it can be tested on recordings of real Macs; `machine` and `conditions` run the
tools and put the pieces together; `recording` parses what somebody else recorded.
What could not be read is absent, never guessed.
"""

from __future__ import annotations

from llmenv_agent.facts.conditions import read_conditions
from llmenv_agent.facts.machine import read_machine

__all__ = ["read_conditions", "read_machine"]
