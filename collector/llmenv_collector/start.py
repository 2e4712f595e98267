"""Where the program `llmenv-collector` starts: until it can say a sentence, Ctrl-C ends it without a word."""

from __future__ import annotations

import signal


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from llmenv_collector.main import main as program

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return program()
