"""Names that a language model reads out of a text, and where they stand in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlllm.redact.entities import ENTITIES, NAMES, Span

# Scripts that are written without spaces between words, and Hangul, whose endings follow a name.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)
MASKS = frozenset(entity.upper() for entity in ENTITIES)


def question(entities: Sequence[str]) -> tuple[str, str]:
    """Instruction and JSON Schema of the one task that asks for all of `entities`."""
    wanted = "; ".join(f"{entity}: {NAMES[entity]}" for entity in entities)
    instruction = (
        "Copy out of the text every name of these kinds, exactly as it is written there. "
        f"A kind that does not occur has an empty list. {wanted}."
    )
    strings = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 100}}
    schema = {
        "type": "object",
        "properties": dict.fromkeys(entities, strings),
        "required": list(entities),
        "additionalProperties": False,
    }
    return instruction, json.dumps(schema)


def parse_names(answer: str, entities: Sequence[str]) -> dict[str, list[str]]:
    """A model's answer to `question`.

    Raises:
        ValueError: It has another form.

    Example:
        >>> parse_names('{"person": ["Ann"]}', ["person"])
        {'person': ['Ann']}
    """
    names = json.loads(answer)
    for entity in entities:
        found = names.get(entity) if isinstance(names, dict) else None
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            msg = f"no list of texts under {entity!r}"
            raise ValueError(msg)
    return {entity: names[entity] for entity in entities}


def placed(text: str, names: Mapping[str, Iterable[str]]) -> Iterator[Span]:
    """Every place where a name stands as a whole word, as it is written or in capitals.

    Names that the text doesn't have are dropped.

    Example:
        >>> list(placed("Ann met Anna. ANN left.", {"person": ["Ann", "Bob"]}))[1:]
        [Span(start=14, end=17, entity='person', value='ann')]
    """
    for entity, found in names.items():
        for name in dict.fromkeys(" ".join(name.split()) for name in found):
            if not any(char.isalpha() for char in name) or name.strip("[]").upper() in MASKS:
                continue
            for match in _pattern(name).finditer(text):
                yield Span(*match.span(), entity, " ".join(match[0].split()).casefold())


def _pattern(name: str) -> re.Pattern[str]:
    spellings = "|".join(
        r"\s+".join(map(re.escape, spelling.split())) for spelling in {name: 0, name.upper(): 0}
    )
    before = "" if UNSPACED.match(name[0]) else r"(?<!\w)"
    after = "" if UNSPACED.match(name[-1]) else r"(?!\w)"
    return re.compile(f"{before}(?:{spellings}){after}")
