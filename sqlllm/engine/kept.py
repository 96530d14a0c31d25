"""Beginnings of rows that are read once: rows are then read behind copies of their keys.

To copy is cheap, a few percent of reading the rest, and leaves any rows to be read together, in any
order. `begin` reads what rows of one question share in groups. `KeptTexts` are the latest texts:
with the text first (`Settings.text_first`), the prompts of several questions about a text begin
alike. While somebody holds them, they are read once, and the next question reads only its own
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlllm.engine.batching import by_tokens
from sqlllm.engine.memory import SHARE, free_bytes, ran_out, release
from sqlllm.engine.prefixes import Tokens, common
from sqlllm.engine.slots import Slots
from sqlllm.engine.worker import beside
from sqlllm.locks import own_lock

if TYPE_CHECKING:
    from sqlllm.engine.engine import Engine

PASSES = 16
"""Texts of so many forward passes are kept at most: then a question fills passes of its own."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The beginning of a row, behind the head, whose keys and values are there.

    Attributes:
        slots: Where they are.
        row: In which row.
        length: Of how many tokens.
    """

    slots: Slots
    row: int
    length: int


def room_for(engine: Engine, passes: int, kept: int = 0) -> int:
    """How many tokens to keep: those of so many passes, in half of what a batch may take.

    Args:
        engine: Whose.
        passes: How many.
        kept: Tokens that are kept already and whose memory counts as free.
    """
    free = free_bytes(engine.place) + kept * engine.token_bytes
    fitting = int(free * SHARE / 2) // max(engine.token_bytes, 1)
    return max(min(fitting, passes * engine.budget.tokens), 0)


def begin(
    engine: Engine, head: Tokens, beginnings: Mapping[int, Sequence[int]], room: int
) -> Iterator[dict[int, Begun]]:
    """Read beginnings, pass by pass; what finds no room is left out, as are empty ones.

    Args:
        engine: What reads them.
        head: Tokens that all of them stand behind.
        beginnings: Key -> tokens.
        room: The most tokens to keep, with what rounding to pages takes.
    """
    lengths = {key: len(tokens) for key, tokens in beginnings.items() if tokens}

    def read(keys: list[int]) -> Slots | None:
        page = Slots(len(keys), max(lengths[key] for key in keys))
        new = [beginnings[key] for key in keys]
        try:
            engine.read(page, 0, new, [0] * len(new), head, wanted="none")
        except Exception as error:
            if not ran_out(error):
                raise
            release()
            return None
        return page

    batches = list(_fitting(lengths, engine, room))
    for keys, page in beside(read, batches, min(engine.at_once, len(batches))):
        if page is None:
            return
        yield {key: Begun(page, at, lengths[key]) for at, key in enumerate(keys)}


def _fitting(lengths: Mapping[int, int], engine: Engine, room: int) -> Iterator[list[int]]:
    """What to read together, while there is room: for each row as much as the longest takes."""
    for keys in by_tokens(lengths, engine.budget.tokens, engine.at_once):
        widest = max(lengths[key] for key in keys)
        fitting = keys[: max(room, 0) // widest]
        if not fitting:
            return
        room -= len(fitting) * widest
        yield fitting


class KeptTexts:
    """The texts that an engine has read and keeps, while somebody holds them.

    Args:
        engine: What reads them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = own_lock()
        self._holders = 0
        self._head: Tokens = ()
        self._there: dict[Tokens, Begun] = {}

    @property
    def wanted(self) -> bool:
        """Whether somebody will ask more about the same texts."""
        return self._holders > 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep texts meanwhile."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                last = not self._holders
            if last:
                self.clear()

    def clear(self) -> bool:
        """Let all go; whether there were any."""
        with self._lock:
            found, self._there = bool(self._there), {}
        if found:
            release()
        return found

    def _add(self, head: Tokens, begun: Mapping[Tokens, Begun]) -> None:
        """Keep texts that begin with `head`; those that don't came from another query meanwhile."""
        with self._lock:
            if self._holders:
                others = self._there if head == self._head else {}
                self._head, self._there = head, {**others, **begun}

    def room(self) -> int:
        """How many tokens to keep: no more than it takes to fill passes."""
        return room_for(self._engine, PASSES, self._tokens())

    def _tokens(self) -> int:
        pages = {id(begun.slots): begun.slots for begun in self._there.values()}
        return sum(page.rows * page.capacity for page in pages.values())

    def begin(self, head: Tokens, texts: Mapping[int, Sequence[int]]) -> Iterator[Beginning]:
        """Read the texts that are not there, pass by pass; what is of other texts alone goes.

        What finds no room is left out. The last of the steps has all.

        Args:
            head: What all prompts begin with.
            texts: Row -> the tokens of its text.
        """
        whole = {row: (*head, *text) for row, text in texts.items()}
        made = self._known(head, whole)
        yield made
        missing = {row: text for row, text in whole.items() if row not in made.begun}
        if not missing:
            return
        self._drop_others({id(begun.slots) for begun in made.begun.values()})
        left = 2 * self.room() - self._tokens()  # with what rounding to pages takes
        rest = {row: text[len(made.head) :] for row, text in missing.items()}
        for found in begin(self._engine, made.head, rest, left):
            made.begun.update(found)
            self._add(made.head, {missing[row]: begun for row, begun in found.items()})
            yield made

    def _known(self, head: Tokens, whole: Mapping[int, Tokens]) -> Beginning:
        """The rows whose texts are there; if other texts came, behind what all of these share."""
        with self._lock:  # another query may put its own there meanwhile
            same, there = self._head, self._there
        size = len(same)
        if there and all(text[:size] == same for text in whole.values()):
            found = {row: b for row, text in whole.items() if (b := there.get(text))}
            return Beginning(same, found)
        self.clear()
        texts = list(whole.values())
        return Beginning(texts[0][: max(common(texts), len(head))] if texts else head, {})

    def _drop_others(self, used: set[int]) -> None:
        with self._lock:
            self._there = {key: b for key, b in self._there.items() if id(b.slots) in used}


@dataclass(frozen=True, slots=True)
class Beginning:
    """What texts begin with, and for which rows all of it is there.

    Attributes:
        head: The tokens that all begin with.
        begun: Row -> the rest of its text.
    """

    head: Tokens
    begun: dict[int, Begun]


def lay(slots: Slots, begun: Sequence[Begun | None], first: int = 0) -> list[int]:
    """Copy beginnings into rows from `first` on; how many tokens each row has then."""
    pages: dict[int, tuple[Slots, list[int]]] = {}
    for at, found in enumerate(begun):
        if found is not None:
            pages.setdefault(id(found.slots), (found.slots, []))[1].append(at)
    for page, places in pages.values():
        taken = [found for at in places if (found := begun[at]) is not None]
        longest = max(found.length for found in taken)
        slots.copy(page, [found.row for found in taken], [first + at for at in places], longest)
    return [0 if found is None else found.length for found in begun]
