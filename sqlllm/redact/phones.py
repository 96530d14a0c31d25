"""Phone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sqlllm.errors import CallError
from sqlllm.redact.entities import Recogniser, Span
from sqlllm.redact.text import Words

INTERNATIONAL = re.compile(r"\+[ (]{0,2}\d", re.ASCII)
NUMBER = re.compile(
    r"[0-9](?<!\w[0-9])(?<![0-9][.,/-][0-9])(?:(?:[ ()/-]{0,2}|\.)[0-9]){6,14}"
    r"(?![a-zA-Z0-9]|[.:]\w|,\d)",
    re.ASCII,
)
DATE = re.compile(
    r"(?:\d{4}([/.-])\d\d?\1\d\d?|\d\d?([/.-])\d\d?\2(?:\d{4}|\d\d))(?![/.-]?\d)", re.ASCII
)
WORDS = Words(
    r"(?:tele|cell|mobile ?|smart)?phones?|tel|telefoon|telefono?|téléphone|teléfono|telef|telefax"
    r"|mobile|mobil|móvil|cell|cellulare|celular|portable|handy|gsm|fax|ph|whatsapp|sms"
    r"|call|ring|dial|text|reach \w+ (?:at|on|under)|rappel\w*|appel\w*|anruf\w*|llam\w+",
    gap=r"(?:[\s:.,;#=(/-]|no|nr|num|number|nummer|numéro|número|n[°º]|at|on|me|us|him|her|is|was"
    r"|home|work|office|my|his|unter|bei|au|al|en|le|el){0,8}",
)


def phones(regions: Sequence[str]) -> Recogniser:
    """Phone numbers: international ones, those of some countries, and those that a word announces.

    A number in one piece without `+` or a leading 0 may be anything, so it needs the word.

    Args:
        regions: Countries, such as 'US', whose national numbers count without a word.

    Raises:
        CallError: There is no such country.

    Example:
        >>> find = phones([])
        >>> [s.value for s in find("+49 30 901820, (415) 555-2671, tel. 030 901820")]
        ['+4930901820', '030901820']
        >>> [s.value for s in phones(["US"])("(415) 555-2671")]
        ['+14155552671']
    """
    import phonenumbers as known

    for region in regions:
        if region.upper() not in known.SUPPORTED_REGIONS:
            msg = f"there is no region {region!r} of phone numbers"
            raise CallError(msg, hint="write two letters of ISO 3166, such as 'US' or 'DE'")
    readers: list[str | None] = [region.upper() for region in regions]

    def find(text: str) -> Iterator[Span]:
        numbers = list(NUMBER.finditer(text))
        read: set[int] = set()  # where the characters stand that the library took for numbers
        if (numbers and regions) or INTERNATIONAL.search(text):
            for region in readers or [None]:
                for match in known.PhoneNumberMatcher(text, region):
                    read.update(range(match.start, match.end))
                    start, end = _trimmed(text, match.start, match.end)
                    if _is_plain(text, start, end) and not WORDS.near(text, start, end):
                        continue
                    value = known.format_number(match.number, known.PhoneNumberFormat.E164)
                    yield Span(start, end, "phone", value + (match.number.extension or ""))
        for number in numbers:
            start, end = number.start(), number.end()
            while start and text[start - 1] in "+(":
                start -= 1
            if not DATE.match(number[0]) and WORDS.near(text, start, end):
                start, end = _trimmed(text, start, end)
                yield Span(start, end, "phone", re.sub(r"[^\d+]", "", text[start:end]))
            elif start < number.start() and number.start() not in read:
                # The library refuses a number that other digits follow, as in "+44 ... 22 7 000".
                for region in readers or [None]:
                    yield from _first_of(text, start, end, region)

    return find


def _first_of(text: str, start: int, end: int, region: str | None) -> Iterator[Span]:
    """The longest number that begins at `start` and ends with a group of its digits."""
    import phonenumbers as known

    for group in reversed(list(re.finditer(r"\d+", text[start:end]))):
        raw = text[start : start + group.end()]
        try:
            number = known.parse(raw.strip("("), region)
        except known.NumberParseException:
            continue
        if known.is_valid_number(number):
            value = known.format_number(number, known.PhoneNumberFormat.E164)
            yield Span(*_trimmed(text, start, start + len(raw)), "phone", value)
            return


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without a parenthesis that is not closed, and what follows the end of a sentence."""
    if text[start] == "(" and ")" not in text[start:end]:
        start += 1
    stop = re.compile(r"(?:\d\D*){7}.*?(?=\. )").match(text, start, end)
    return start, stop.end() if stop else end


def _is_plain(text: str, start: int, end: int) -> bool:
    """Whether digits may be anything.

    One piece without + or 0, a date, or a part of something longer, such as INV-2013-107727.
    """
    raw, before = text[start:end], text[max(0, start - 2) : start]
    whole = raw.isdigit() and raw[0] != "0"
    return whole or bool(DATE.match(raw)) or bool(re.match(r"[\w\]][/-]", before))
