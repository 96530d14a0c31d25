"""Text after a prompt: rows leave the batch when they finish, waiting rows take their place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlllm.engine.kept import lay
from sqlllm.engine.lookup import Lookup
from sqlllm.engine.memory import no_room, ran_out
from sqlllm.engine.slots import Slots
from sqlllm.engine.worker import on_model_thread, stepped

if TYPE_CHECKING:
    from sqlllm.engine.engine import Engine
    from sqlllm.engine.kept import Begun
    from sqlllm.engine.picking import Picker


@dataclass(slots=True)
class Row:
    """One text being written.

    Attributes:
        at: Its position among the inputs.
        tokens: What was read after the head, and then what was written.
        prompt: How many of them were read.
        most: How many there may be in all.
        rule: The grammar's state, or None.
        draws: A `torch.Generator` where tokens are sampled.
        kept: How many have their keys in the slot.
        done: Whether nothing more is to be written.
        lookup: Guesses what comes next.
        begun: Where the keys of its first tokens are to be had, or None.
    """

    at: int
    tokens: list[int]
    prompt: int
    most: int
    rule: Any = None
    draws: Any = None
    kept: int = 0
    done: bool = False
    lookup: Lookup | None = None
    begun: Begun | None = None

    @property
    def unread(self) -> int:
        """How many tokens must be read before more can be written."""
        return len(self.tokens) - (self.begun.length if self.begun else 0)

    @property
    def written(self) -> list[int]:
        """The tokens of the answer."""
        return self.tokens[self.prompt :]


def decode(
    engine: Engine, head: tuple[int, ...], rows: Iterable[Row], picker: Picker
) -> Iterator[list[Row]]:
    """Write rows to their end; after every forward pass those that finished, often none.

    The passes are run by the models' threads, side by side where there are rows enough. Who is
    written beside whom depends on the rows alone.

    Args:
        engine: The model.
        head: Tokens that all rows begin with.
        rows: What to write, with `tokens` to begin with.
        picker: Chooses tokens and knows when a row is done.
    """
    try:
        on_model_thread(engine.prefix, head)
    except Exception as error:  # the first pass asks for it again, and makes room
        if not ran_out(error):
            raise
    for group in _alike(rows):
        at_once = engine.at_once if len(group) >= engine.at_once * engine.ridge else 1
        parts = (group[i::at_once] for i in range(at_once))
        writers = [_Writer(engine, head, part, picker, at_once) for part in parts]
        yield from stepped(*(writer.run() for writer in writers))


def _alike(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows that need slots of similar size, the longest first: a slot has room for the longest."""
    group: list[Row] = []
    for row in sorted(rows, key=lambda row: (-row.most, row.at)):
        if group and 2 * row.most < group[0].most:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


class _Writer:
    """The rows of one group, or a part of it: those in slots, and those that wait."""

    def __init__(
        self,
        engine: Engine,
        head: tuple[int, ...],
        rows: Sequence[Row],
        picker: Picker,
        at_once: int,
    ) -> None:
        self.engine = engine
        self.head = head
        self.picker = picker
        self.at_once = at_once
        self.waiting = deque(rows)
        self.capacity = max(row.most for row in rows)
        self.active: list[Row] = []  # the row in slot 0, 1, ...
        self.slots = self._room()

    def run(self) -> Iterator[list[Row]]:
        """Until none is left."""
        while self.active or self.waiting:
            fresh = self._admitted()
            first = len(self.active) if fresh else 0
            try:
                self._advance(fresh or self.active, first, draft=not fresh)
            except Exception as error:
                if not ran_out(error):
                    raise
                self._shrink(fresh, error)
                continue
            self.active += fresh
            yield self._finished()

    def _room(self) -> Slots:
        share = max(self.engine.rows_for(self.capacity) // self.at_once, 1)
        return Slots(min(share, len(self.active) + len(self.waiting)), self.capacity)

    def _admitted(self) -> list[Row]:
        """Waiting rows for the free slots, as many as one pass reads; none while few are free."""
        free = self.slots.rows - len(self.active)
        if self.active and free < min(len(self.waiting), -(-self.slots.rows // 8)):
            return []
        fresh: list[Row] = []
        tokens = 0
        while self.waiting and len(fresh) < free:
            tokens += self.waiting[0].unread
            if fresh and tokens > self.engine.budget.tokens:
                break
            fresh.append(self.waiting.popleft())
        return fresh

    def _advance(self, rows: list[Row], first: int, *, draft: bool) -> None:
        """One forward pass: read what is not yet read, and write what follows."""
        drafts = self._drafts(rows) if draft else [[] for _ in rows]
        if not draft:
            there = lay(self.slots, [row.begun for row in rows], first)
            for row, kept in zip(rows, there, strict=True):
                row.kept, row.begun = kept, None  # the keys are the row's own now
        new = [row.tokens[row.kept :] + guess for row, guess in zip(rows, drafts, strict=True)]
        hidden, starts = self._read(rows, first, new, drafts)
        self.picker.write(rows, drafts, self.engine.logits(hidden), starts)

    def _read(
        self, rows: list[Row], first: int, new: list[list[int]], drafts: list[list[int]]
    ) -> tuple[Any, list[int]]:
        """States of each row's last token and of its guesses; where each row's begin."""
        kept = [row.kept for row in rows]
        if not any(drafts):
            last = self.engine.read(self.slots, first, new, kept, self.head, wanted="last")
            return last, list(range(len(rows)))
        hidden = self.engine.read(self.slots, first, new, kept, self.head)
        wanted: list[int] = []
        starts, end = [], 0
        for tokens, guess in zip(new, drafts, strict=True):
            end += len(tokens)
            starts.append(len(wanted))
            wanted += range(end - len(guess) - 1, end)
        return hidden[wanted], starts

    def _drafts(self, rows: list[Row]) -> list[list[int]]:
        """Guesses of what follows, while a pass would be waiting for memory anyway."""
        spare = self.engine.ridge // len(rows) - 1
        drafts: list[list[int]] = []
        for row in rows:
            room = min(spare, row.most - len(row.tokens) - 1)
            if room > 0 and row.lookup is None:
                row.lookup = Lookup()
            drafts.append(row.lookup.guess(row.tokens, room) if room > 0 and row.lookup else [])
        return drafts

    def _finished(self) -> list[Row]:
        """Rows that are done leave; the last ones move into their slots."""
        done = [row for row in self.active if row.done]
        if done:
            left = len(self.active) - len(done)
            holes = [i for i, row in enumerate(self.active[:left]) if row.done]
            moved = [i for i in range(left, len(self.active)) if not self.active[i].done]
            if holes:
                self.slots.move(moved, holes)
            for hole, source in zip(holes, moved, strict=True):
                self.active[hole] = self.active[source]
            del self.active[left:]
        return done

    def _shrink(self, fresh: list[Row], error: Exception) -> None:
        """After memory ran out: read everything again, in fewer slots."""
        rows = [*self.active, *fresh]
        for row in (*rows, *self.waiting):
            row.begun = None
        if not self.engine.let_go(self.head) and self.slots.rows == 1:
            raise no_room(len(rows[0].tokens), error) from error
        read = sum(len(row.tokens) - row.kept for row in fresh)
        held = self.slots.rows * self.at_once
        self.engine.budget.halve(tokens=read if len(fresh) > 1 else None, rows=held)
        self.waiting.extendleft(reversed(rows))
        self.active = []
        self.slots = Slots(1, 1)  # free the old before the new are made
        self.slots = self._room()
