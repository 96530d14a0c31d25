"""What is asked of a model, apart from the rows it is asked about."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

from sqlllm.errors import CallError, excerpt

Kind = Literal["complete", "choose", "extract", "embed"]

YES_NO = ("yes", "no")
"""The labels of a yes/no question (`ai.filter`, `ai.score`); P(yes) is the first probability."""

MOST_LABELS = 1000


@dataclass(frozen=True)
class Task:
    """One question, to be asked of many inputs.

    Attributes:
        kind: `complete` (text), `choose` (a probability per label), `extract` (JSON) or `embed`
            (a vector).
        instruction: What to do with each input; for a yes/no question, the question.
        labels: What `choose` chooses among.
        descriptions: One per label where the user gave any, else empty.
        none_of_these: The label, the last one, that means that none of the others fits; or "".
        multi: Whether each label is judged on its own, so that several or none may fit.
        examples: Pairs of text and label that show what is wanted.
        schema: JSON Schema of the answer, as JSON text; `complete` may have one, too.
        shown: What a prompt shows instead of the schema, where values may all be null; or empty.
        system: System message of `complete`.
        stop: Strings that end a completion; not part of the answer.
        pattern: Regular expression that a completion as a whole matches.
        whole: Whether a completion that is cut off is an error. Without `max_tokens` it may be as
            long as a text of twice the input's tokens.
        temperature: 0 is greedy. Used by `complete` and `extract`.
        top_p: Tokens beyond this much probability are never drawn; 1 draws from all.
        max_tokens: Most tokens of an answer; None is the model's own default.
        seed: With the input, decides the random draws when `temperature` is above 0.
        truncate: Cut texts that are longer than the model's window instead of failing.
        text_first: Whether the text stands before the question in a prompt, so that its keys and
            values can serve other questions. The runtime sets it, by the settings.
    """

    kind: Kind
    instruction: str = ""
    labels: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    none_of_these: str = ""
    multi: bool = False
    examples: tuple[tuple[str, str], ...] = ()
    schema: str = ""
    shown: str = ""
    system: str = ""
    stop: tuple[str, ...] = ()
    pattern: str = ""
    whole: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int = 0
    truncate: bool = False
    text_first: bool = False

    def __post_init__(self) -> None:
        """Refuse what can't be asked, before any row is sent."""
        if self.kind == "choose":
            _check_labels(self.labels)
            if self.none_of_these and self.none_of_these != self.labels[-1]:
                msg = f"{self.none_of_these!r} must be the last label"
                raise CallError(msg)
            if self.descriptions and len(self.descriptions) != len(self.labels):
                msg = f"{len(self.labels)} labels but {len(self.descriptions)} descriptions"
                raise CallError(msg)
            for _, label in self.examples:
                if label not in self.labels:
                    among = _list(self.labels)
                    msg = f"the example label {excerpt(label)} is not among the labels {among}"
                    raise CallError(msg)
        if self.kind == "extract" or self.schema:
            _check_schema(self.schema)
        if self.schema and (self.pattern or self.stop):
            what = "a pattern" if self.pattern else "stop strings"
            msg = f"an answer can't have both a schema and {what}"
            raise CallError(msg, hint="put the pattern into the schema, or leave one out")
        if self.pattern and self.stop:
            msg = "an answer can't have both a pattern and stop strings: it is cut there"
            raise CallError(msg, hint="end the pattern where the answer ends, or leave one out")
        if any(not stop for stop in self.stop):
            msg = "a stop string is empty: every answer would end before it begins"
            raise CallError(msg, hint="leave it out, or write one such as '\\n'")
        if not 0 <= self.temperature < math.inf:
            msg = f"temperature must be 0 or more, not {self.temperature!r}"
            raise CallError(msg)
        if not 0 < self.top_p <= 1:
            msg = f"top_p must be above 0 and at most 1, not {self.top_p!r}"
            raise CallError(msg)
        if self.max_tokens is not None and self.max_tokens < 1:
            msg = f"max_tokens must be 1 or more, not {self.max_tokens!r}"
            raise CallError(msg)

    @property
    def yes_no(self) -> bool:
        """Whether this is a yes/no question."""
        return self.kind == "choose" and self.labels == YES_NO

    @property
    def asks(self) -> bool:
        """Whether a prompt has anything beside the text, so that one of them comes first."""
        return self.kind in ("choose", "extract") or bool(self.system or self.schema)

    @property
    def key(self) -> bytes:
        """16 bytes that differ whenever an answer may differ.

        `truncate` is part of it: a cut text has another answer. Sampling options count only where
        the answer is sampled, so that `seed := 7` at temperature 0 finds the same answers.
        """
        return _key(self)


@lru_cache(1024)  # a query makes the same task anew for every chunk of rows
def _key(task: Task) -> bytes:
    parts = asdict(task)
    if not task.text_first:
        del parts["text_first"]  # keys are as before there was a choice
    if task.kind in ("choose", "embed"):
        parts |= {"temperature": 0, "max_tokens": None}
    if not parts["temperature"]:
        parts |= {"temperature": 0, "seed": 0, "top_p": 1}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def parse_labels(value: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and descriptions of labels as SQL gives them.

    Args:
        value: A list of names, or a mapping of name -> description.

    Returns:
        The names, and the descriptions (empty where there are none).

    Example:
        >>> parse_labels(["a", "b"])
        (('a', 'b'), ())
        >>> parse_labels({"a": "first", "b": None})
        (('a', 'b'), ('first', ''))
    """
    if isinstance(value, Mapping):
        pairs = [(name, text) for name, text in value.items()]
        if any(not isinstance(text, str | None) for _, text in pairs):
            msg = f"label descriptions must be text, not {dict(value)!r}"
            raise CallError(msg, hint="write {'billing': 'invoices and refunds', ...}")
        names, texts = [name for name, _ in pairs], [text or "" for _, text in pairs]
        return tuple(names), tuple(texts) if any(texts) else ()
    if isinstance(value, Sequence) and not isinstance(value, str):
        for name in value:
            if not isinstance(name, str):
                msg = f"labels must be text, not {_sql(name)}"
                raise CallError(msg, hint="write ['billing', 'bug'] or {'billing': '...'}")
        return tuple(value), ()
    msg = f"labels must be a list of names or a struct of name and description, not {_sql(value)}"
    raise CallError(msg, hint="write ['billing', 'bug'] or {'billing': 'invoices', ...}")


def parse_examples(value: object) -> tuple[tuple[str, str], ...]:
    """Examples as SQL gives them: a list of structs of text and label, or None.

    Example:
        >>> parse_examples([{"text": "Where is my parcel?", "label": "delivery"}])
        (('Where is my parcel?', 'delivery'),)
    """
    rows = [] if value is None else value
    if not isinstance(rows, list) or not all(
        isinstance(row, Mapping)
        and isinstance(row.get("text"), str)
        and isinstance(row.get("label"), str)
        for row in rows
    ):
        msg = f"examples must be a list of structs of text and label, not {_sql(value)}"
        raise CallError(msg, hint="write [{'text': 'Where is my parcel?', 'label': 'delivery'}]")
    return tuple((row["text"], row["label"]) for row in rows)


def _sql(value: object) -> str:
    return "NULL" if value is None else repr(value)


def _check_schema(schema: object) -> None:
    hint = """write JSON Schema as text, such as '{"type": "object", "properties": {...}}'"""
    if not isinstance(schema, str):
        msg = f"the schema must be text, not {schema!r}"
        raise CallError(msg, hint=hint)
    try:
        parsed = json.loads(schema)
    except json.JSONDecodeError as error:
        msg = f"the schema is not JSON: {error}"
        raise CallError(msg, hint=hint) from error
    if not isinstance(parsed, dict):
        msg = f"the schema must be a JSON object, not {schema!r}"
        raise CallError(msg, hint=hint)
    if not KEYWORDS & parsed.keys():
        msg = f"the schema allows anything: it has none of {_list(tuple(sorted(KEYWORDS)))}"
        raise CallError(msg, hint=hint)


KEYWORDS = {"type", "properties", "enum", "const", "items", "anyOf", "oneOf", "allOf", "$ref"}
"""Of JSON Schema, those that say what a value is. An object without any is no schema."""


def _check_labels(labels: tuple[str, ...]) -> None:
    if not labels:
        msg = "the list of labels is empty"
        raise CallError(msg, hint="give at least two, such as ['billing', 'bug']")
    if len(labels) > MOST_LABELS:
        msg = f"{len(labels):,} labels are too many: at most {MOST_LABELS:,}"
        raise CallError(msg, hint="classify in two steps, or match by ai.search")
    if any(not label.strip() for label in labels):
        msg = f"a label is blank: {_list(labels)}"
        raise CallError(msg, hint="every label needs a name")
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            msg = f"the label {excerpt(label)} is given twice"
            raise CallError(msg, hint="remove one of them")
        seen.add(label)


def _list(labels: tuple[str, ...]) -> str:
    shown = ", ".join(map(excerpt, labels[:8]))
    return f"[{shown}, …]" if len(labels) > 8 else f"[{shown}]"
