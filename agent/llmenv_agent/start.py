"""Where the program `llmenv-agent` starts: until it can say a sentence, Ctrl-C ends it without a word."""

from __future__ import annotations

import signal


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from llmenv_agent.main import main as program

    signal.signal(signal.SIGINT, signal.default_int_handler)
    program()
