"""The line that is typed into the shell: history, completion, colours, where Enter runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import Output
from pygments.lexers.sql import SqlLexer

from sqlllm.cli.completion import Catalog, candidates
from sqlllm.cli.typed import is_complete

PROMPT = "sqlllm> "
MORE = "     -> "


class Completions(Completer):
    """Candidates as prompt_toolkit wants them.

    Args:
        catalog: Gives what a statement can name now.
    """

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        """What may stand at the cursor."""
        before, after = document.text_before_cursor, document.text_after_cursor
        asked = event.completion_requested
        for each in candidates(before, self._catalog(), after, asked=asked):
            yield Completion(each.text, -each.replaces, display_meta=each.about)


def editor(
    catalog: Callable[[], Catalog],
    history: Path,
    *,
    input: Input | None = None,  # noqa: A002 - as prompt_toolkit calls it
    output: Output | None = None,
) -> PromptSession[str]:
    """Reads a statement of one or more lines, or a command with a dot.

    Args:
        catalog: Gives what a statement can name now.
        history: The file of what was typed before; where it can't be written, nothing is kept.
        input: Where keys come from; None: the terminal.
        output: Where it is drawn; None: the terminal.
    """
    return PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=MORE,
        completer=Completions(catalog),
        complete_while_typing=True,
        history=_history(history),
        key_bindings=_keys(),
        lexer=PygmentsLexer(SqlLexer),
        input=input,
        output=output,
    )


def _history(path: Path) -> History:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # nobody else's
    except OSError:
        return InMemoryHistory()
    return _Kept(str(path))


class _Kept(FileHistory):
    """As long as there is a file to read and write: a full disk stops nobody from typing."""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        with suppress(OSError, UnicodeError):
            super().store_string(string)


def _keys() -> KeyBindings:
    """Enter runs what is complete, and takes what is chosen from the menu."""
    keys = KeyBindings()

    @Condition
    def chosen() -> bool:
        state = get_app().current_buffer.complete_state
        return state is not None and state.current_completion is not None

    @Condition
    def complete() -> bool:
        return is_complete(get_app().current_buffer.text)

    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing & complete & ~chosen)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("enter", filter=typing & chosen)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    return keys
