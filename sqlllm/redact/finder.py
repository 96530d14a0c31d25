"""All rules of a call as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlllm.errors import ConfigError
from sqlllm.redact.dates import births
from sqlllm.redact.entities import Recogniser, Span
from sqlllm.redact.national import national_ids
from sqlllm.redact.numbers import cards, ibans
from sqlllm.redact.online import emails, ips, urls
from sqlllm.redact.phones import phones
from sqlllm.redact.text import UNSEEN, readable


def finder(entities: Sequence[str], regions: Sequence[str]) -> Callable[[str], list[Span]]:
    """Finds entities by rule; others than those of `RULES` are left to a model.

    Args:
        entities: Which.
        regions: Countries whose national phone numbers count.

    Raises:
        CallError: There is no such region.
        ConfigError: A library that an entity needs is not installed.
    """
    makers: Mapping[str, Callable[[], Recogniser]] = {
        "url": lambda: urls,
        "email": lambda: emails,
        "iban": ibans,
        "card": cards,
        "national_id": national_ids,
        "ip": lambda: ips,
        "date_of_birth": lambda: births,
        "phone": lambda: phones(regions),
    }
    try:
        recognisers = [make() for entity, make in makers.items() if entity in entities]
    except ModuleNotFoundError as error:
        msg = f"ai.redact needs the package {error.name!r}, which is not installed"
        raise ConfigError(msg, hint="run `pip install 'sqlllm[redact]'`") from error

    def seen(text: str) -> list[Span]:
        plain = readable(text)
        return [span for recognise in recognisers for span in recognise(plain)]

    def find(text: str) -> list[Span]:
        found = seen(text)
        if not text.isascii() and UNSEEN.search(text):  # which may stand within, or apart
            at = [i for i, char in enumerate(text) if not UNSEEN.match(char)]
            for span in seen(UNSEEN.sub("", text)):
                start, end = at[span.start], at[span.end - 1] + 1
                found.append(span._replace(start=start, end=end))
        return found

    return find
