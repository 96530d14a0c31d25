"""`__ai_redact`: texts without what names or reaches a person."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.call import Call, scatter
from sqlllm.errors import BadAnswer, CallError, did_you_mean, excerpt
from sqlllm.function import function
from sqlllm.redact.entities import NAMES, Span, apart, parse_entities
from sqlllm.redact.finder import finder
from sqlllm.redact.names import parse_names, placed, question
from sqlllm.task import Task

MODES = ("mask", "detect", "pseudonym")
Names = dict[str, list[str]]


@function(returns="VARCHAR")
def redact(call: Call, text: pa.Array) -> pa.Array:
    """Each text masked, with pseudonyms, or what was found in it as a JSON list.

    NULL where the text is, or where the model that was asked for names failed.
    """
    entities = parse_entities(call.texts("entities"))
    find, write = finder(entities, call.texts("region")), _writer(call)
    asked = [entity for entity in entities if entity in NAMES]
    named = _names(call, asked, text) if asked else {}
    if call.asks_only:
        return pa.nulls(len(text), pa.string())
    rows = text.dictionary_encode()
    written: list[str | None] = []
    for each in rows.dictionary.to_pylist():
        names = named.get(each, {})
        found = None if names is None else apart(each, [*find(each), *placed(each, names)])
        written.append(None if found is None else write(each, found))
    return scatter(rows, pa.array(written, pa.string()))


def _names(call: Call, entities: Sequence[str], text: pa.Array) -> dict[str, Names | None]:
    """What the model named in each text that has a letter; None where it failed."""
    rows = text.dictionary_encode()
    letters = [any(map(str.isalpha, each)) for each in rows.dictionary.to_pylist()]
    lettered = pc.if_else(pa.array(letters, pa.bool_()), rows.dictionary, None)
    sent = lettered.take(rows.indices)  # NULL is a row, and not sent
    instruction, schema = question(entities)
    task = call.task(kind="extract", schema=schema, instruction=instruction)
    answers = call.run(task, sent).dictionary_decode().to_pylist()
    pairs = dict(zip(sent.to_pylist(), answers, strict=True)).items()
    return {each: answer and _read(call, task, each, answer, entities) for each, answer in pairs}


def _read(call: Call, task: Task, text: str, answer: str, entities: Sequence[str]) -> Names | None:
    """The names; an answer of another form is a failure like any other."""
    try:
        return parse_names(answer, entities)
    except ValueError as error:
        msg = f"the model's list of names has another form, {error}: {excerpt(answer)}"
        call.fail(task, text, BadAnswer(msg))
        return None


def _writer(call: Call) -> Callable[[str, list[Span]], str]:
    mode = call.text("mode")
    if mode not in MODES:
        msg = f"there is no mode {mode!r}"
        raise CallError(msg, hint=did_you_mean(mode, MODES))
    if mode == "detect":
        return _listed
    if mode == "mask":
        return lambda text, found: _replaced(text, found, lambda span: f"[{span.entity.upper()}]")
    key = _key(call)
    return lambda text, found: _replaced(text, found, lambda span: _pseudonym(key, span))


def _listed(text: str, found: list[Span]) -> str:
    spans = [
        {"entity": s.entity, "start": s.start, "end": s.end, "text": text[s.start : s.end]}
        for s in found
    ]
    return json.dumps(spans, ensure_ascii=False)


def _replaced(text: str, found: list[Span], stand_in: Callable[[Span], str]) -> str:
    parts, at = [], 0
    for span in found:
        parts += [text[at : span.start], stand_in(span)]
        at = span.end
    return "".join([*parts, text[at:]])


def _key(call: Call) -> bytes:
    """Drawn for this statement, or made of the seed: then whoever knows the seed can guess."""
    seed = call.whole("seed")
    if seed is None:
        return call.origin.statement.secret
    return hashlib.blake2b(str(seed).encode(), person=b"sqlllm redact").digest()


def _pseudonym(key: bytes, span: Span) -> str:
    """12 digits: among a million different values, two are taken for one with odds of 1 to 560."""
    name = f"{span.entity}\0{span.value}".encode()
    return f"{span.entity.upper()}_{hashlib.blake2b(name, key=key, digest_size=6).hexdigest()}"
