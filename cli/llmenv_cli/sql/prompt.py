"""The line that is typed into, with history and completion; prompt_toolkit is needed here alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from llmenv_cli import settings
from llmenv_cli.sql import statements
from llmenv_cli.sql.completion import suggestions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

    from llmenv_cli.sql.views import View

HISTORY_FILE = "sql_history"
PROMPT, CONTINUATION = "sql> ", "...> "


def prompt_of(
    views: Sequence[View], *, terminal_input: Input | None = None, terminal_output: Output | None = None
) -> Callable[[], str]:
    """Each call waits for one entry. Raises KeyboardInterrupt or EOFError for Ctrl-C and Ctrl-D."""
    session: PromptSession[str] = PromptSession(
        PROMPT,
        history=_history(),
        completer=_Completer(views),
        multiline=Condition(lambda: not is_entry(session.default_buffer.text)),
        prompt_continuation=CONTINUATION,
        input=terminal_input,
        output=terminal_output,
    )
    return session.prompt


def is_entry(text: str) -> bool:
    """Whether Enter ends it: a command, nothing at all, or statements that have all ended."""
    stripped = text.strip()
    if not stripped or stripped.startswith("\\") or stripped in {"exit", "quit"}:
        return True
    whole, rest = statements.split(text)
    return bool(whole) and statements.is_comment(rest)


def _history() -> History:
    """In a file that only its owner reads; for this time only where there can be none."""
    file = settings.state_folder() / HISTORY_FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        file.chmod(0o600)
    except OSError as error:
        click.echo(f"The history is not kept: {file} cannot be written ({error.strerror}).", err=True)
        return InMemoryHistory()
    return FileHistory(str(file))


class _Completer(Completer):
    def __init__(self, views: Sequence[View]) -> None:
        self._views = views

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:  # noqa: ARG002 (its signature)
        for each in suggestions(document.text_before_cursor, document.text_after_cursor, self._views):
            yield Completion(each.text, start_position=-each.replaces, display_meta=each.about)
